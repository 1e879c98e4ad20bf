import { request } from 'node:https';
import type { TlsIdentity } from '@millrace/identity';
import { type Address, type Directory, protocolHeaders } from '@millrace/protocol';

/** What a control node answers to the question whether it is active; `silent` if it answers nothing within 2 s. */
export function healthOf(
  { authority }: Pick<Directory, 'authority'>,
  identity: TlsIdentity,
  { host, port }: Address,
): Promise<'active' | 'standby' | 'silent'> {
  const own = { ca: authority, cert: identity.certificate, key: Buffer.from(identity.key), agent: false } as const;
  return new Promise((resolve) => {
    const options = {
      ...own,
      host,
      port,
      path: '/healthz',
      headers: protocolHeaders,
      timeout: 2_000,
      checkServerIdentity: () => undefined,
    };
    const outgoing = request(options, ({ statusCode }) => {
      resolve(statusCode === 200 ? 'active' : statusCode === 503 ? 'standby' : 'silent');
      outgoing.destroy();
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer')));
    outgoing.on('error', () => resolve('silent'));
    outgoing.end();
  });
}
