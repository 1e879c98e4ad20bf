import { utf8 } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Claimed, Queue } from '../src/index.ts';
import { engines, openQueueOn } from './harness.ts';

const keys = ['a', 'b', 'c'] as const;
const consumers = ['one', 'two', 'three'] as const;
const LEASE = 10;
const REMEMBER = 1_000_000;

interface Message {
  readonly key: string;
  readonly id: string;
  readonly size: number;
  attempts: number;
  lease: { consumer: string; until: number } | undefined;
}

/** A model of the queue: all waiting messages in the order of publishing, searched linearly. */
class Model {
  now = 0;
  waiting: Message[] = [];
  readonly remembered = new Set<string>();

  publish(key: string, id: string, size: number): void {
    if (this.remembered.has(id)) return;
    this.remembered.add(id);
    this.waiting.push({ key, id, size, attempts: 0, lease: undefined });
  }

  isLeased({ lease }: Message): boolean {
    return lease !== undefined && lease.until > this.now;
  }

  claimable(consumer: string): Message[] {
    return this.waiting.filter((message) => {
      const leases = this.waiting.filter((other) => other.key === message.key && this.isLeased(other));
      return !this.isLeased(message) && leases.every(({ lease }) => lease?.consumer === consumer);
    });
  }

  /** Checks the messages of a claim, and records their leases. */
  claimed(consumer: string, limit: number, maxBytes: number, given: readonly Claimed[]): void {
    const claimable = this.claimable(consumer);
    for (const key of keys) {
      const mine = given.filter((one) => one.key === key).map(({ id }) => id);
      const first = claimable.filter((one) => one.key === key).slice(0, mine.length);
      expect(mine).toEqual(first.map(({ id }) => id));
    }
    const bytes = given.reduce((total, { message }) => total + message.length, 0);
    expect(given.length).toBeLessThanOrEqual(limit);
    if (given.length > 1) expect(bytes).toBeLessThanOrEqual(maxBytes);
    if (given.length === 0) expect(claimable).toEqual([]);
    if (maxBytes === Number.POSITIVE_INFINITY) expect(given.length).toBe(Math.min(limit, claimable.length));
    for (const { id, attempts, message } of given) {
      const known = this.waiting.find((one) => one.id === id);
      expect(known).toBeDefined();
      if (known === undefined) return;
      expect([attempts, message.length]).toEqual([++known.attempts, known.size]);
      known.lease = { consumer, until: this.now + LEASE };
    }
  }

  reopen(): void {
    for (const message of this.waiting) Object.assign(message, { attempts: 0, lease: undefined });
  }
}

const oneOfTheMessages = fc.nat(30).map((n) => `m${n}`);
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      // Several at once. An id always has the same key.
      ids: fc.array(oneOfTheMessages, { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('claim' as const),
      consumer: fc.constantFrom(...consumers),
      limit: fc.integer({ min: 1, max: 6 }),
      maxBytes: fc.constantFrom(3, 10, Number.POSITIVE_INFINITY),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('acknowledge' as const), ids: fc.array(oneOfTheMessages) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('release' as const), ids: fc.array(oneOfTheMessages) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('advance' as const), by: fc.integer({ min: 1, max: LEASE }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const) }) },
);

const numberOf = (id: string): number => Number(id.slice(1));
const keyOf = (id: string): string => keys[numberOf(id) % keys.length] ?? 'a';
const sizeOf = (id: string): number => numberOf(id) % 5;

describe.each(Object.entries(engines))('the queue on the %s store against a list', (name, open) => {
  it('agrees after any sequence of operations', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const harness = await openQueueOn(open)(REMEMBER);
        let queue: Queue = harness.queue;
        const model = new Model();
        try {
          for (const action of steps) {
            if (action.do === 'publish') {
              for (const id of action.ids) model.publish(keyOf(id), id, sizeOf(id));
              await Promise.all(
                action.ids.map((id) => queue.publish('t', keyOf(id), id, utf8('x'.repeat(sizeOf(id))))),
              );
            } else if (action.do === 'claim') {
              const { consumer, limit, maxBytes } = action;
              const given = await queue.claim('t', { consumer, limit, maxBytes, leaseMs: LEASE });
              model.claimed(consumer, limit, maxBytes, given);
            } else if (action.do === 'acknowledge') {
              await queue.acknowledge('t', action.ids);
              model.waiting = model.waiting.filter(({ id }) => !action.ids.includes(id));
            } else if (action.do === 'release') {
              await queue.release('t', action.ids);
              for (const message of model.waiting) if (action.ids.includes(message.id)) message.lease = undefined;
            } else if (action.do === 'advance') {
              harness.advance(action.by);
              model.now += action.by;
            } else {
              queue = await harness.reopen();
              model.reopen();
            }
            expect(await queue.depth('t')).toBe(model.waiting.length);
          }
        } finally {
          await harness.dispose();
        }
      }),
      { numRuns: name === 'lmdb' ? 60 : 400 },
    );
  });
});
