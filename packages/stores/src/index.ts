export {
  CellFile,
  type CellFileOptions,
  type CellFileStep,
  type SlotEntry,
  type SlottedCell,
} from './cell-file/cell-file.ts';
export type * from './cells.ts';
export { keepStores } from './keep-stores.ts';
export { type Lmdb, type LmdbOptions, openLmdb } from './lmdb.ts';
export type * from './log.ts';
export * from './log-queue.ts';
export type { QueueOptions } from './map-queue.ts';
export * from './memory-cells.ts';
export * from './memory-log.ts';
export * from './memory-queue.ts';
export * from './memory-records.ts';
export type { Entry, Key, Range, Swap, Write } from './port.ts';
export type * from './queue.ts';
export type * from './records.ts';
