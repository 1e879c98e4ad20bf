import { availableParallelism } from 'node:os';
import { MillraceError } from '@millrace/base/core';
import { createEngine } from '../engines/choose.ts';
import type { EngineSetting, HashKey } from '../engines/engine.ts';
import { isIntegerIn } from '../parameters.ts';
import { nodeTurn, startThread } from './node-thread.ts';
import { createLocalRunner } from './runner.ts';
import { WorkerRunner } from './worker-runner.ts';

/** Values in one task: 2^21, about 50 ms with the native engine. */
const TASK = 2 ** 21;

export interface SweepOptions {
  /** 16 to 36: log2 of the number of values, and bits of a code. */
  readonly order: number;
  readonly key: HashKey;
  /** Codes to resolve: the low `order` bits of H. */
  readonly codes: readonly bigint[];
  readonly engine?: EngineSetting;
  /** Number of worker threads; 0 uses the calling thread. Default: one per core. */
  readonly threads?: number;
  /** Range of the values to hash. Default: all. */
  readonly from?: bigint;
  readonly to?: bigint;
  /** Called after each piece with the number of values done so far. */
  readonly onProgress?: (done: bigint) => void;
}

/**
 * Candidates of each code without a table: hashes all values once for the whole batch. This resolves orders whose table
 * does not fit into memory (32, 36).
 * @throws {MillraceError} E_INPUT
 */
export async function resolveBySweep(options: SweepOptions): Promise<bigint[][]> {
  const { order, key, codes, threads = availableParallelism() } = options;
  if (!isIntegerIn(order, 16, 36)) throw new MillraceError('E_INPUT', 'the order of a sweep must be 16 to 36');
  const size = 1n << BigInt(order);
  const [from, to] = [options.from ?? 0n, options.to ?? size];
  if (from < 0n || to > size || codes.some((code) => code < 0n || code >= size)) {
    throw new MillraceError('E_INPUT', 'values and codes of a sweep must be below 2^order');
  }
  const engine = createEngine(options.engine);
  const runner =
    threads === 0 ? createLocalRunner(engine, nodeTurn) : new WorkerRunner(threads, () => startThread(engine.name));
  const found: bigint[][] = codes.map(() => []);
  let done = 0n;
  try {
    const pieces: Promise<void>[] = [];
    for (let first = from; first < to; ) {
      // No piece crosses a multiple of 2^32: the upper half of g is constant within a call.
      const end = [to, first + BigInt(TASK), ((first >> 32n) + 1n) << 32n].reduce((a, b) => (b < a ? b : a));
      const task = { kind: 'sweep', order, key, codes, first, count: Number(end - first) } as const;
      const piece = runner.run(task, false).then((matches) => {
        if (!Array.isArray(matches)) throw new MillraceError('E_INTERNAL', 'a sweep gave no matches');
        for (const [code, g] of matches) found[code]?.push(g);
        done += end - task.first;
        options.onProgress?.(done);
      });
      pieces.push(piece);
      first = end;
      // Keep a few tasks ahead; 2^36 values would need 32,768 of them.
      if (pieces.length >= 4 * (threads + 1)) await pieces.shift();
    }
    await Promise.all(pieces);
  } finally {
    await runner.close();
  }
  return found.map((values) => values.sort((a, b) => (a < b ? -1 : 1)));
}
