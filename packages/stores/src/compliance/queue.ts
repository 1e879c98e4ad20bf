import assert from 'node:assert/strict';
import { utf8 } from '@millrace/base';
import type { Claimed, Queue } from '../queue.ts';
import type { Case } from './cases.ts';

export interface QueueHarness {
  readonly queue: Queue;
  /** Moves the queue's clock forward. */
  advance(milliseconds: number): void;
  reopen(): Promise<Queue>;
  dispose(): Promise<void>;
}

/** @param rememberMs How long acknowledged ids are remembered. */
export type OpenQueue = (rememberMs: number) => Promise<QueueHarness>;

const REMEMBER = 60_000;
const LEASE = 1_000;

function queueCase(name: string, check: (queue: Queue, harness: QueueHarness) => Promise<void>): Case<OpenQueue> {
  return {
    name,
    async run(open) {
      const harness = await open(REMEMBER);
      try {
        await check(harness.queue, harness);
      } finally {
        await harness.dispose();
      }
    },
  };
}

const claim = (queue: Queue, topic = 't', limit = 100, consumer = 'c'): Promise<Claimed[]> =>
  queue.claim(topic, { consumer, limit, leaseMs: LEASE });
const ids = (claimed: readonly Claimed[]): string[] => claimed.map(({ id }) => id);

/** Test cases of every queue. */
export const queueCases: readonly Case<OpenQueue>[] = [
  queueCase('delivers in the order of publication, for each topic', async (queue) => {
    const names = Array.from({ length: 50 }, (_, i) => `m${i}`);
    await Promise.all(names.map((id) => queue.publish('t', 'k', id, utf8(`message ${id}`))));
    await queue.publish('other', 'k', 'x', utf8('x'));
    await queue.publish('t2', 'k', 'y', utf8('y'));
    const claimed = await claim(queue);
    assert.deepEqual(ids(claimed), names);
    assert.deepEqual(claimed[49]?.message, utf8('message m49'));
    assert.deepEqual(claimed[0], { key: 'k', id: 'm0', message: utf8('message m0'), attempts: 1 });
    assert.deepEqual(ids(await claim(queue, 'other')), ['x']);
    assert.deepEqual(await claim(queue, 'nobody'), []);
  }),
  queueCase('bounds a claim by count and bytes, but always delivers a long message', async (queue) => {
    for (const id of ['a', 'b', 'c', 'd']) await queue.publish('t', 'k', id, new Uint8Array(100));
    assert.deepEqual(ids(await claim(queue, 't', 1)), ['a']);
    assert.deepEqual(ids(await queue.claim('t', { consumer: 'c', limit: 9, leaseMs: LEASE, maxBytes: 250 })), [
      'b',
      'c',
    ]);
    assert.deepEqual(ids(await queue.claim('t', { consumer: 'c', limit: 9, leaseMs: LEASE, maxBytes: 10 })), ['d']);
    assert.deepEqual(ids(await queue.claim('t', { consumer: 'c', limit: 0, leaseMs: LEASE })), []);
  }),
  queueCase('redelivers after the lease ends and not before, in order and counted', async (queue, harness) => {
    for (const id of ['a', 'b', 'c']) await queue.publish('t', 'k', id, utf8(id));
    assert.deepEqual(ids(await claim(queue, 't', 2)), ['a', 'b']);
    assert.deepEqual(ids(await claim(queue)), ['c']);
    assert.deepEqual(await claim(queue), []);
    await queue.acknowledge('t', ['b']);
    harness.advance(LEASE);
    const again = await claim(queue);
    assert.deepEqual(
      again.map(({ id, attempts }) => [id, attempts]),
      [
        ['a', 2],
        ['c', 2],
      ],
    );
  }),
  queueCase('redelivers released messages at once', async (queue) => {
    await queue.publish('t', 'k', 'a', utf8('a'));
    await claim(queue);
    await queue.release('t', ['a', 'not there']);
    assert.deepEqual(
      (await claim(queue)).map(({ attempts }) => attempts),
      [2],
    );
  }),
  queueCase('never redelivers an acknowledged message, whoever holds its lease', async (queue, harness) => {
    await queue.publish('t', 'k', 'a', utf8('a'));
    await queue.publish('t', 'k', 'b', utf8('b'));
    await queue.acknowledge('t', ['b']);
    await claim(queue);
    await queue.acknowledge('t', ['a', 'a', 'unknown']);
    harness.advance(10 * LEASE);
    assert.deepEqual(await claim(queue), []);
    assert.equal(await queue.depth('t'), 0);
  }),
  queueCase('ignores a repeated id while the message waits and after it was acknowledged', async (queue, harness) => {
    await Promise.all([queue.publish('t', 'k', 'a', utf8('first')), queue.publish('t', 'k', 'a', utf8('second'))]);
    await queue.publish('t', 'k', 'a', utf8('third'));
    assert.equal(await queue.depth('t'), 1);
    assert.deepEqual((await claim(queue))[0]?.message, utf8('first'));
    await queue.acknowledge('t', ['a']);
    await queue.publish('t', 'k', 'a', utf8('fourth'));
    await queue.publish('u', 'k', 'a', utf8('in another topic'));
    assert.deepEqual([await queue.depth('t'), await queue.depth('u')], [0, 1]);
    harness.advance(REMEMBER + 1);
    await queue.publish('t', 'k', 'b', utf8('b'));
    await queue.acknowledge('t', ['b']); // an acknowledgement removes expired ids
    await queue.publish('t', 'k', 'a', utf8('fifth'));
    assert.deepEqual((await claim(queue))[0]?.message, utf8('fifth'));
  }),
  queueCase('keeps order, ids and acknowledgements over a restart', async (queue, harness) => {
    for (const id of ['a', 'b', 'c']) await queue.publish('t', 'k', id, utf8(id));
    await claim(queue, 't', 2);
    await queue.acknowledge('t', ['a']);
    const again = await harness.reopen();
    assert.equal(await again.depth('t'), 2);
    await again.publish('t', 'k', 'a', utf8('repeated'));
    await again.publish('t', 'k', 'c', utf8('repeated'));
    await again.publish('t', 'k', 'd', utf8('d'));
    const claimed = await claim(again);
    assert.deepEqual(ids(claimed), ['b', 'c', 'd']);
    assert.deepEqual(claimed[1]?.message, utf8('c'));
  }),
  queueCase('shares messages among consumers without delivering one twice', async (queue) => {
    await Promise.all(Array.from({ length: 60 }, (_, i) => queue.publish('t', `k${i}`, `m${i}`, utf8('x'))));
    const shares = await Promise.all(Array.from({ length: 12 }, (_, i) => claim(queue, 't', 10, `c${i}`)));
    const all = shares.flatMap(ids);
    assert.equal(all.length, 60);
    assert.equal(new Set(all).size, 60);
  }),
  queueCase('gives a key to one consumer at a time, who may claim on; other keys go on', async (queue) => {
    for (const id of ['a1', 'b1', 'a2', 'b2', 'a3']) await queue.publish('t', id.slice(0, 1), id, utf8(id));
    assert.deepEqual(ids(await claim(queue, 't', 1, 'one')), ['a1']);
    assert.deepEqual(ids(await claim(queue, 't', 9, 'two')), ['b1', 'b2']);
    assert.deepEqual(await claim(queue, 't', 9, 'two'), []);
    assert.deepEqual(ids(await claim(queue, 't', 1, 'one')), ['a2']);
    await queue.acknowledge('t', ['a1']);
    assert.deepEqual(await claim(queue, 't', 9, 'two'), [], 'a2 is leased');
    await queue.acknowledge('t', ['a2']);
    const last = await claim(queue, 't', 9, 'two');
    assert.deepEqual(
      last.map(({ key, id }) => [key, id]),
      [['a', 'a3']],
    );
  }),
  queueCase('delivers again in order, and the key as a whole', async (queue, harness) => {
    for (const id of ['a', 'b', 'c', 'd']) await queue.publish('t', 'k', id, utf8(id));
    assert.deepEqual(ids(await claim(queue, 't', 2, 'one')), ['a', 'b']);
    harness.advance(LEASE / 2);
    assert.deepEqual(ids(await claim(queue, 't', 1, 'one')), ['c']);
    harness.advance(LEASE / 2);
    assert.deepEqual(await claim(queue, 't', 9, 'two'), [], 'c is leased');
    assert.deepEqual(ids(await claim(queue, 't', 9, 'one')), ['a', 'b', 'd']);
    await queue.acknowledge('t', ['b']);
    harness.advance(LEASE);
    const again = await claim(queue, 't', 9, 'two');
    assert.deepEqual(
      again.map(({ id, attempts }) => [id, attempts]),
      [
        ['a', 3],
        ['c', 2],
        ['d', 2],
      ],
    );
    await queue.release('t', ['d', 'a']);
    assert.deepEqual(await claim(queue, 't', 9, 'one'), [], 'c is leased');
    await queue.release('t', ['c']);
    assert.deepEqual(ids(await claim(queue, 't', 2, 'one')), ['a', 'c']);
  }),
  queueCase('lets keys take turns, however much waits in one of them', async (queue) => {
    const publish = (key: string, count: number) =>
      Promise.all(Array.from({ length: count }, (_, i) => queue.publish('t', key, `${key}${i}`, utf8('x'))));
    await publish('long', 300);
    await publish('x', 2);
    await publish('y', 1);
    const given: string[] = [];
    for (let i = 0; i < 3; i++) given.push(...ids(await claim(queue, 't', 100)));
    assert.deepEqual(given.slice(100, 103), ['x0', 'x1', 'y0']);
    assert.deepEqual(
      given.filter((id) => id.startsWith('long')),
      Array.from({ length: 297 }, (_, i) => `long${i}`),
    );
  }),
  queueCase('keeps the order of every key under competing consumers that fail now and then', async (queue, harness) => {
    const [keys, each] = [5, 12];
    for (let n = 0; n < each; n++)
      await Promise.all(Array.from({ length: keys }, (_, k) => queue.publish('t', `k${k}`, `${k}/${n}`, utf8('x'))));
    const done = new Map<string, number[]>();
    let round = 0;
    const consume = async (consumer: string): Promise<void> => {
      for (const { key, id } of await claim(queue, 't', 4, consumer)) {
        if (++round % 7 === 0) return; // gives up; its leases end
        done.set(key, [...(done.get(key) ?? []), Number(id.split('/')[1])]);
        await queue.acknowledge('t', [id]);
      }
    };
    while ((await queue.depth('t')) > 0) {
      await Promise.all(['one', 'two', 'three'].map(consume));
      harness.advance(LEASE);
    }
    assert.equal(done.size, keys);
    for (const order of done.values())
      assert.deepEqual(
        order,
        Array.from({ length: each }, (_, n) => n),
      );
  }),
  queueCase('wakes a consumer that waits for a key when the last lease in it goes', async (queue) => {
    for (const id of ['a', 'b', 'c']) await queue.publish('t', 'k', id, utf8(id));
    await claim(queue, 't', 2, 'one');
    let woken = 0;
    queue.onPublish('t', () => woken++);
    await queue.acknowledge('t', ['a']);
    assert.equal(woken, 0);
    await queue.acknowledge('t', ['b']);
    assert.equal(woken, 1);
    assert.deepEqual(ids(await claim(queue, 't', 9, 'two')), ['c']);
  }),
  queueCase('wakes listeners of a topic when a message becomes claimable', async (queue) => {
    let woken = 0;
    const remove = queue.onPublish('t', () => woken++);
    await queue.publish('t', 'k', 'a', utf8('a'));
    await queue.publish('u', 'k', 'a', utf8('a'));
    assert.equal(woken, 1);
    assert.equal((await claim(queue)).length, 1);
    await queue.release('t', ['a']);
    assert.equal(woken, 2);
    remove();
    await queue.publish('t', 'k', 'b', utf8('b'));
    assert.equal(woken, 2);
  }),
  queueCase('refuses names that are empty or too long, and calls after close', async (queue) => {
    const isCode = (code: string) => (error: unknown) =>
      error instanceof Error && 'code' in error && error.code === code;
    await assert.rejects(queue.publish('', 'k', 'a', utf8('a')), isCode('E_INPUT'));
    await assert.rejects(queue.publish('t'.repeat(101), 'k', 'a', utf8('a')), isCode('E_INPUT'));
    await assert.rejects(queue.publish('t', 'k', '', utf8('a')), isCode('E_INPUT'));
    await assert.rejects(queue.publish('t', '', 'a', utf8('a')), isCode('E_INPUT'));
    await assert.rejects(queue.publish('t', 'é'.repeat(51), 'a', utf8('a')), isCode('E_INPUT'));
    await assert.rejects(queue.publish('t', 'k', 'é'.repeat(101), utf8('a')), isCode('E_INPUT'));
    await queue.publish('t'.repeat(100), 'é'.repeat(50), 'é'.repeat(100), utf8('a'));
    assert.deepEqual(ids(await claim(queue, 't'.repeat(100))), ['é'.repeat(100)]);
    await queue.close();
    await assert.rejects(queue.publish('t', 'k', 'z', utf8('a')), isCode('E_STORE'));
    await assert.rejects(claim(queue), isCode('E_STORE'));
  }),
];
