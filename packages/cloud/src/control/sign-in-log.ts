import type { PageQuery } from '@millrace/api';
import { type Bytes, systemRandom, toHex } from '@millrace/base';
import { readTransaction } from '@millrace/protocol';
import type { ControlContext } from './context.ts';
import { signerOf } from './records.ts';
import { page } from './views.ts';

// Sign-ins at the console, for the owner-admins of the people who sign in.

/** How long they are kept, ms. */
export const SIGN_IN_LOG_MS = 90 * 86_400_000;

/**
 * Writes a sign-in down, under the id of the signed request: the same request again is no other entry.
 * @param bytes `session.open`, of which control has verified the signature
 */
export async function logSignIn(
  { records, clock }: Pick<ControlContext, 'records' | 'clock'>,
  { bytes, address, refused }: { readonly bytes: Bytes; readonly address: string; readonly refused: boolean },
): Promise<void> {
  const [id, key] = [toHex(readTransaction(bytes).id), signerOf(bytes)];
  const organisation = (await records.users.get(key))?.member?.organisation;
  if (organisation === undefined) return;
  await records.signInLog.put(id, { id, key, organisation, at: clock.now(), address, refused });
}

/** Writes down a sign-in at the company's provider, without a key. */
export async function logCompanySignIn(
  { records, clock }: Pick<ControlContext, 'records' | 'clock'>,
  { person, name, organisation, address }: Readonly<Record<'person' | 'name' | 'organisation' | 'address', string>>,
): Promise<void> {
  const id = toHex(systemRandom(16));
  const entry = { id, key: person, name, organisation, at: clock.now(), address, refused: false };
  await records.signInLog.put(id, entry);
}

/** Sign-ins of an organisation's people, the newest first. */
export function signInsPage(context: ControlContext, organisation: string, query: PageQuery) {
  const at = { index: 'organisation', group: organisation, reverse: true };
  return page(context, context.records.signInLog, at, query, async ({ id: _, organisation: __, ...entry }) => {
    const user = await context.records.users.get(entry.key);
    const company = entry.name !== undefined;
    return { ...entry, company, name: entry.name ?? user?.name ?? '', device: user?.member?.device };
  });
}

export async function forgetSignIns({ records, clock }: Pick<ControlContext, 'records' | 'clock'>): Promise<void> {
  const below = Math.max(0, clock.now() - SIGN_IN_LOG_MS);
  for await (const [id] of records.signInLog.list({ index: 'at', group: 'all', below }))
    await records.signInLog.remove(id);
}
