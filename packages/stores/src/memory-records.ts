import { MapRecords } from './map-records.ts';
import { MemoryStore } from './memory.ts';

/** Records in memory, for tests and for data that may be lost. */
export class MemoryRecords extends MapRecords {
  /** @param map the underlying map, which a test may damage */
  constructor(map = new MemoryStore()) {
    super(map);
  }
}
