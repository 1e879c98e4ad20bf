import { randomBytes } from 'node:crypto';
import {
  allocateScratch,
  allocateTable,
  type Block,
  createEngine,
  type HashEngine,
  type HashKey,
  type HintTable,
  parityBytes,
  type TableOrder,
  tableParts,
  wipeTable,
} from '@millrace/live-matrix';
import { type Bench, machine, type Row, rowOf } from './bench.ts';

/** Order, block size, and parity bytes: the format's and, at order 24, fewer. */
const SHAPES = [
  { order: 24, hints: 171, less: [9, 7, 5, 0] },
  { order: 24, hints: 342, less: [9, 7, 5, 0] },
  { order: 16, hints: 342, less: [0] },
] as const;
const BATCH = 64;

/**
 * Failure rate of blocks of dense hints (blocks without exactly one solution), computed from the distribution of their
 * unknowns and counted over real tables, with a new key for each shape. Shapes with fewer parity bits than the format's
 * validate the computed rate, which is an upper bound: it counts all equations with several solutions, some of which
 * the solver can still resolve. The format's own shapes should never fail. Argument: number of blocks for the format's
 * shapes (default 1,000,000).
 */
export const benchHashFailures: Bench = async (note, args) => {
  const blocks = args[0] === undefined ? 1_000_000 : Number(args[0]);
  const engine = createEngine();
  const rows: Row[] = [];
  for (const { order, hints, less } of SHAPES) {
    const ours = parityBytes('dense', hints);
    for (const bytes of less.map((fewer) => ours - fewer)) {
      const expected = failureRate(hints, 8 * bytes);
      const count = bytes === ours ? blocks : Math.min(blocks, Math.ceil(200 / expected));
      const label = `order ${order}, ${hints} hints, ${8 * bytes} parity bits${bytes === ours ? ' (the format)' : ''}`;
      note(`${label}: ${count} blocks with ${engine.name}`);
      const { failed, wrong } = await countFailures(engine, order, hints, bytes, count, note);
      rows.push(
        rowOf(`${label}: computed failures, at most`, 'per million', [1e6 * expected]),
        rowOf(`${label}: counted failures`, 'per million', [(1e6 * failed) / count]),
        rowOf(`${label}: counted failures`, 'blocks', [failed]),
        rowOf(`${label}: solved wrongly`, 'blocks', [wrong]),
        rowOf(`${label}: blocks`, 'blocks', [count]),
      );
    }
  }
  return { machine: machine(), rows, ratios: [] };
};

/** P(a random b × u matrix over GF(2) has rank below u), u being Poisson(h). */
export function failureRate(hints: number, bits: number): number {
  let rate = 0;
  let logTerm = -hints;
  for (let unknowns = 0; unknowns < hints + 60 * Math.sqrt(hints); unknowns++) {
    if (unknowns > 0) logTerm += Math.log(hints) - Math.log(unknowns);
    let logFull = unknowns > bits ? Number.NEGATIVE_INFINITY : 0;
    for (let i = 0; i < unknowns && logFull > Number.NEGATIVE_INFINITY; i++) logFull += Math.log1p(-(2 ** (i - bits)));
    rate += Math.exp(logTerm) * -Math.expm1(logFull);
  }
  return rate;
}

async function countFailures(
  engine: HashEngine,
  order: TableOrder,
  hints: number,
  bytes: number,
  count: number,
  note: (text: string) => void,
): Promise<{ failed: number; wrong: number }> {
  const key: HashKey = { suite: 'turboshake128', revision: 0n, key: new Uint8Array(randomBytes(32)) };
  const table = buildTable(engine, order, key);
  const shape: readonly Block[] = Array.from({ length: BATCH }, (_, i) => {
    return { first: i * hints, hints, parityAt: i * bytes, parityBytes: bytes };
  });
  const codes = new Uint32Array(2 * BATCH * hints);
  const hintCodes = new Uint32Array(BATCH * hints);
  const skip = new Uint8Array(BATCH * hints);
  const out = new Uint32Array(BATCH * hints);
  let [failed, wrong] = [0, 0];
  for (let done = 0; done < count; done += BATCH) {
    const blocks = shape.slice(0, Math.min(BATCH, count - done));
    const truth = new Uint32Array(new Uint8Array(randomBytes(4 * BATCH * hints)).buffer).map(
      (word) => word >>> (32 - order),
    );
    engine.hashBatch(key, 0, truth, codes);
    for (let i = 0; i < hintCodes.length; i++) hintCodes[i] = (codes[2 * i] ?? 0) & (2 ** order - 1);
    const candidates = engine.lookUp(table, hintCodes, skip);
    const parity = engine.parity(truth, order, blocks);
    for (const block of blocks) {
      if (!engine.solve(candidates, order, [block], parity, out)) failed++;
      else if (!holds(block, truth, out)) wrong++;
    }
    if (done % (BATCH * 2_000) === 0 && done > 0) {
      note(`  ${done} blocks, ${failed} failed`);
      await new Promise(setImmediate);
    }
  }
  wipeTable(table);
  return { failed, wrong };
}

function holds(block: Block, truth: Uint32Array, out: Uint32Array): boolean {
  for (let i = block.first; i < block.first + block.hints; i++) if (truth[i] !== out[i]) return false;
  return true;
}

function buildTable(engine: HashEngine, order: TableOrder, key: HashKey): HintTable {
  const table = allocateTable(order);
  const build = { table, ...allocateScratch(order) };
  engine.partition(key, build, 0, 2 ** order);
  for (let part = 0; part < tableParts(order); part++) engine.index(build, part);
  return table;
}
