import { createHash } from 'node:crypto';
import { type Candidates, type HashEngine, layoutBlocks } from '@millrace/live-matrix';
import type { Candidate } from './bench.ts';

const HINTS = 5_462;
const BLOCK_HINTS = 342;

/** Uniform words, the same in every run. */
export function fixedWords(text: string, count: number): Uint32Array {
  const bytes = createHash('shake256', { outputLength: 4 * count })
    .update(text)
    .digest();
  return new Uint32Array(new Uint8Array(bytes).buffer);
}

/** Candidates of a frame, as for a table of order 24: the true value and Poisson(1) false values. */
export function typicalCandidates(truth: Uint32Array): Candidates {
  const noise = fixedWords('candidates', truth.length * 16);
  const starts = new Uint32Array(truth.length + 1);
  const values: number[] = [];
  for (const [i, value] of truth.entries()) {
    const wrong = poisson((noise[16 * i] ?? 0) / 2 ** 32);
    const list = [...noise.subarray(16 * i + 2, 16 * i + 2 + wrong)].map((word) => word >>> 8);
    list.splice((noise[16 * i + 1] ?? 0) % (wrong + 1), 0, value);
    values.push(...list);
    starts[i + 1] = values.length;
  }
  return { starts, values: Uint32Array.from(values) };
}

/** Inverse of the distribution function for mean 1. */
function poisson(uniform: number): number {
  let count = 0;
  let term = Math.exp(-1);
  for (let sum = term; uniform > sum && count < 12; sum += term) {
    count++;
    term /= count;
  }
  return count;
}

/** For each engine: the sender's hashes, the parity, and the decoding of one dense frame of 16,386 bytes. */
export function codeCandidates(engines: readonly (readonly [string, HashEngine])[]): Candidate[] {
  const blocks = layoutBlocks('dense', HINTS, BLOCK_HINTS);
  const truth = fixedWords('frame', HINTS).map((word) => word >>> 8);
  const candidates = typicalCandidates(truth);
  const key = { suite: 'keccak256' as const, revision: 1n, key: new Uint8Array(32) };
  const hashes = new Uint32Array(2 * HINTS);
  const out = new Uint32Array(HINTS);
  return engines.flatMap(([name, engine]) => {
    const parity = engine.parity(truth, 24, blocks);
    const repeat = name === 'ts' ? 1 : 20;
    return [
      {
        name: `${name}: hash a 16 KiB frame's hints`,
        unit: 'ms',
        run: () => time(repeat, () => engine.hashBatch(key, 0, truth, hashes)),
      },
      {
        name: `${name}: parity of a 16 KiB dense frame`,
        unit: 'ms',
        run: () => time(repeat, () => engine.parity(truth, 24, blocks)),
      },
      {
        name: `${name}: solve a 16 KiB dense frame`,
        unit: 'ms',
        run: () =>
          time(repeat, () => {
            if (!engine.solve(candidates, 24, blocks, parity, out)) throw new Error('a frame was not solved');
          }),
      },
    ];
  });
}

function time(repeat: number, work: () => unknown): number {
  return (1_000 * processorSeconds(repeat, work)) / repeat;
}

/** Processor time of this process, because wall-clock time depends on other load. */
export function processorSeconds(repeat: number, work: (i: number) => unknown): number {
  const before = process.cpuUsage();
  for (let i = 0; i < repeat; i++) work(i);
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}
