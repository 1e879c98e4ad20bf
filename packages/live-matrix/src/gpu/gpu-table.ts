import { MillraceError } from '@millrace/base/core';
import type { HashKey } from '../engines/engine.ts';
import type { TableFiller } from '../table/builder.ts';
import { SUPERBLOCK, type TableBuild, tableParts } from '../table/hint-table.ts';
import { indexPart, partition } from '../table/ts-table.ts';
import type { GpuEngine } from './gpu-engine.ts';

/** Number of values hashed ahead: 2^20 values are 4 MiB of codes, twice. */
const AHEAD = 32 * SUPERBLOCK;

/**
 * Fills a table with the card's hashes. The result equals that of `HashEngine.partition` and `index`.
 * @param build a table and scratch memory of one order; its cursors are reset to 0
 * @param index sorts one part; the native engine's function is faster than the default
 * @throws {MillraceError} E_ENGINE if the card fails; E_INTERNAL if a part is full
 */
export async function fillTableOnGpu(
  engine: GpuEngine,
  key: HashKey,
  build: TableBuild,
  index: (build: TableBuild, part: number) => void = indexPart,
): Promise<void> {
  await partitionOnGpu(engine, key, build);
  for (let part = 0; part < tableParts(build.table.order); part++) index(build, part);
}

/** Computes tables by hashing on a card and sorting on the receiver's threads. Closing the filler closes the engine. */
export function gpuFiller(engine: GpuEngine): TableFiller {
  return {
    name: 'gpu',
    fill: (key, build, signal) => partitionOnGpu(engine, key, build, signal),
    close: () => engine.close(),
  };
}

/** The card computes one piece while the calling thread distributes the previous one to the table's parts. */
async function partitionOnGpu(engine: GpuEngine, key: HashKey, build: TableBuild, signal?: AbortSignal): Promise<void> {
  const size = 2 ** build.table.order;
  const step = Math.min(AHEAD, size);
  const codes = [new Uint32Array(step), new Uint32Array(step)] as const;
  const hash = (first: number) => {
    const work = engine.hashRange(key, (build.base ?? 0) + first, bufferOf(first)).catch((cause: unknown) => {
      throw new MillraceError('E_ENGINE', 'the graphics card failed', { cause });
    });
    work.catch(() => undefined); // handled where it is awaited
    return work;
  };
  const bufferOf = (first: number) => codes[(first / step) % 2 === 0 ? 0 : 1];
  build.cursors.fill(0);
  let next = hash(0);
  try {
    for (let first = 0; first < size; first += step) {
      await next;
      if (first + step < size) next = hash(first + step);
      const ready = bufferOf(first);
      const take = (_: HashKey, from: number, out: Uint32Array) => {
        const at = from - (build.base ?? 0) - first;
        out.set(ready.subarray(at, at + out.length));
      };
      for (let done = 0; done < step; done += SUPERBLOCK) {
        signal?.throwIfAborted();
        partition(take, key, build, first + done, SUPERBLOCK);
        await new Promise((resolve) => setTimeout(resolve)); // yield to other work of this thread
      }
    }
  } finally {
    await next.catch(() => undefined);
    for (const buffer of codes) buffer.fill(0);
  }
}
