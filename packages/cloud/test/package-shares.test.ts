import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Clock,
  fromHex,
  MillraceError,
  noMetrics,
  noTracer,
  silentLogger,
  systemRandom,
  toHex,
} from '@millrace/base';
import { generateP256Key, keyName, type P256Key } from '@millrace/identity';
import {
  type Directory,
  decodeLink,
  identitiesOf,
  type Message,
  type Opening,
  openRelease,
  packageCommitment,
  sealPackageShare,
  verifyOpening,
} from '@millrace/protocol';
import { openLmdb } from '@millrace/stores';
import { createOpening, createProtocolFixture, NOW } from '@millrace/testkit/protocol/support';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Listening } from '../src/control/listening.ts';
import { SegmentsStreams, type SegmentsStreamsModules } from '../src/segments/streams.ts';
import { ObjectRepository } from '../src/streaming/objects.ts';

// Two segments nodes that share their records, and a job package of an owner who knew of both, or of one.

const clock: Clock = { now: () => NOW, monotonic: () => 0 };
const fixture = createProtocolFixture();
const identities = { 'segments-1': fixture.keys.segments, 'segments-2': generateP256Key() } as const;
type Id = keyof typeof identities;
const first = fixture.directory.nodes.find(({ id }) => id === 'segments-1') as Directory['nodes'][number];
const second = { ...first, id: 'segments-2', identity: toHex(identities['segments-2'].publicKey) };
const directory: Directory = { ...fixture.directory, nodes: [...fixture.directory.nodes, second] };
const share = systemRandom(32);

let folder: string;
let lmdb: ReturnType<typeof openLmdb>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace shares '));
  lmdb = openLmdb({ path: folder });
});
afterEach(async () => {
  await lmdb.close();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

const designOf = async () => ({ owner: fixture.keys.owner.publicKey, coreHash: fixture.coreHash });

/** A node's streams: what it sends to distribution, and what it says by mail. */
function nodeOf(id: Id, identity: P256Key = identities[id]) {
  const sent: Uint8Array[] = [];
  const mail: Message[] = [];
  const streams = new SegmentsStreams({
    directory,
    identity,
    clock,
    logger: silentLogger,
    designs: { authorityOf: designOf },
    objects: new ObjectRepository(lmdb.records('records'), id),
    mail: { send: async (_to: unknown, message: Message) => void mail.push(message) },
    links: { to: () => ({ connected: true, send: (message: Uint8Array) => sent.push(message) > 0 }) },
    metrics: noMetrics,
    tracer: noTracer,
  } as unknown as SegmentsStreamsModules);
  return { streams, sent, mail };
}

/** An opening of a package's object. @param to segments nodes to which the owner has sealed the share */
async function openingOf(
  to: readonly Id[],
  { id = systemRandom(16), print = systemRandom(16), run = systemRandom(16) } = {},
) {
  const binding = { installation: directory.installation, licence: toHex(id), design: fixture.design };
  const sealed = (node: Id) => sealPackageShare('segments', identities[node].publicKey, binding, share);
  const nodes = to.map(async (node) => ({ key: keyName(identities[node].publicKey), share: await sealed(node) }));
  return createOpening(fixture, {
    licence: {
      id,
      package: {
        driver: generateP256Key().publicKey,
        shares: {
          driver: systemRandom(113),
          machine: systemRandom(113),
          segments: await sealed('segments-1'),
          ...(to.length > 0 && { nodes: await Promise.all(nodes) }),
        },
        commitment: packageCommitment(systemRandom(32)),
        keysHash: systemRandom(32),
      },
    },
    print: { id: print },
    request: { run },
  });
}

/** The share that the driver finds in what a node has sent. */
async function released({ body: _, ...opening }: Opening & { body: unknown }, sent: readonly Uint8Array[]) {
  const link = decodeLink(sent.at(-1) ?? new Uint8Array(), false);
  if (link.kind !== 'control' || link.message.type !== 'release') throw new Error('no release');
  const context = { directory, now: NOW, designOf, begun: async () => true, credits: async () => 0 };
  const { hash } = await verifyOpening(opening, context);
  const senders = identitiesOf(directory, 'segments').map(fromHex);
  const binding = { role: 'segments', openingHash: hash } as const;
  return openRelease(fixture.keys.ephemeral, senders, binding, link.message.sealed);
}

describe('a share that is sealed to every segments node', () => {
  it.each(['segments-1', 'segments-2'] as const)('is released by %s', async (id) => {
    const node = nodeOf(id);
    const opening = await openingOf(['segments-1', 'segments-2']);
    await node.streams.open(opening);
    expect(await released(opening, node.sent)).toEqual(share);
    node.streams.close();
  });

  it('is released by the other node when the driver calls home again, and for no other print of the object', async () => {
    const [one, two] = [nodeOf('segments-1'), nodeOf('segments-2')];
    const [id, print, run] = [systemRandom(16), systemRandom(16), systemRandom(16)];
    const both = ['segments-1', 'segments-2'] as const;
    const opening = await openingOf(both, { id, print, run });
    await one.streams.open(opening);
    await two.streams.open(opening); // control names two nodes for one permit: the other one has used it
    expect(two.sent).toEqual([]);
    const again = await openingOf(both, { id, print, run });
    await two.streams.open(again);
    expect(await released(again, two.sent)).toEqual(share);
    const other = await openingOf(both, { id });
    for (const { streams } of [one, two]) await expect(streams.open(other)).rejects.toBeInstanceOf(MillraceError);
    expect([one.sent.length, two.sent.length]).toEqual([1, 1]);
    for (const { streams } of [one, two]) streams.close();
  });
});

it('a share that is sealed to other nodes is refused, and the object is not counted', async () => {
  const node = nodeOf('segments-2');
  const opening = await openingOf(['segments-1']);
  await expect(node.streams.open(opening)).rejects.toMatchObject({ code: 'E_PACKAGE_SHARE' });
  expect(node.mail).toMatchObject([{ type: 'stream.refused', code: 'E_PACKAGE_SHARE' }]);
  expect(node.sent).toEqual([]);
  const own = nodeOf('segments-1');
  await own.streams.open(opening);
  expect(await released(opening, own.sent)).toEqual(share);
  for (const { streams } of [node, own]) streams.close();
});

it('a package of an owner who knew of one node is released by that node', async () => {
  const [one, two] = [nodeOf('segments-1'), nodeOf('segments-2')];
  const opening = await openingOf([]);
  await one.streams.open(opening);
  expect(await released(opening, one.sent)).toEqual(share);
  await expect(two.streams.open(opening)).rejects.toMatchObject({ code: 'E_PACKAGE_SHARE' });
  for (const { streams } of [one, two]) streams.close();
});

it('another node with the key of a listed one in its entry does not open the share', async () => {
  const node = nodeOf('segments-2', generateP256Key());
  const opening = await openingOf(['segments-1', 'segments-2']);
  await expect(node.streams.open(opening)).rejects.toMatchObject({ code: 'E_PACKAGE_SHARE' });
  node.streams.close();
});

it('control names a node that has a share, and one that listens if there is one', async () => {
  let now = 0;
  const listening = new Listening({ now: () => now, monotonic: () => now });
  const only = (id: string) => (node: { id: string }) => node.id === id;
  for (const { id } of [first, second]) expect(listening.segmentsNode(directory, fixture.design, only(id))).toBe(id);
  now = 60_000;
  // None listens: the opening waits for one that has a share.
  for (const { id } of [first, second]) expect(listening.segmentsNode(directory, fixture.design, only(id))).toBe(id);
  const stop = new AbortController();
  let end = () => {};
  const call = new Promise<void>((resolve) => {
    end = resolve;
  });
  const waiting = listening.during('segments-2', stop.signal, () => call);
  expect(listening.segmentsNode(directory, fixture.design)).toBe('segments-2');
  expect(listening.segmentsNode(directory, fixture.design, only('segments-1'))).toBe('segments-1');
  end();
  await waiting;
});
