import { systemClock } from '@millrace/base';
import { MapQueue, type QueueOptions } from './map-queue.ts';
import { MemoryStore } from './memory.ts';

/** A queue in memory, for tests and for data that may be lost. */
export class MemoryQueue extends MapQueue {
  /** @param map the underlying map, which a test may damage */
  constructor(options: QueueOptions = { clock: systemClock }, map = new MemoryStore()) {
    super(map, options);
  }
}
