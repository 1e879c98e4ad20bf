import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createLogger } from '@millrace/base';
import { createAuthority, fingerprint } from '@millrace/identity';
import { afterEach, describe, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { connectLink, createHttpClient, PROTOCOL, PROTOCOL_HEADER, requireNear } from '../src/index.ts';

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** A distribution node that states `stated`, over HTTP and on links. */
async function startNode(stated: string | undefined) {
  const authority = await createAuthority('test', Date.now());
  const tls = await authority.issue({ role: 'distribution', id: 'distribution-1' }, ['127.0.0.1']);
  const identity = await authority.issue({ role: 'machine', name: '00'.repeat(16) });
  const heard: unknown[] = [];
  const server = createServer(
    { cert: tls.certificate, key: Buffer.from(tls.key), minVersion: 'TLSv1.3' },
    (request, response) => {
      heard.push(request.headers[PROTOCOL_HEADER]);
      if (stated !== undefined) response.setHeader(PROTOCOL_HEADER, stated);
      response.end();
    },
  );
  const sockets = new WebSocketServer({ server });
  sockets.on('headers', (headers, request) => {
    heard.push(request.headers[PROTOCOL_HEADER]);
    if (stated !== undefined) headers.push(`${PROTOCOL_HEADER}: ${stated}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const addresses = () => [{ host: '127.0.0.1', port }];
  const pin = fingerprint(tls.certificate);
  return { addresses, heard, tls: { authority: authority.identity.certificate, identity, pin } };
}

const near = [String(PROTOCOL - 1), String(PROTOCOL), String(PROTOCOL + 1)];
const far = [String(PROTOCOL + 2), '999'];
const wrong = ['', '0', '-1', '1.5', '2, 2', '2\t', '1e1', '999999', 'two'];

describe('the other process', () => {
  it('is understood one version before and after', () => {
    for (const stated of near) expect(() => requireNear(stated, 'keys-1')).not.toThrow();
  });

  it('is refused if its version is further away, and told what to do', () => {
    for (const stated of far)
      expect(() => requireNear(stated, 'keys-1')).toThrow(
        expect.objectContaining({
          code: 'E_VERSION',
          message: expect.stringContaining(`keys-1 speaks protocol ${stated}`),
        }),
      );
  });

  it('is refused if what it states is no number', () => {
    for (const stated of wrong)
      expect(() => requireNear(stated, 'keys-1'), stated).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
    expect(() => requireNear(['2', '2'], 'keys-1')).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
  });
});

describe('a node that', () => {
  const callTo = async (stated: string | undefined) => {
    const { addresses, tls, heard } = await startNode(stated);
    const client = createHttpClient({ addresses, tls });
    ends.push(() => client.close());
    const called = client.call('GET', '/');
    return { called, heard };
  };

  it('is near is heard, and hears the version of its caller', async () => {
    for (const stated of [...near, undefined]) {
      const { called, heard } = await callTo(stated);
      expect((await called).status).toBe(200);
      expect(heard).toEqual([String(PROTOCOL)]);
    }
  });

  it('is too far away is not believed', async () => {
    for (const stated of far)
      await expect((await callTo(stated)).called).rejects.toMatchObject({ code: 'E_VERSION', retryable: true });
  });

  it('is too far away gets no link, and one that is near does', async () => {
    for (const [stated, opens] of [
      ['999', false],
      [String(PROTOCOL), true],
    ] as const) {
      const { addresses, tls, heard } = await startNode(stated);
      const logger = createLogger('test', { level: 'silent' });
      let opened = 0;
      const link = connectLink(
        { addresses, path: '/v1/machine', tls, logger },
        { message: () => undefined, open: () => void opened++ },
      );
      ends.push(() => link.close());
      // It tries again after a refusal, because the node may be upgraded.
      await expect.poll(() => (opens ? opened : heard.length), { timeout: 20_000 }).toBeGreaterThan(opens ? 0 : 1);
      expect(heard[0]).toBe(String(PROTOCOL));
      expect(opened > 0).toBe(opens);
    }
  });
});
