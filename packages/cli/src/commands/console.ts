import { MillraceError, toBase64 } from '@millrace/base';
import { signNew } from '@millrace/client';
import { readSettings } from '@millrace/cloud';
import { type Installation, readAddresses } from '../installation/open.ts';
import { type Context, withSession } from './context.ts';
import { consoleOrigin } from './up.ts';

/** Time in which the address has to be opened, ms. */
const VALID_MS = 2 * 60_000;

/** Shows an address that signs one browser in, once, for reading. The key stays here. */
export function openConsole(context: Context, options: { readonly origin?: string }): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const origin = options.origin ?? (await originOf(session.installation));
    const { bytes } = await signNew(session, { type: 'session.open', origin }, undefined, VALID_MS);
    const url = `${origin}/#/session/${encodeURIComponent(toBase64(bytes))}`;
    context.terminal.result(
      { url },
      ['Open this address within two minutes. It signs one browser in, once, for reading:', '', url].join('\n'),
    );
  });
}

async function originOf(installation: Installation): Promise<string> {
  const addresses = await readAddresses(installation);
  const { console: pages } = await readSettings(installation.layout.node('control'));
  const origin = consoleOrigin({ addresses, consoleOrigin: pages?.origin });
  if (origin === undefined)
    throw new MillraceError('E_INPUT', 'the console was not started here: name its address with --origin');
  return origin;
}
