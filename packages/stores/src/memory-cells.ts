import { MapCells } from './map-cells.ts';
import { MemoryStore } from './memory.ts';

/** Cells in memory, for tests and for data that may be lost. */
export class MemoryCells extends MapCells {
  constructor() {
    super(new MemoryStore());
  }
}
