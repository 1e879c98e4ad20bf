import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { Closer, silentLogger } from '@millrace/base';
import { createAuthority, fingerprint } from '@millrace/identity';
import { connectCloud } from '@millrace/machine/parts';
import { type Address, type Directory, decodeLink, encodeControl } from '@millrace/protocol';
import { afterEach, expect, it } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';

// Distribution nodes with real keys and TLS that serve, or hold a machine's link and give nothing.

const closer: Closer[] = [];
afterEach(async () => {
  for (const one of closer.splice(0)) await one.close();
});

type Answer = 'answer' | 'unavailable' | 'nothing';

async function distributions(answers: readonly Answer[], quietMs = 300) {
  const own = new Closer();
  closer.push(own);
  const authority = await createAuthority('test', Date.now());
  const machine = await authority.issue({ role: 'machine', name: '00'.repeat(16) });
  const nodes = await Promise.all(
    answers.map(async (answer, n) => {
      const id = `distribution-${n}`;
      const tls = await authority.issue({ role: 'distribution', id }, ['127.0.0.1']);
      const server = createServer({ cert: tls.certificate, key: Buffer.from(tls.key), minVersion: 'TLSv1.3' });
      const sockets = new WebSocketServer({ server });
      const node = { id, answer, links: 0, address: { host: '127.0.0.1', port: 0 } as Address, end: () => undefined };
      sockets.on('connection', (socket: WebSocket) => {
        node.links++;
        socket.on('message', (data: Buffer) => {
          const { message } = decodeLink(new Uint8Array(data), false) as { message: { call: number } };
          const { call } = message;
          if (node.answer === 'answer') socket.send(encodeControl({ type: 'answer', call, body: Uint8Array.of(n) }));
          if (node.answer === 'unavailable')
            socket.send(encodeControl({ type: 'error', call, code: 'E_UNAVAILABLE', message: 'no control' }));
        });
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      node.address = { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
      const end = () => {
        for (const socket of sockets.clients) socket.terminate();
        server.close();
      };
      own.add({ close: end });
      return { node, end, entry: { id, pin: fingerprint(tls.certificate) } };
    }),
  );
  const directory = {
    authority: authority.identity.certificate,
    nodes: nodes.map(({ node, entry: { id, pin } }) => {
      return { id, role: 'distribution', addresses: [node.address], fingerprint: pin, identity: '' };
    }),
  } as unknown as Directory;
  let lost = 0;
  const link = own.add(
    connectCloud(
      {
        addresses: () => nodes.map(({ node }) => node.address),
        ...{ directory, tls: () => machine, logger: silentLogger, quietMs },
      },
      { stream: () => undefined, lost: () => void lost++ },
    ),
  );
  await link.whenConnected(AbortSignal.timeout(20_000));
  return { link, nodes, lost: () => lost };
}

const call = (link: { call: ReturnType<typeof connectCloud>['call'] }) =>
  link.call('report', Uint8Array.of(1), { timeoutMs: 400 }).then(
    ([n]) => `answered by ${n}`,
    (error: { code: string }) => error.code,
  );
const untilAnswered = (link: Parameters<typeof call>[0]) =>
  expect.poll(() => call(link), { timeout: 20_000, interval: 20 });

it.each(['nothing', 'unavailable'] as const)('leaves a node whose answer is %s for one that serves', async (answer) => {
  // Only the last one serves, wherever the first connection goes.
  const { link, nodes } = await distributions([answer, answer, 'answer']);
  await untilAnswered(link).toBe('answered by 2');
  expect(nodes[2]?.node.links).toBe(1);
});

it('connects to the next node when its node ends', async () => {
  const { link, nodes } = await distributions(['answer', 'answer']);
  const first = nodes.findIndex(({ node }) => node.links > 0);
  nodes[first]?.end();
  await untilAnswered(link).toBe(`answered by ${1 - first}`);
});

it('stays while something genuine comes, although calls are not answered', async () => {
  const { link, lost } = await distributions(['nothing', 'nothing'], 1_000);
  const stream = setInterval(() => link.heard(), 20);
  try {
    for (let n = 0; n < 4; n++) expect(await call(link)).toBe('E_TIMEOUT');
  } finally {
    clearInterval(stream);
  }
  expect(lost()).toBe(0);
  link.leave('it gives nothing of the stream');
  await expect.poll(lost, { timeout: 10_000 }).toBe(1);
});

it('keeps a single node: there is no other', async () => {
  const { link, lost } = await distributions(['nothing']);
  for (let n = 0; n < 3; n++) expect(await call(link)).toBe('E_TIMEOUT');
  link.leave('it gives nothing of the stream');
  expect(await call(link)).toBe('E_TIMEOUT');
  expect(lost()).toBe(0);
});
