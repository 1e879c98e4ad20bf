import { COLUMN_WORDS, generatorColumns } from '../code/generator.ts';
import { type Block, totalParityBytes } from '../code/layout.ts';
import { MAX_BLOCK_HINTS } from '../parameters.ts';
import type { HashEngine } from './engine.ts';
import { callsOf, type WasmInstance } from './wasm-module.ts';

// Addresses in the kernel's memory, from assembly/code.ts.
const COLUMNS = 0x20000;
const STARTS = 0x1000;
const CANDIDATES = 0x1800;
const MAX_CANDIDATES = (0x3000 - 0x1800) / 4;
const PARITY = 0x3000;
const SOLVED = 0x3100;
const SIZES = 0x3000;
const SUMS_OUT = 0x3100;
const VALUES = 0x4000;
const SIDE_BY_SIDE = 32;

/** Parity and solving in WebAssembly. */
export function createWasmCode(instance: WasmInstance): Pick<HashEngine, 'parity' | 'solve'> {
  const kernel = callsOf(instance, ['parity', 'solve']);
  const { memory } = kernel;
  new Uint32Array(memory, COLUMNS).set(generatorColumns());
  const starts = new Uint32Array(memory, STARTS, MAX_BLOCK_HINTS + 1);
  const values = new Uint32Array(memory, CANDIDATES, MAX_CANDIDATES);
  const solved = new Uint32Array(memory, SOLVED, MAX_BLOCK_HINTS);
  const target = new Uint8Array(memory, PARITY, 4 * COLUMN_WORDS);
  const sizes = new Uint32Array(memory, SIZES, SIDE_BY_SIDE);
  const places = new Uint32Array(memory, VALUES, SIDE_BY_SIDE * MAX_BLOCK_HINTS);

  return {
    parity(input, order, blocks) {
      const out = new Uint8Array(totalParityBytes(blocks));
      for (let at = 0; at < blocks.length; at += SIDE_BY_SIDE) {
        const some = blocks.slice(at, at + SIDE_BY_SIDE);
        for (const [i, { first, hints }] of some.entries()) {
          sizes[i] = hints;
          places.set(input.subarray(first, first + hints), i * MAX_BLOCK_HINTS);
        }
        kernel.parity(some.length, order);
        for (const [i, { parityAt, parityBytes }] of some.entries()) {
          out.set(new Uint8Array(memory, SUMS_OUT + 4 * COLUMN_WORDS * i, parityBytes), parityAt);
        }
      }
      return out;
    },
    solve(candidates, order, blocks, parity, out) {
      return blocks.every((block: Block) => {
        const { first, hints, parityAt, parityBytes } = block;
        const from = candidates.starts[first] ?? 0;
        const to = candidates.starts[first + hints] ?? 0;
        if (to - from > hints + 8 * parityBytes) return false; // more unknowns than equations
        for (let i = 0; i <= hints; i++) starts[i] = (candidates.starts[first + i] ?? 0) - from;
        values.set(candidates.values.subarray(from, to));
        target.fill(0);
        target.set(parity.subarray(parityAt, parityAt + parityBytes));
        const isSolved = kernel.solve(hints, order, parityBytes) === 1;
        out.set(solved.subarray(0, hints), first);
        return isSolved;
      });
    },
  };
}
