import { Batcher } from '@millrace/base';
import type { Log } from './log.ts';
import { MapQueue, type QueueOptions } from './map-queue.ts';
import type { Write } from './port.ts';
import type { Queue } from './queue.ts';

/** Batches that are appended together. */
const TOGETHER = 64;

/**
 * A queue in a log, which this process takes over: the queue that another process has opened before fails from then on
 * with E_FENCED. What was published there and not acknowledged is delivered here. Closing the queue leaves the log open.
 */
export async function openLogQueue(log: Log, options: QueueOptions): Promise<Queue> {
  const writer = await log.acquire();
  const batches = new Batcher<readonly Write[]>(TOGETHER, (batches) => writer.append(batches.flat()));
  return new MapQueue(
    {
      get: (key) => log.get(key),
      getMany: (keys) => log.getMany(keys),
      has: async (key) => (await log.get(key)) !== undefined,
      batch: (writes) => batches.add(writes),
      range: (range) => log.range(range),
      async *keys(range) {
        for await (const { key } of log.range(range)) yield key;
      },
    },
    options,
  );
}
