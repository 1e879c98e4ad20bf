import { MapLog } from './map-log.ts';
import { MemoryStore } from './memory.ts';

/** For tests and for what may be lost. */
export class MemoryLog extends MapLog {
  /** @param map what holds the bytes: a test may damage them */
  constructor(map = new MemoryStore()) {
    super(map);
  }
}
