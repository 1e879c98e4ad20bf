import { systemClock, utf8 } from '@millrace/base';
import { expect, it } from 'vitest';
import { MapQueue } from '../src/map-queue.ts';
import { MemoryStore } from '../src/memory.ts';
import type { Key, Range } from '../src/port.ts';

/** Counts the entries read. */
class CountingStore extends MemoryStore {
  read = 0;

  override async get(key: Key) {
    this.read++;
    return super.get(key);
  }

  override async *range(options?: Range) {
    for await (const entry of super.range(options)) {
      this.read++;
      yield entry;
    }
  }

  override async *keys(options?: Range) {
    for await (const key of super.keys(options)) {
      this.read++;
      yield key;
    }
  }
}

const MANY = 20_000;

it('claims, publishes and acknowledges without reading the 20,000 messages of another key', async () => {
  const store = new CountingStore();
  const queue = new MapQueue(store, { clock: systemClock });
  for (let from = 0; from < MANY; from += 1_000)
    await Promise.all(Array.from({ length: 1_000 }, (_, i) => queue.publish('t', 'long', `l${from + i}`, utf8('x'))));
  const claim = async (consumer: string, limit: number) =>
    (await queue.claim('t', { consumer, limit, leaseMs: 60_000 })).map(({ id }) => id);
  const reads = async (work: () => Promise<unknown>): Promise<number> => {
    const before = store.read;
    await work();
    return store.read - before;
  };
  // Leased, waiting for the holder of the key, and with another key.
  expect(await reads(async () => expect(await claim('one', 1_000)).toHaveLength(1_000))).toBeLessThan(2_001);
  expect(await reads(async () => expect(await claim('two', 64)).toEqual([]))).toBe(0);
  expect(await reads(() => queue.publish('t', 'short', 's', utf8('x')))).toBeLessThan(5);
  expect(await reads(async () => expect(await claim('two', 64)).toEqual(['s']))).toBeLessThan(5);
  expect(await reads(async () => expect(await claim('one', 2)).toEqual(['l1000', 'l1001']))).toBeLessThan(5);
  expect(await reads(() => queue.acknowledge('t', ['s', 'l500', 'l15000']))).toBeLessThan(10);
  expect(await reads(() => queue.depth('t'))).toBe(0);
  expect(await queue.depth('t')).toBe(MANY - 2);
});
