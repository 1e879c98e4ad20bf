import { type Clock, sleep, toHex } from '@millrace/base';
import { MemoryRecords } from '@millrace/stores';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { acquireLease, isHeldBy, type Lease } from '../src/node/lease.ts';

// The lease of the control nodes, on clocks of their own.

/** Renewed every 20 ms of the real time: the clocks of the tests decide nothing else. */
const takeoverMs = 160;

/** Clocks of one process, which stand still until they are moved. */
class Hands implements Clock {
  at = 1_000_000;
  ahead = 0;
  now = () => this.at + this.ahead;
  monotonic = () => this.at;
}

let records: MemoryRecords;
let stop: AbortController;
const held: Lease[] = [];
beforeEach(() => {
  records = new MemoryRecords();
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort(new Error('the test has ended'));
  for (const lease of held.splice(0)) lease.end('the test has ended');
});

const keep = (lease: Lease) => {
  held.push(lease);
  return lease;
};
const acquire = (node: string, clock: Clock, store: MemoryRecords = records) =>
  acquireLease(
    { role: 'control', records: store, holder: `process of ${node}`, node, clock, takeoverMs },
    stop.signal,
  ).then(keep);

/** The store as one process sees it: it stops answering when the process is cut off. */
function cuttable(): { readonly store: MemoryRecords; cut: boolean } {
  const link = { cut: false } as { store: MemoryRecords; cut: boolean };
  link.store = {
    collection: (name: string) => {
      const all = records.collection(name);
      const check = async () => {
        if (link.cut) throw new Error('cut off');
      };
      return {
        ...all,
        get: (key: string) => check().then(() => all.get(key)),
        compareAndSwap: (key: string, before?: Uint8Array, after?: Uint8Array) =>
          check().then(() => all.compareAndSwap(key, before, after)),
      };
    },
  } as unknown as MemoryRecords;
  return link;
}

it('is held by one process, and passes on at once when it is given back', async () => {
  const [one, two] = [new Hands(), new Hands()];
  const first = await acquire('control-1', one);
  expect(await isHeldBy(records, 'control', 'process of control-1')).toBe(true);
  let taken: Lease | undefined;
  const waiting = acquire('control-2', two).then((lease) => {
    taken = lease;
  });
  two.at += 100;
  await sleep(100); // many looks
  expect(taken).toBeUndefined();
  first.check();
  await first.giveBack();
  await waiting;
  expect(taken?.token).toBe(first.token + 1);
  expect(() => first.check()).toThrow(expect.objectContaining({ code: 'E_FENCED' }));
  expect(await isHeldBy(records, 'control', 'process of control-1')).toBe(false);
});

it('is not taken while its holder renews it, however long that is', async () => {
  const [one, two] = [new Hands(), new Hands()];
  const first = await acquire('control-1', one);
  let taken = false;
  void acquire('control-2', two).then(
    () => {
      taken = true;
    },
    () => undefined,
  );
  const collection = records.collection('lease');
  for (let i = 0; i < 10; i++) {
    const before = toHex((await collection.get('control')) ?? new Uint8Array());
    await expect.poll(async () => toHex((await collection.get('control')) ?? new Uint8Array())).not.toBe(before);
    one.at += 20;
    two.at += 100;
  }
  expect(taken).toBe(false);
  await expect.poll(() => first.isCurrent).toBe(true);
});

it('of a process that is cut off is not used any more when another process may take it', async () => {
  const [one, two] = [new Hands(), new Hands()];
  const link = cuttable();
  const first = await acquire('control-1', one, link.store);
  link.cut = true;
  await sleep(50); // a renewal that was sent before has arrived
  const since = one.at;
  const waiting = acquire('control-2', two);
  await sleep(50);
  one.at = since + 119;
  two.at += 119;
  first.check();
  one.at += 1;
  expect(() => first.check()).toThrow(expect.objectContaining({ code: 'E_UNAVAILABLE' }));
  expect(first.isCurrent).toBe(false);
  two.at += 41;
  expect((await waiting).token).toBe(first.token + 1);
  // It reaches the store again, and learns of it.
  link.cut = false;
  await expect.poll(() => first.lost.aborted).toBe(true);
  expect(() => first.check()).toThrow(expect.objectContaining({ code: 'E_FENCED' }));
  expect(await isHeldBy(records, 'control', 'process of control-2')).toBe(true);
});

it.each(['monotonic', 'wall'] as const)(
  'of a process that was frozen is used again only after a renewal (%s clock)',
  async (kind) => {
    const clock = new Hands();
    const link = cuttable();
    const lease = await acquire('control-1', clock, link.store);
    link.cut = true;
    await sleep(50);
    if (kind === 'monotonic') clock.at += 120;
    else clock.ahead += 120; // the computer slept, and its monotonic clock stood still
    expect(() => lease.check()).toThrow(expect.objectContaining({ code: 'E_UNAVAILABLE' }));
    link.cut = false;
    // Nobody has taken it.
    await expect.poll(() => lease.isCurrent).toBe(true);
    lease.check();
  },
);

it('of a process that was frozen is lost if another one took it, although the clocks of the first stood still', async () => {
  const [one, two] = [new Hands(), new Hands()];
  const link = cuttable();
  const first = await acquire('control-1', one, link.store);
  link.cut = true;
  await sleep(50);
  const waiting = acquire('control-2', two);
  await sleep(50);
  two.at += 161;
  await waiting;
  first.check(); // time alone would not stop it
  link.cut = false;
  await expect.poll(() => first.lost.aborted).toBe(true);
  expect(await isHeldBy(records, 'control', 'process of control-2')).toBe(true);
});

it('waits as long as the holder has set, whatever the next one has set', async () => {
  const [one, two] = [new Hands(), new Hands()];
  const link = cuttable();
  await acquire('control-1', one, link.store);
  link.cut = true;
  let taken = false;
  const next = { role: 'control', holder: 'process of control-2', node: 'control-2' } as const;
  const options = { ...next, records, clock: two, takeoverMs: 10 };
  const waiting = acquireLease(options, stop.signal).then((lease) => {
    taken = true;
    return keep(lease);
  });
  await sleep(50);
  two.at += 159;
  await sleep(50);
  expect(taken).toBe(false);
  two.at += 1;
  await waiting;
});

it('goes to exactly one of many processes that want it, again and again', async () => {
  const hands = Array.from({ length: 8 }, () => new Hands());
  let holders = 0;
  let turns = 0;
  const tokens: number[] = [];
  await Promise.all(
    hands.map(async (clock, i) => {
      const lease = await acquire(`control-${i}`, clock);
      expect(++holders).toBe(1);
      tokens.push(lease.token);
      await sleep(5);
      lease.check();
      holders--;
      turns++;
      await lease.giveBack();
    }),
  );
  expect(turns).toBe(8);
  expect(tokens).toEqual([...tokens].sort((a, b) => a - b));
  expect(new Set(tokens).size).toBe(8);
});
