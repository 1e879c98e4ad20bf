import { MapCells } from './map-cells.ts';
import { MemoryStore } from './memory.ts';

/** For tests and for what may be lost. */
export class MemoryCells extends MapCells {
  constructor() {
    super(new MemoryStore());
  }
}
