import { MapLog } from './map-log.ts';
import { MemoryStore } from './memory.ts';

/** A log in memory, for tests and for data that may be lost. */
export class MemoryLog extends MapLog {
  /** @param map the underlying map, which a test may damage */
  constructor(map = new MemoryStore()) {
    super(map);
  }
}
