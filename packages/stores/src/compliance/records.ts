import assert from 'node:assert/strict';
import { type Bytes, decodeCbor, encodeCbor, utf8 } from '@millrace/base';
import type { Collection, CollectionOptions, Page, PageOptions, RecordStore } from '../records.ts';
import type { Case } from './cases.ts';

export interface RecordsHarness {
  readonly records: RecordStore;
  /** Closes the store and reopens it over the same data. */
  reopen(): Promise<RecordStore>;
  dispose(): Promise<void>;
}

export type OpenRecords = () => Promise<RecordsHarness>;

function recordsCase(
  name: string,
  check: (records: RecordStore, harness: RecordsHarness) => Promise<void>,
): Case<OpenRecords> {
  return {
    name,
    async run(open) {
      const harness = await open();
      try {
        await check(harness.records, harness);
      } finally {
        await harness.dispose();
      }
    },
  };
}

interface Part {
  readonly owner: string;
  readonly holder: string;
  readonly made: number;
  readonly open?: boolean;
}

const part = (value: Part): Bytes => encodeCbor(value as never);
const read = (value: Uint8Array): Part => decodeCbor(value, 'part') as unknown as Part;

const indexed: CollectionOptions = {
  indexes: {
    party: (value) => {
      const { owner, holder, made } = read(value);
      return [...new Set([owner, holder])].map((group) => ({ group, order: made }));
    },
    open: (value) => (read(value).open ? [{ group: 'all' }] : []),
  },
};

async function pages(collection: Collection, options: PageOptions): Promise<string[][]> {
  const found: string[][] = [];
  for (let after: Bytes | undefined; ; ) {
    const page: Page = await collection.page({ ...options, ...(after && { after }) });
    found.push(page.entries.map(({ key }) => key));
    if (page.next === undefined) return found;
    after = page.next;
  }
}

const keys = async (collection: Collection, options: PageOptions): Promise<string[]> =>
  (await pages(collection, options)).flat();

function coded(code: string): (error: unknown) => boolean {
  return (error) => error instanceof Error && 'code' in error && error.code === code;
}

/** Test cases of every record store. */
export const recordsCases: readonly Case<OpenRecords>[] = [
  recordsCase('returns records by collection and key', async (records) => {
    const [a, b] = [records.collection('a'), records.collection('a-b')];
    const value = utf8('one');
    await a.put('k', value);
    value.fill(0);
    await b.put('k', utf8('other'));
    await a.put('k/é', new Uint8Array());
    const found = await a.get('k');
    assert.deepEqual(found, utf8('one'));
    assert.equal(Object.getPrototypeOf(found), Uint8Array.prototype);
    found?.fill(0);
    assert.deepEqual([await a.get('k'), await b.get('k')], [utf8('one'), utf8('other')]);
    assert.deepEqual(await a.get('k/é'), new Uint8Array());
    await a.delete('k');
    await a.delete('k');
    assert.deepEqual([await a.get('k'), await b.get('k')], [undefined, utf8('other')]);
    assert.deepEqual(await keys(a, { limit: 9 }), ['k/é']);
  }),
  recordsCase('names the collections that have records', async (records) => {
    assert.deepEqual(await records.collections(), []);
    const indexedToo = records.collection('a', indexed);
    await indexedToo.put('k', part({ owner: 'ann', holder: 'bob', made: 1 }));
    for (const name of ['a-b', 'a1', 'b', 'ab']) {
      await records.collection(name).put('k', utf8('v'));
      await records.collection(name).put('l', utf8('v'));
    }
    assert.deepEqual(await records.collections(), ['a', 'a-b', 'a1', 'ab', 'b']);
  }),
  recordsCase('swaps only if the current value is the expected one', async (records) => {
    for (const collection of [records.collection('plain'), records.collection('indexed', indexed)]) {
      const [one, two] = [
        { owner: 'x', holder: 'y', made: 1 },
        { owner: 'x', holder: 'z', made: 2 },
      ].map(part);
      assert.equal(await collection.compareAndSwap('k', one, two), 'refused');
      assert.equal(await collection.compareAndSwap('k', undefined, one), 'applied');
      assert.equal(await collection.compareAndSwap('k', undefined, two), 'refused');
      assert.equal(await collection.compareAndSwap('k', one, two), 'applied');
      assert.deepEqual(await collection.get('k'), two);
      assert.equal(await collection.compareAndSwap('k', one, undefined), 'refused');
      assert.equal(await collection.compareAndSwap('k', two, undefined), 'applied');
      assert.equal(await collection.get('k'), undefined);
    }
  }),
  recordsCase('gives exactly N of 100 concurrent swaps a place', async (records) => {
    const collection = records.collection('places');
    let won = 0;
    const race = async (racer: number): Promise<void> => {
      for (;;) {
        const current = await collection.get('k');
        const taken = current?.[0] ?? 0;
        if (taken >= 7) return;
        const swap = await collection.compareAndSwap('k', current, Uint8Array.of(taken + 1, racer));
        assert.notEqual(swap, 'unknown', 'a single node never answers unknown');
        if (swap === 'applied') return void won++;
      }
    };
    await Promise.all(Array.from({ length: 100 }, (_, racer) => race(racer)));
    assert.equal(won, 7);
  }),
  recordsCase('pages by key and prefix, in both directions', async (records) => {
    const collection = records.collection('c');
    const all = ['a', 'a/1', 'a/2', 'a/3', 'b', 'é'];
    for (const key of [...all].reverse()) await collection.put(key, utf8(key));
    await records.collection('b').put('z', utf8('z'));
    await records.collection('d').put('a', utf8('a'));
    assert.deepEqual(await pages(collection, { limit: 4 }), [all.slice(0, 4), all.slice(4)]);
    assert.deepEqual(await pages(collection, { limit: 6 }), [all]);
    assert.deepEqual(await keys(collection, { limit: 2, reverse: true }), [...all].reverse());
    assert.deepEqual(await pages(collection, { limit: 2, prefix: 'a/' }), [['a/1', 'a/2'], ['a/3']]);
    assert.deepEqual(await keys(collection, { limit: 2, prefix: 'a/', reverse: true }), ['a/3', 'a/2', 'a/1']);
    assert.deepEqual(await pages(collection, { limit: 2, prefix: 'c' }), [[]]);
    const [page] = (await collection.page({ limit: 1 })).entries;
    assert.deepEqual(page, { key: 'a', value: utf8('a') });
    // A cursor of one list is not valid for another.
    for (const after of [utf8('a'), utf8('z')])
      for (const reverse of [false, true]) {
        const { entries } = await collection.page({ limit: 9, prefix: 'a/', after, reverse });
        assert.ok(entries.every(({ key }) => key.startsWith('a/')));
      }
  }),
  recordsCase('pages by an index: in order, by group, with several groups for one record', async (records) => {
    const collection = records.collection('parts', indexed);
    const parts: [string, Part][] = [
      ['e', { owner: 'ann', holder: 'bob', made: 3 }],
      ['d', { owner: 'ann', holder: 'ann', made: 1 }],
      ['c', { owner: 'bob', holder: 'ann', made: 2 }],
      ['b', { owner: 'ann', holder: 'eve', made: 3 }],
      ['a', { owner: 'an', holder: 'annn', made: 2 ** 53 - 1 }],
    ];
    for (const [key, value] of parts) await collection.put(key, part(value));
    const ann = { index: 'party', group: 'ann' };
    assert.deepEqual(await pages(collection, { ...ann, limit: 3 }), [['d', 'c', 'b'], ['e']]);
    assert.deepEqual(await keys(collection, { ...ann, limit: 1, reverse: true }), ['e', 'b', 'c', 'd']);
    assert.deepEqual(await keys(collection, { ...ann, limit: 2, below: 3 }), ['d', 'c']);
    assert.deepEqual(await keys(collection, { ...ann, limit: 1, below: 3, reverse: true }), ['c', 'd']);
    assert.deepEqual(await keys(collection, { ...ann, limit: 1, below: 0 }), []);
    assert.deepEqual(await keys(collection, { index: 'party', group: 'bob', limit: 1 }), ['c', 'e']);
    assert.deepEqual(await keys(collection, { index: 'party', group: 'nobody', limit: 1 }), []);
    assert.deepEqual(await keys(collection, { index: 'open', group: 'all', limit: 1 }), []);
    const { entries } = await collection.page({ ...ann, limit: 1 });
    assert.deepEqual(entries, [{ key: 'd', value: part({ owner: 'ann', holder: 'ann', made: 1 }) }]);
  }),
  recordsCase('updates the indexes with every change of a record', async (records) => {
    const collection = records.collection('parts', indexed);
    const queued = { owner: 'ann', holder: 'bob', made: 1, open: true };
    const of = (group: string, index = 'party') => keys(collection, { index, group, limit: 9 });
    await collection.put('k', part(queued));
    assert.deepEqual([await of('ann'), await of('bob'), await of('all', 'open')], [['k'], ['k'], ['k']]);
    const given = part({ ...queued, holder: 'eve', open: false });
    assert.equal(await collection.compareAndSwap('k', part(queued), given), 'applied');
    assert.deepEqual([await of('ann'), await of('bob'), await of('eve')], [['k'], [], ['k']]);
    assert.deepEqual(await of('all', 'open'), []);
    assert.equal(await collection.compareAndSwap('k', part(queued), part(queued)), 'refused');
    assert.deepEqual(await of('bob'), [], 'a refused swap changes nothing');
    await collection.put('k', part({ ...queued, made: 7 }));
    assert.deepEqual(await keys(collection, { index: 'party', group: 'ann', limit: 9, below: 7 }), []);
    assert.deepEqual([await of('eve'), await of('bob')], [[], ['k']]);
    await collection.delete('k');
    assert.deepEqual([await of('ann'), await of('bob'), await of('all', 'open')], [[], [], []]);
  }),
  recordsCase('keeps record and indexes consistent under concurrent writes', async (records) => {
    const collection = records.collection('parts', indexed);
    const holders = Array.from({ length: 40 }, (_, i) => `h${i}`);
    await Promise.all(holders.map((holder) => collection.put('k', part({ owner: 'ann', holder, made: 1 }))));
    const { holder } = read((await collection.get('k')) ?? new Uint8Array());
    const found = holders.map((group) => keys(collection, { index: 'party', group, limit: 9 }));
    assert.deepEqual(
      await Promise.all(found),
      holders.map((group) => (group === holder ? ['k'] : [])),
    );
  }),
  recordsCase('continues after a cursor while records are added and removed', async (records) => {
    const collection = records.collection('parts', indexed);
    const name = (i: number) => `k${String(i).padStart(4, '0')}`;
    const put = (i: number) => collection.put(name(i), part({ owner: 'ann', holder: 'ann', made: i }));
    await Promise.all(Array.from({ length: 500 }, (_, i) => put(i)));
    const options = { index: 'party', group: 'ann', limit: 60 };
    const seen: string[] = [];
    for (let after: Bytes | undefined; ; ) {
      const { entries, next } = await collection.page({ ...options, ...(after && { after }) });
      seen.push(...entries.map(({ key }) => key));
      if (next === undefined) break;
      await collection.delete(seen.at(-1) ?? ''); // the record that the cursor names
      after = next;
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 500 }, (_, i) => name(i)),
    );
  }),
  recordsCase('replaces a record that its index function cannot read', async (records) => {
    const collection = records.collection('parts', indexed);
    await collection.put('k', part({ owner: 'ann', holder: 'bob', made: 1 }));
    await collection.put('l', part({ owner: 'ann', holder: 'bob', made: 2 }));
    await records.collection('parts').put('k', utf8('not a part')); // without the indexes, like damage
    const ann = { index: 'party', group: 'ann', limit: 9 };
    assert.deepEqual(await keys(collection, ann), ['k', 'l'], 'the reader has to notice');
    await collection.put('k', part({ owner: 'eve', holder: 'eve', made: 3 }));
    assert.deepEqual(await keys(collection, ann), ['l']);
    assert.deepEqual(await keys(collection, { ...ann, group: 'eve' }), ['k']);
  }),
  recordsCase('rebuilds the indexes when other indexes are declared', async (records, harness) => {
    const { party, open } = indexed.indexes ?? {};
    const value = part({ owner: 'ann', holder: 'bob', made: 1, open: true });
    await records.collection('parts', { indexes: { party: party ?? (() => []) } }).put('k', value);
    const again = (await harness.reopen()).collection('parts', { indexes: { open: open ?? (() => []) } });
    assert.deepEqual(await keys(again, { index: 'open', group: 'all', limit: 9 }), ['k']);
    const both = (await harness.reopen()).collection('parts', indexed);
    assert.deepEqual(await keys(both, { index: 'party', group: 'bob', limit: 9 }), ['k']);
    assert.deepEqual(await keys(both, { index: 'open', group: 'all', limit: 9 }), ['k']);
  }),
  recordsCase('keeps all acknowledged data when it is closed and reopened', async (records, harness) => {
    const collection = records.collection('parts', indexed);
    const names = Array.from({ length: 30 }, (_, i) => `k${10 + i}`);
    await Promise.all(names.map((key, made) => collection.put(key, part({ owner: 'ann', holder: 'bob', made }))));
    await collection.delete('k10');
    const again = (await harness.reopen()).collection('parts', indexed);
    assert.deepEqual(await keys(again, { index: 'party', group: 'bob', limit: 7 }), names.slice(1));
    assert.deepEqual(await keys(again, { limit: 7 }), names.slice(1));
  }),
  recordsCase('refuses arguments out of bounds, and calls after close', async (records) => {
    const collection = records.collection('parts', indexed);
    const value = part({ owner: 'a', holder: 'b', made: 1 });
    await collection.put('é'.repeat(100), value);
    for (const key of ['', `${'é'.repeat(100)}e`]) {
      await assert.rejects(collection.put(key, value), coded('E_INPUT'));
      await assert.rejects(collection.get(key), coded('E_INPUT'));
      await assert.rejects(collection.compareAndSwap(key, undefined, value), coded('E_INPUT'));
    }
    for (const wrong of [
      { owner: '', holder: 'b', made: 1 },
      { owner: 'x'.repeat(151), holder: 'b', made: 1 },
      { owner: 'a', holder: 'b', made: -1 },
      { owner: 'a', holder: 'b', made: 0.5 },
    ]) {
      await assert.rejects(collection.put('k', part(wrong)), coded('E_INPUT'));
      assert.equal(await collection.get('k'), undefined);
    }
    for (const limit of [0, 1_001, 0.5]) await assert.rejects(collection.page({ limit }), coded('E_INPUT'));
    await assert.rejects(collection.page({ limit: 1, index: 'party' }), coded('E_INPUT'));
    await assert.rejects(collection.page({ limit: 1, index: 'none', group: 'a' }), coded('E_INPUT'));
    for (const after of [new Uint8Array(), new Uint8Array(300)]) {
      await assert.rejects(collection.page({ limit: 1, after }), coded('E_INPUT'));
      await assert.rejects(collection.page({ limit: 1, index: 'party', group: 'a', after }), coded('E_INPUT'));
    }
    for (const name of ['', 'A', 'a/b', 'x'.repeat(41)])
      assert.throws(() => records.collection(name), coded('E_INPUT'));
    await records.close();
    await assert.rejects(collection.get('k'), coded('E_STORE'));
    await assert.rejects(collection.put('k', value), coded('E_STORE'));
    await assert.rejects(collection.page({ limit: 1 }), coded('E_STORE'));
  }),
];
