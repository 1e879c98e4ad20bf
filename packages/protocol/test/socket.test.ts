import { createServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { createLogger, sleep } from '@millrace/base';
import { createAuthority, fingerprint } from '@millrace/identity';
import { afterEach, expect, it } from 'vitest';
import { WebSocketServer } from 'ws';
import { connectLink, type LinkSocket } from '../src/index.ts';

const BEAT = 20;
const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** A node whose links answer pings only once `answers` is set. */
async function startNode() {
  const authority = await createAuthority('test', Date.now());
  const tls = await authority.issue({ role: 'distribution', id: 'distribution-1' }, ['127.0.0.1']);
  const client = await authority.issue({ role: 'machine', name: '00'.repeat(16) });
  const node = { answers: false, links: 0, pings: 0, port: 0, connections: 0 };
  const server = createServer({ cert: tls.certificate, key: Buffer.from(tls.key), minVersion: 'TLSv1.3' });
  const sockets = new WebSocketServer({ server, autoPong: false });
  sockets.on('connection', (socket) => {
    node.links++;
    node.pings = 0;
    socket.on('ping', (data) => {
      node.pings++;
      if (node.answers) socket.pong(data);
    });
  });
  server.on('connection', () => {
    node.connections++;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  node.port = (server.address() as AddressInfo).port;
  ends.push(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.close();
  });
  const options = {
    addresses: () => [{ host: '127.0.0.1', port: node.port }],
    path: '/v1/machine',
    tls: { authority: authority.identity.certificate, identity: client, pin: fingerprint(tls.certificate) },
    logger: createLogger('test', { level: 'silent' }),
    beatMs: BEAT,
  };
  return { node, options };
}

function open(link: LinkSocket): LinkSocket {
  ends.push(() => link.close());
  return link;
}

it('reconnects a link that answers no ping, and keeps one that does', async () => {
  const { node, options } = await startNode();
  let lost = 0;
  const unanswered: number[] = []; // counted when the link is dropped: the next connection may follow at once
  const closed = () => {
    lost++;
    unanswered.push(node.pings);
  };
  const link = open(connectLink(options, { message: () => undefined, closed }));
  await expect.poll(() => lost, { timeout: 10_000 }).toBe(1);
  expect(unanswered[0]).toBe(3);
  node.answers = true;
  await expect.poll(() => node.links, { timeout: 10_000 }).toBeGreaterThan(1);
  const before = lost;
  // Many more beats than a silent link would get.
  await expect.poll(() => node.pings, { timeout: 10_000 }).toBeGreaterThan(20);
  expect(lost).toBe(before);
  expect(link.connected).toBe(true);
});

it('turns to the next address when a frozen process takes the connection and does not begin TLS', async () => {
  const { node, options } = await startNode();
  node.answers = true;
  const frozen = createTcpServer(() => undefined);
  await new Promise<void>((resolve) => frozen.listen(0, '127.0.0.1', resolve));
  ends.push(() => frozen.close());
  const ports = [(frozen.address() as AddressInfo).port, node.port];
  const addresses = () => ports.map((port) => ({ host: '127.0.0.1', port }));
  const link = open(connectLink({ ...options, addresses, openMs: 200 }, { message: () => undefined }));
  await expect.poll(() => link.connected, { timeout: 10_000 }).toBe(true);
});

it('a node whose certificate cannot be read opens no connection, however often it retries', async () => {
  const { node, options } = await startNode();
  const identity = { ...options.tls.identity, certificate: 'no certificate' };
  const link = open(connectLink({ ...options, tls: { ...options.tls, identity } }, { message: () => undefined }));
  await sleep(800); // three attempts
  expect(link.connected).toBe(false);
  expect(node.connections).toBe(0);
});

it('leaves a node whose certificate a newer directory no longer accepts', async () => {
  const { node, options } = await startNode();
  node.answers = true;
  const tls = { ...options.tls };
  let lost = 0;
  const link = open(connectLink({ ...options, tls }, { message: () => undefined, closed: () => void lost++ }));
  // It stays while the certificate is accepted.
  await expect.poll(() => node.pings, { timeout: 10_000 }).toBeGreaterThan(10);
  expect(lost).toBe(0);
  expect(link.connected).toBe(true);
  Object.assign(tls, { pin: 'ab'.repeat(32) });
  await expect.poll(() => lost, { timeout: 10_000 }).toBe(1);
  await expect.poll(() => link.connected, { timeout: 10_000 }).toBe(false);
});
