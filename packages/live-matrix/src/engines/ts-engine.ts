import { parityOf } from '../code/parity.ts';
import { solveBlock } from '../code/solve.ts';
import { SUPERBLOCK, wipeTable } from '../table/hint-table.ts';
import { indexPart, indexRoom, lookUp, partition } from '../table/ts-table.ts';
import type { HashEngine, HashKey, HashOnly } from './engine.ts';
import { keccakP, loadBlock } from './keccak.ts';

/** The reference engine: plain TypeScript. Runs everywhere, slowly. */
export function createTsEngine(): HashEngine {
  const block = new Int32Array(50);
  const state = new Int32Array(50);

  function each(key: HashKey, high: number, count: number, value: (i: number) => number, put: (i: number) => void) {
    const { rounds } = loadBlock(block, key);
    block[1] = high;
    for (let i = 0; i < count; i++) {
      block[0] = value(i);
      state.set(block);
      keccakP(state, rounds);
      put(i);
    }
    block.fill(0);
    state.fill(0);
  }

  return withReference({
    name: 'ts',
    detail: 'TypeScript, 32-bit words',
    hashBatch(key, high, values, out) {
      each(
        key,
        high,
        values.length,
        (i) => values[i] ?? 0,
        (i) => {
          out[2 * i] = state[0] ?? 0;
          out[2 * i + 1] = state[1] ?? 0;
        },
      );
    },
    hashRange(key, first, out, high = 0) {
      each(
        key,
        high,
        out.length,
        (i) => first + i,
        (i) => {
          out[i] = state[0] ?? 0;
        },
      );
    },
  });
}

/** Adds the reference's tables and code to an engine that only hashes. */
export function withReference(engine: HashOnly): HashEngine {
  // Shared by all parts: new arrays for each of a table's 256 parts would be 70 MB of garbage in every thread.
  const room = indexRoom(24);
  return {
    ...engine,
    partition: (key, build, first, count) =>
      partition(engine.hashRange, key, build, first, count, room.sorted.subarray(0, SUPERBLOCK)),
    index: (build, part) => indexPart(build, part, room),
    discard: wipeTable,
    lookUp,
    parity: parityOf,
    solve: (candidates, order, blocks, parity, out) =>
      blocks.every((block) => solveBlock(candidates, order, block, parity, out)),
  };
}
