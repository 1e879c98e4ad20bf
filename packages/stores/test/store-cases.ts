import assert from 'node:assert/strict';
import { type Bytes, toHex, utf8 } from '@millrace/base';
import type { Case } from '../src/compliance/cases.ts';
import { MAX_KEY_BYTES, prefixRange } from '../src/keys.ts';
import type { Range, Store } from '../src/port.ts';

export interface StoreHarness {
  readonly store: Store;
  /** Closes the store and reopens it with the same data. */
  reopen(): Promise<Store>;
  dispose(): Promise<void>;
}

export type OpenStore = () => Promise<StoreHarness>;

type Check = (store: Store, harness: StoreHarness) => Promise<void>;

function storeCase(name: string, check: Check): Case<OpenStore> {
  return {
    name,
    async run(open) {
      const harness = await open();
      try {
        await check(harness.store, harness);
      } finally {
        await harness.dispose();
      }
    },
  };
}

const key = (...bytes: number[]): Bytes => Uint8Array.from(bytes);

async function keysOf(store: Store, range?: Range): Promise<string[]> {
  const keys: string[] = [];
  for await (const entry of store.range(range)) keys.push(toHex(entry.key));
  return keys;
}

function coded(code: string): (error: unknown) => boolean {
  return (error) => error instanceof Error && 'code' in error && error.code === code;
}

/** Test cases for every store. */
export const storeCases: readonly Case<OpenStore>[] = [
  storeCase('gets many keys at once with the same result as one by one', async (store) => {
    await store.batch([
      { put: key(1), value: Uint8Array.of(1, 2) },
      { put: key(3), value: new Uint8Array() },
    ]);
    if (store.getMany === undefined) return;
    const keys = [key(3), key(2), key(1), key(3)];
    assert.deepEqual(await store.getMany(keys), await Promise.all(keys.map((one) => store.get(one))));
    assert.deepEqual(await store.getMany([]), []);
    await assert.rejects(store.getMany([key(1), key()]), coded('E_INPUT'));
  }),
  storeCase('returns stored values, and undefined for absent keys', async (store) => {
    await store.put(key(1), utf8('one'));
    await store.put(key(2), new Uint8Array());
    await store.put(key(3), new Uint8Array(100_000).fill(7));
    assert.deepEqual(await store.get(key(1)), utf8('one'));
    assert.deepEqual(await store.get(key(2)), new Uint8Array());
    assert.deepEqual(await store.get(key(3)), new Uint8Array(100_000).fill(7));
    assert.equal(await store.get(key(4)), undefined);
    assert.deepEqual([await store.has(key(2)), await store.has(key(4))], [true, false]);
    await store.put(key(1), utf8('another'));
    assert.deepEqual(await store.get(key(1)), utf8('another'));
  }),
  storeCase('deletes keys, and ignores absent ones', async (store) => {
    await store.put(key(1), utf8('one'));
    await store.delete(key(1));
    await store.delete(key(1));
    assert.equal(await store.get(key(1)), undefined);
    assert.deepEqual(await keysOf(store), []);
  }),
  storeCase('returns byte arrays that belong to the caller', async (store) => {
    const value = utf8('before');
    await store.put(key(1), value);
    value.fill(0);
    const read = await store.get(key(1));
    assert.deepEqual(read, utf8('before'));
    read?.fill(0);
    assert.deepEqual(await store.get(key(1)), utf8('before'));
    assert.equal(Object.getPrototypeOf(read), Uint8Array.prototype);
  }),
  storeCase('accepts keys of 1 and 511 bytes, refuses 0 and 512', async (store) => {
    const longest = new Uint8Array(MAX_KEY_BYTES).fill(255);
    await store.put(longest, utf8('long'));
    assert.deepEqual(await store.get(longest), utf8('long'));
    for (const wrong of [new Uint8Array(), new Uint8Array(MAX_KEY_BYTES + 1)]) {
      await assert.rejects(store.put(wrong, utf8('x')), coded('E_INPUT'));
      await assert.rejects(store.get(wrong), coded('E_INPUT'));
      await assert.rejects(store.batch([{ put: key(9), value: utf8('x') }, { delete: wrong }]), coded('E_INPUT'));
      await assert.rejects(store.compareAndSwap(wrong, undefined, utf8('x')), coded('E_INPUT'));
    }
    assert.equal(await store.has(key(9)), false, 'a refused batch changes nothing');
  }),
  storeCase('applies a batch in order and atomically', async (store) => {
    await store.put(key(1), utf8('old'));
    await store.batch([
      { put: key(2), value: utf8('two') },
      { delete: key(1) },
      { put: key(3), value: utf8('first') },
      { put: key(3), value: utf8('last') },
      { put: key(4), value: utf8('gone') },
      { delete: key(4) },
    ]);
    assert.deepEqual(await keysOf(store), ['02', '03']);
    assert.deepEqual(await store.get(key(3)), utf8('last'));
    await store.batch([]);
  }),
  storeCase('ranges in byte order within every kind of bound', async (store) => {
    const keys = [key(0), key(0, 0), key(0, 255), key(1), key(1, 2, 3), key(127), key(128), key(255), key(255, 255)];
    await store.batch([...keys].reverse().map((put) => ({ put, value: put })));
    const all = keys.map(toHex);
    assert.deepEqual(await keysOf(store), all);
    assert.deepEqual(await keysOf(store, { reverse: true }), [...all].reverse());
    assert.deepEqual(await keysOf(store, { gte: key(1), lt: key(128) }), ['01', '010203', '7f']);
    assert.deepEqual(await keysOf(store, { gt: key(1), lte: key(128) }), ['010203', '7f', '80']);
    assert.deepEqual(await keysOf(store, { gt: key(1), lte: key(128), reverse: true }), ['80', '7f', '010203']);
    assert.deepEqual(await keysOf(store, { gte: key(1), lt: key(128), reverse: true }), ['7f', '010203', '01']);
    assert.deepEqual(await keysOf(store, { lt: key(0) }), []);
    assert.deepEqual(await keysOf(store, { lte: key(0), reverse: true }), ['00']);
    assert.deepEqual(await keysOf(store, { gt: key(255, 255) }), []);
    assert.deepEqual(await keysOf(store, { gt: key(2), limit: 2 }), ['7f', '80']);
    assert.deepEqual(await keysOf(store, { reverse: true, limit: 1 }), ['ffff']);
    assert.deepEqual(await keysOf(store, { limit: 0 }), []);
    assert.deepEqual(await keysOf(store, { lt: key(130), gt: key(126), reverse: true }), ['80', '7f']);
    assert.deepEqual(await keysOf(store, prefixRange(key(0))), ['00', '0000', '00ff']);
    assert.deepEqual(await keysOf(store, prefixRange(key(255))), ['ff', 'ffff']);
  }),
  storeCase('ranges over many pages, in both directions, under concurrent writes', async (store) => {
    const name = (i: number) => key(7, i >> 8, i & 255);
    for (let from = 0; from < 1000; from += 250) {
      await store.batch(Array.from({ length: 250 }, (_, i) => ({ put: name(from + i), value: name(from + i) })));
    }
    const seen: string[] = [];
    for await (const entry of store.range({ gte: name(0) })) {
      assert.deepEqual(entry.key, entry.value);
      seen.push(toHex(entry.key));
      if (seen.length % 100 === 0) await store.delete(entry.key); // behind the cursor
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 1000 }, (_, i) => toHex(name(i))),
    );
    assert.equal((await keysOf(store, { reverse: true })).length, 990);
    assert.equal((await keysOf(store, { limit: 400 })).length, 400);
  }),
  storeCase('swaps only if the current value is the expected one', async (store) => {
    const k = key(5);
    assert.equal(await store.compareAndSwap(k, utf8('a'), utf8('b')), 'refused');
    assert.equal(await store.compareAndSwap(k, undefined, utf8('a')), 'applied');
    assert.equal(await store.compareAndSwap(k, undefined, utf8('b')), 'refused');
    assert.equal(await store.compareAndSwap(k, utf8('a'), utf8('b')), 'applied');
    assert.deepEqual(await store.get(k), utf8('b'));
    assert.equal(await store.compareAndSwap(k, utf8('a'), undefined), 'refused');
    assert.equal(await store.compareAndSwap(k, utf8('b'), undefined), 'applied');
    assert.equal(await store.has(k), false);
    assert.equal(await store.compareAndSwap(k, undefined, undefined), 'applied');
  }),
  storeCase('gives exactly N of 200 concurrent swaps a place', async (store) => {
    const places = 7;
    const won: number[] = [];
    const race = async (racer: number): Promise<void> => {
      for (;;) {
        const current = await store.get(key(1));
        const taken = current === undefined ? 0 : (current[0] ?? 0);
        if (taken >= places) return;
        const next = Uint8Array.of(taken + 1, racer);
        const swap = await store.compareAndSwap(key(1), current, next);
        assert.notEqual(swap, 'unknown', 'a single node never answers unknown');
        if (swap === 'applied') return void won.push(racer);
      }
    };
    await Promise.all(Array.from({ length: 200 }, (_, racer) => race(racer)));
    assert.equal(won.length, places);
    assert.equal(new Set(won).size, places);
    assert.equal((await store.get(key(1)))?.[0], places);
  }),
  storeCase('keeps all acknowledged data when it is closed and reopened', async (store, harness) => {
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.put(key(i), key(i, i))));
    await store.delete(key(3));
    const again = await harness.reopen();
    assert.equal((await keysOf(again)).length, 99);
    assert.deepEqual(await again.get(key(99)), key(99, 99));
    assert.equal(await again.has(key(3)), false);
  }),
  storeCase('refuses calls after close', async (store) => {
    await store.put(key(1), key(1));
    await store.close();
    await assert.rejects(store.get(key(1)), coded('E_STORE'));
    await assert.rejects(store.put(key(1), key(1)), coded('E_STORE'));
    await assert.rejects(store.compareAndSwap(key(1), undefined, key(1)), coded('E_STORE'));
    await assert.rejects(keysOf(store), coded('E_STORE'));
  }),
];
