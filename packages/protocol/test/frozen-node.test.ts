import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { createAuthority, fingerprint } from '@millrace/identity';
import { afterEach, expect, it } from 'vitest';
import { createHttpClient } from '../src/index.ts';

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

async function listen(server: Server): Promise<{ host: string; port: number }> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ends.push(() => server.close());
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

it('a call to a node that takes the connection and says nothing goes to the next address, once', async () => {
  const authority = await createAuthority('test', Date.now());
  const tls = await authority.issue({ role: 'control', id: 'control-2' }, ['127.0.0.1']);
  const identity = await authority.issue({ role: 'machine', name: '00'.repeat(16) });
  const asked: string[] = [];
  const active = createTlsServer({ cert: tls.certificate, key: Buffer.from(tls.key) }, (request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end();
  });
  ends.push(() => active.closeAllConnections());
  // As the kernel does for a process that was stopped.
  const silent = createServer((socket) => {
    ends.push(() => socket.destroy());
  });
  const addresses = [await listen(silent), await listen(active)];
  const pin = fingerprint(tls.certificate);
  const client = createHttpClient({
    addresses: () => addresses,
    tls: { authority: authority.identity.certificate, identity, pin },
  });
  ends.push(() => client.close());
  const both = [client.call('POST', '/one', { json: {} }), client.call('GET', '/two', { poll: true })];
  for (const { status } of await Promise.all(both)) expect(status).toBe(200);
  expect((await client.call('GET', '/three')).status).toBe(200);
  expect(asked.sort()).toEqual(['GET /three', 'GET /two', 'POST /one']);
});

it.each([
  ['frozen', false],
  ['slow', true],
] as const)('a call to one of several nodes that is %s ends with E_UNAVAILABLE: %s', async (_, answers) => {
  const authority = await createAuthority('test', Date.now());
  const tls = await authority.issue({ role: 'distribution', id: 'distribution-1' }, ['127.0.0.1']);
  const identity = await authority.issue({ role: 'machine', name: '00'.repeat(16) });
  const asked: string[] = [];
  const node = createTlsServer({ cert: tls.certificate, key: Buffer.from(tls.key) }, (request, response) => {
    asked.push(request.url ?? '');
    if (request.url === '/first') response.end();
    const refusal = {
      type: 'about:blank',
      title: 'not found',
      status: 404,
      detail: 'no such path',
      code: 'E_NOT_FOUND',
    };
    if (answers && request.url === '/healthz')
      response.writeHead(404, { 'content-type': 'application/problem+json' }).end(JSON.stringify(refusal));
    if (answers && request.url === '/slow') setTimeout(() => response.end(), 6_000);
  });
  ends.push(() => node.closeAllConnections());
  const addresses = [await listen(node)];
  const client = createHttpClient({
    addresses: () => addresses,
    tls: { authority: authority.identity.certificate, identity, pin: fingerprint(tls.certificate) },
    leaves: () => true,
  });
  ends.push(() => client.close());
  expect((await client.call('GET', '/first')).status).toBe(200);
  const call = client.call('GET', '/slow', { timeoutMs: 60_000 });
  if (answers) expect((await call).status).toBe(200);
  else await expect(call).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  expect(asked).toContain('/healthz');
});
