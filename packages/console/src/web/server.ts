import { consoleRoutes, createApiClient, fetchTransport, type InstallationView } from '@millrace/api';
import { MillraceError } from '@millrace/base';
import type { LogSource } from '@millrace/client';

/** Control's API, under the address of this page. */
export const api = createApiClient(consoleRoutes, { transport: fetchTransport('') });

let known: Promise<InstallationView> | undefined;

/** The keys that this server names. They are read once. */
export function installation(): Promise<InstallationView> {
  known ??= api.installation.get().catch((error: unknown) => {
    known = undefined;
    throw error;
  });
  return known;
}

async function read(path: string): Promise<Uint8Array> {
  const answer = await fetch(`/${path}`).catch((cause: unknown) => {
    throw new MillraceError('E_UNAVAILABLE', 'the server does not answer', { cause });
  });
  if (!answer.ok) throw new MillraceError('E_UNAVAILABLE', `the server answered ${answer.status} to ${path}`);
  return new Uint8Array(await answer.arrayBuffer());
}

/** The public ledger of this installation. */
export const log: LogSource = { checkpoint: () => read('checkpoint'), tile: read };
