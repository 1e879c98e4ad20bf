// Parts of the package for tests of the whole system and for test programs that are killed. Not a public interface.
export { type CellFileIndex, openCellFile } from './cell-file/cell-file.ts';
export * from './cell-file/record.ts';
export { openEnvironment } from './lmdb.ts';
export { MemoryStore } from './memory.ts';
