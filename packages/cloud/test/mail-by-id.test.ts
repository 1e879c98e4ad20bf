import { type Bytes, type Clock, encodeCbor, MillraceError, silentLogger, systemClock, toHex } from '@millrace/base';
import { generateP256Key, type P256Key } from '@millrace/identity';
import {
  type BoxKey,
  type BoxSecrets,
  chooseNode,
  type Directory,
  encodeMail,
  type Message,
  openMessage,
  type Recipient,
  sealMail,
  signBoxKey,
} from '@millrace/protocol';
import { MemoryQueue, MemoryRecords } from '@millrace/stores';
import { beforeEach, describe, expect, it } from 'vitest';
import { BoxRegistry } from '../src/control/boxes.ts';
import { Mailbox, mailNode } from '../src/control/mailbox.ts';
import { controlClient } from '../src/node/api-clients.ts';
import { consumerName } from '../src/node/consumer.ts';
import { createMailClient } from '../src/node/mail-client.ts';

const ids = ['control-1', 'keys-1', 'segments-1', 'segments-2', 'segments-3'] as const;
type Id = (typeof ids)[number];

const identities = Object.fromEntries(ids.map((id) => [id, generateP256Key()])) as Record<Id, P256Key>;
const entry = (id: Id) => ({
  id,
  role: id.slice(0, -2) as 'segments',
  addresses: [],
  fingerprint: '00'.repeat(32),
  identity: toHex(identities[id].publicKey),
});
/** The nodes that the newest directory lists. */
let named: readonly Id[];
const directory = {
  installation: '11'.repeat(16),
  get nodes() {
    return named.map(entry);
  },
} as unknown as Directory;

let mailbox: Mailbox;
let registry: BoxRegistry;
let boxes: Record<string, BoxSecrets>;
/** Added to the clock of the mailbox, ms. */
let passed: number;
beforeEach(async () => {
  named = ids.slice(0, 4);
  registry = new BoxRegistry(new MemoryRecords(), directory);
  const queue = new MemoryQueue();
  passed = 0;
  const clock: Clock = { now: systemClock.now, monotonic: () => systemClock.monotonic() + passed };
  const modules = { queue, directory, boxes: registry, clock };
  mailbox = new Mailbox({ ...modules, id: 'control-1', identity: identities['control-1'] });
  boxes = {};
  for (const id of named) await announce(id);
});

async function announce(id: Id): Promise<void> {
  const key = generateP256Key();
  const body: BoxKey = { type: 'box', node: id, use: 'mail', number: 1, point: key.publicKey, issued: 0, expires: 1 };
  const document = await signBoxKey(identities[id], directory.installation, body);
  await registry.take(id, 'mail', document, 0);
  boxes[id] = { keyOf: () => key };
}

const message = (digit: string): Message => ({ type: 'stream.close', session: digit.repeat(32) });
const added = (digit: string): Message => ({ type: 'design.uploaded', design: digit.repeat(32) });

/** The mail that the node receives, opened and acknowledged. */
async function receivedBy(id: Id): Promise<string[]> {
  const given = await mailbox.poll(id, 'test', 0, new AbortController().signal);
  const opened = given.map(async ({ from, sealed }) => {
    const recipient = { id, boxes: boxes[id] ?? { keyOf: () => undefined } };
    return `${from}: ${JSON.stringify(await openMessage(directory, recipient, from, sealed))}`;
  });
  await mailbox.acknowledge(
    id,
    given.map((one) => one.id),
  );
  return Promise.all(opened);
}

/** Sends as the keys node. */
async function send(to: Recipient, what: Message): Promise<void> {
  const client = createMailClient({
    control: controlClient({
      call: async (_method, path, { body }) => {
        const url = new URL(path, 'https://control');
        const { id } = mailNode(directory, url.pathname.split('/')[3] ?? '');
        await mailbox.put(id, 'keys-1', url.searchParams.get('id') ?? '', body ?? new Uint8Array());
        return { status: 200, body: encodeCbor({}), json: () => ({}) };
      },
    }),
    directory,
    id: 'keys-1',
    identity: identities['keys-1'],
    boxes: { mail: { keyOf: () => undefined, drained: async () => undefined } },
    known: {
      of: async (node) => (await registry.newest(node, 'mail')).box,
      renew: async (node) => (await registry.newest(node, 'mail')).box,
    },
    logger: silentLogger,
  });
  await client.send(to, what);
  await client.close();
}

describe('with two nodes of a role', () => {
  it('mail to one node does not reach the other', async () => {
    await send({ node: 'segments-2' }, message('1'));
    await mailbox.send({ node: 'segments-1' }, 'own', added('2'));
    expect(await receivedBy('segments-1')).toEqual([`control-1: ${JSON.stringify(added('2'))}`]);
    expect(await receivedBy('segments-2')).toEqual([`keys-1: ${JSON.stringify(message('1'))}`]);
  });

  it('mail to the role reaches exactly one node, the same one for all mail of a design', async () => {
    const designs = [...'0123456789abcdef'].map((digit) => digit.repeat(32));
    for (const partition of designs) {
      await mailbox.send({ role: 'segments', partition }, partition, added(partition.slice(0, 1)));
      await send({ role: 'segments', partition }, message(partition.slice(0, 1)));
      const { id } = chooseNode(directory, 'segments', partition);
      const other = id === 'segments-1' ? 'segments-2' : 'segments-1';
      expect(await receivedBy(other)).toEqual([]);
      expect(await receivedBy(id as Id)).toHaveLength(2);
    }
    expect(new Set(designs.map((design) => chooseNode(directory, 'segments', design).id)).size).toBe(2);
  });

  it('mail sealed to one node does not open at the other', async () => {
    const { box } = await registry.newest('segments-1', 'mail');
    const sender = { id: 'keys-1', identity: identities['keys-1'] };
    const sealed: Bytes = await sealMail(directory, sender, box, encodeMail(message('1')));
    await mailbox.put('segments-2', 'keys-1', 'replayed', sealed);
    await expect(receivedBy('segments-2')).rejects.toMatchObject({ code: 'E_SEAL' });
  });
});

describe('while the directory changes', () => {
  it('a node that is added gets its share, and one that is removed gets none', async () => {
    named = ids;
    await announce('segments-3');
    const partition = [...'0123456789abcdef'].find((of) => chooseNode(directory, 'segments', of).id === 'segments-3');
    if (partition === undefined) throw new Error('nothing is placed there');
    await send({ role: 'segments', partition }, message('3'));
    expect(await receivedBy('segments-3')).toHaveLength(1);
    named = ids.slice(0, 4);
    await mailbox.send({ role: 'segments', partition }, 'after', added('4'));
    expect(await receivedBy(chooseNode(directory, 'segments', partition).id as Id)).toHaveLength(1);
    expect(() => mailNode(directory, 'segments-3')).toThrow(MillraceError);
    await expect(send({ node: 'segments-3' }, message('5'))).rejects.toMatchObject({ code: 'E_DIRECTORY' });
  });

  it('a mailbox exists only for a node id, and not for distribution', () => {
    for (const name of ['segments', 'distribution-1', 'nobody'])
      expect(() => mailNode(directory, name)).toThrow(expect.objectContaining({ code: 'E_NOT_FOUND' }));
  });
});

describe('of several processes of a node', () => {
  const poll = async (consumer: string) =>
    (await mailbox.poll('keys-1', consumer, 0, new AbortController().signal)).map(({ attempts }) => attempts);

  it('one with a later turn gets what an earlier one had, and the earlier one gets nothing more', async () => {
    const [first, second, third] = [1, 2, 3].map(consumerName);
    await mailbox.send({ node: 'keys-1' }, 'one', message('1'));
    expect(await poll(first ?? '')).toEqual([1]);
    expect(await poll(second ?? '')).toEqual([2]);
    // It was frozen, and wakes up.
    await expect(poll(first ?? '')).rejects.toMatchObject({ code: 'E_FENCED' });
    expect(await poll(second ?? '')).toEqual([]);
    expect(await poll(third ?? '')).toEqual([3]);
  });

  it('one with an earlier turn gets mail when the later one is gone', async () => {
    await poll(consumerName(9));
    await expect(poll(consumerName(8))).rejects.toMatchObject({ code: 'E_FENCED' });
    passed = 60_000;
    await mailbox.send({ node: 'keys-1' }, 'one', message('1'));
    expect(await poll(consumerName(8))).toEqual([1]);
  });

  it('one that names no turn, because it is of an earlier version, takes the place of any', async () => {
    await mailbox.send({ node: 'keys-1' }, 'one', message('1'));
    expect(await poll(consumerName(7))).toEqual([1]);
    expect(await poll(consumerName())).toEqual([2]);
    expect(await poll(consumerName(6))).toEqual([3]);
  });
});
