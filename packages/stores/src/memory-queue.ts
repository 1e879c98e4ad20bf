import { systemClock } from '@millrace/base';
import { MapQueue, type QueueOptions } from './map-queue.ts';
import { MemoryStore } from './memory.ts';

/** A queue in memory, for tests and for data that may be lost. */
export class MemoryQueue extends MapQueue {
  constructor(options: QueueOptions = { clock: systemClock }) {
    super(new MemoryStore(), options);
  }
}
