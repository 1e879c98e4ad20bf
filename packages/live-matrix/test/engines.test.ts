import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { layoutBlocks } from '../src/code/layout.ts';
import { availableEngines, createEngine } from '../src/engines/choose.ts';
import type { HashEngine, HashKey } from '../src/engines/engine.ts';
import { createNativeEngine, nativeInstructionSets } from '../src/engines/native-engine.ts';
import type { Order, TableOrder } from '../src/parameters.ts';
import { allocateScratch, allocateTable, type HintTable, SUPERBLOCK, tableParts } from '../src/table/hint-table.ts';
import { partition } from '../src/table/ts-table.ts';

const reference = createEngine('ts');

/** Every engine, and every instruction set of the native engine. */
const others: readonly (readonly [string, HashEngine])[] = [
  ...availableEngines()
    .filter(({ name }) => name !== 'ts' && name !== 'native')
    .map((engine) => [engine.name, engine] as const),
  ...nativeInstructionSets().map((set) => [`native ${set}`, createNativeEngine(set)] as const),
];

const key: HashKey = { suite: 'turboshake128', revision: 77n, key: new Uint8Array(32).fill(3) };

const orders: readonly Order[] = [8, 16, 24];

function build(engine: HashEngine, order: TableOrder, upTo: number): HintTable {
  const table = allocateTable(order);
  const all = { table, ...allocateScratch(order) };
  // Out of order, as several threads would run.
  for (const odd of [1, 0]) {
    for (let first = odd * SUPERBLOCK; first < upTo; first += 2 * SUPERBLOCK)
      engine.partition(key, all, first, SUPERBLOCK);
  }
  for (let part = 0; part < tableParts(order); part++) engine.index(all, part);
  return table;
}

/** Built once: the reference is slow. */
const referenceTables = new Map<TableOrder, HintTable>();
function referenceTable(order: TableOrder, upTo: number): HintTable {
  const table = referenceTables.get(order) ?? build(reference, order, upTo);
  referenceTables.set(order, table);
  return table;
}

/** Compares byte by byte. The test library takes minutes for large arrays. */
function same(a: Uint32Array | Uint16Array, b: Uint32Array | Uint16Array): boolean {
  const bytes = (array: Uint32Array | Uint16Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}

function isWiped(array: Uint32Array | Uint16Array): boolean {
  return array.findIndex((word) => word !== 0) === -1;
}

const random = (text: string, words: number) =>
  new Uint32Array(
    new Uint8Array(
      createHash('shake256', { outputLength: 4 * words })
        .update(text)
        .digest(),
    ).buffer,
  );

describe.each(others)('engine %s matches the reference', (_, engine) => {
  it('for a million hashes, in ranges across the structure that kernels use', () => {
    const fast = createEngine();
    for (const suite of ['keccak256', 'turboshake128'] as const) {
      for (const [first, high] of [
        [0, 0],
        [0x7fff, 15],
        [0xff_7001, 0],
        [0xffff_0000 - 70_000, 0xdead_beef],
      ] as const) {
        const [a, b] = [new Uint32Array(131_071), new Uint32Array(131_071)];
        engine.hashRange({ ...key, suite }, first, a, high);
        // The fastest other engine. It is compared with the reference below and in hash.test.ts.
        (fast.name === engine.name ? createEngine('wasm-simd') : fast).hashRange({ ...key, suite }, first, b, high);
        expect(Buffer.compare(new Uint8Array(a.buffer), new Uint8Array(b.buffer))).toBe(0);
      }
    }
  });

  it('for values of every order, in batches of odd sizes', () => {
    fc.assert(
      fc.property(fc.nat({ max: 200 }), fc.constantFrom(8, 0), fc.nat(), (count, shift, salt) => {
        const values = random(`batch ${salt}`, count + 1)
          .subarray(1)
          .map((value) => value >>> shift);
        const [a, b] = [new Uint32Array(2 * count), new Uint32Array(2 * count)];
        engine.hashBatch(key, salt, values, a);
        reference.hashBatch(key, salt, values, b);
        expect([...a]).toEqual([...b]);
      }),
      { numRuns: 50 },
    );
  });

  it.each([16, 24] as const)('for tables of order %i and look-ups in them', (order) => {
    const upTo = order === 16 ? 65_536 : 5 * SUPERBLOCK;
    const [ours, theirs] = [build(engine, order, upTo), referenceTable(order, upTo)];
    expect(same(ours.ends, theirs.ends)).toBe(true);
    expect(same(ours.entries, theirs.entries)).toBe(true);
    const codes = new Uint32Array(3000);
    reference.hashRange(key, 0, codes.subarray(0, 1500));
    codes.set(random('codes', 1500), 1500);
    const skip = Uint8Array.from(codes, (_, i) => (i % 17 === 0 ? 1 : 0));
    const [a, b] = [engine.lookUp(ours, codes, skip), reference.lookUp(theirs, codes, skip)];
    expect(same(a.starts, b.starts)).toBe(true);
    expect(same(a.values, b.values)).toBe(true);
    for (let g = 0; g < 1500; g++) {
      // The first codes are those of g = 0, 1, …: each must be found, unless it is skipped.
      expect([...a.values.subarray(a.starts[g], a.starts[g + 1])]).toContain(skip[g] === 1 ? 0 : g);
    }
    engine.discard(ours);
    expect(isWiped(ours.entries) && isWiped(ours.ends)).toBe(true);
  });

  it('for empty and crowded buckets; rejects a bucket that is too full', () => {
    // g = 0 … 199 all have codes of bucket 7, unevenly distributed. All others have codes of the upper half.
    const crowded = (most: number) => (_: HashKey, first: number, out: Uint32Array) => {
      for (let i = 0; i < out.length; i++) {
        const g = first + i;
        out[i] = g < most ? 7 * 16 + (g % 3 === 0 ? 5 : (g * g) % 16) : 0x8000 + (g % 0x8000);
      }
    };
    const fill = (by: HashEngine, most: number) => {
      const made = { table: allocateTable(16), ...allocateScratch(16) };
      partition(crowded(most), key, made, 0, 65_536);
      by.index(made, 0);
      return made.table;
    };
    const [ours, theirs] = [fill(engine, 200), fill(reference, 200)];
    expect(same(ours.entries, theirs.entries)).toBe(true);
    expect(same(ours.ends, theirs.ends)).toBe(true);
    const codes = Uint32Array.from({ length: 64 }, (_, i) => 6 * 16 + i);
    const { starts, values } = engine.lookUp(ours, codes, new Uint8Array(64));
    const of = (code: number) => [...values.subarray(starts[code - 96], starts[code - 95])];
    const wanted = Array.from({ length: 200 }, (_, g) => g);
    expect(of(7 * 16 + 5)).toEqual(wanted.filter((g) => g % 3 === 0));
    expect(of(7 * 16 + 4)).toEqual(wanted.filter((g) => g % 3 !== 0 && (g * g) % 16 === 4));
    expect(values.length).toBe(200); // the buckets before and after are empty
    expect(() => fill(engine, 256)).toThrow(expect.objectContaining({ code: 'E_INTERNAL' }));
  });

  it('for parity of any number of blocks', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2000 }),
        fc.integer({ min: 1, max: 342 }),
        fc.constantFrom(...orders),
        fc.constantFrom('dense', 'sparse'),
        (hints, most, order, mode) => {
          const blocks = layoutBlocks(mode, hints, Math.max(most, Math.ceil(hints / 80)));
          const values = random(`parity ${hints}`, hints).map((value) => value % 2 ** order);
          expect(engine.parity(values, order, blocks)).toEqual(reference.parity(values, order, blocks));
        },
      ),
      { numRuns: 40 },
    );
  });

  it('for solving, with and without a solution', () => {
    let [solved, refused] = [0, 0];
    for (let run = 0; run < 60; run++) {
      const order = orders[run % 3] ?? 8;
      const hints = 1 + ((run * 97) % 700);
      const blocks = layoutBlocks('dense', hints, 1 + ((run * 131) % 342));
      const noise = random(`solve ${run}`, 6 * hints).map((value) => value % 2 ** order);
      const truth = noise.subarray(0, hints);
      const starts = new Uint32Array(hints + 1);
      const values: number[] = [];
      for (let i = 0; i < hints; i++) {
        // 0 to 2 false candidates, one on average. Some runs have too many.
        const wrong = ((noise[hints + i] ?? 0) % 3) + (run % 10 === 9 ? 1 : 0);
        const list = [...noise.subarray(2 * hints + 3 * i, 2 * hints + 3 * i + wrong)];
        list.splice((noise[hints + i] ?? 0) % (list.length + 1), 0, truth[i] ?? 0);
        values.push(...list);
        starts[i + 1] = values.length;
      }
      const candidates = { starts, values: Uint32Array.from(values) };
      const parity = reference.parity(truth, order, blocks);
      if (run % 7 === 0) parity[run % parity.length] = (parity[run % parity.length] ?? 0) ^ 0x40;
      const [a, b] = [new Uint32Array(hints), new Uint32Array(hints)];
      const holds = engine.solve(candidates, order, blocks, parity, a);
      expect(holds).toBe(reference.solve(candidates, order, blocks, parity, b));
      if (holds) {
        expect(a).toEqual(b);
        expect(a).toEqual(truth);
        solved++;
      } else refused++;
    }
    expect(solved).toBeGreaterThan(20);
    expect(refused).toBeGreaterThan(5);
  });
});

describe.each([['ts', reference] as const, ...others])('engine %s solves dependent equations', (_, engine) => {
  it('when candidates of one hint add up to 0', () => {
    // One hint in eight has four candidates whose sum is 0. Each of them is the true one once.
    for (const hints of [3, 40, 61]) {
      for (let turn = 0; turn < 4; turn++) {
        const noise = random(`depends ${hints}`, 5 * hints).map((value) => value >>> 8);
        const starts = new Uint32Array(hints + 1);
        const values: number[] = [];
        const truth = new Uint32Array(hints);
        for (let i = 0; i < hints; i++) {
          const [a = 0, b = 0, c = 0] = noise.subarray(4 * i, 4 * i + 3);
          const list = i % 8 === 2 ? [a, b, c, a ^ b ^ c] : [a, b];
          truth[i] = list[(turn + i) % list.length] ?? 0;
          values.push(...list);
          starts[i + 1] = values.length;
        }
        const [block] = layoutBlocks('dense', hints, 342);
        if (block === undefined) throw new Error('no block');
        const parity = engine.parity(truth, 24, [block]);
        const out = new Uint32Array(hints);
        expect(engine.solve({ starts, values: Uint32Array.from(values) }, 24, [block], parity, out)).toBe(true);
        expect(out).toEqual(truth);
      }
    }
  });

  it('and rejects two valid solutions', () => {
    const [block] = layoutBlocks('dense', 2, 342);
    if (block === undefined) throw new Error('no block');
    const parity = engine.parity(Uint32Array.of(5, 9), 24, [block]);
    const twice = { starts: Uint32Array.of(0, 2, 3), values: Uint32Array.of(5, 5, 9) };
    expect(engine.solve(twice, 24, [block], parity, new Uint32Array(2))).toBe(false);
  });
});

describe('the native engine', () => {
  it.runIf(process.platform === 'linux' && nativeInstructionSets().length > 0)(
    'returns the memory of a discarded table and the unused memory after packing to the system',
    () => {
      const engine = createNativeEngine();
      const made = { table: allocateTable(24), ...allocateScratch(24) };
      const giving = [
        () => engine.discard(made.table),
        // Parts without values: all of their memory is unused.
        () => Array.from({ length: made.table.parts }, (_, part) => engine.index(made, part)),
      ];
      for (const give of giving) {
        const before = process.memoryUsage.rss();
        made.table.entries.fill(1);
        const full = process.memoryUsage.rss();
        expect(full - before).toBeGreaterThan(60e6); // of 69
        give();
        expect(full - process.memoryUsage.rss()).toBeGreaterThan(50e6);
      }
    },
  );

  it('rejects an unavailable instruction set', () => {
    expect(() => createNativeEngine('mmx')).toThrow(expect.objectContaining({ code: 'E_ENGINE' }));
  });

  it('is the default engine when it is built', () => {
    const sets = nativeInstructionSets();
    expect(createEngine().name).toBe(sets.length > 0 ? 'native' : 'wasm-simd');
  });
});
