export * from './decisions.ts';
export { inRange, MAX_KEY_BYTES, prefixRange } from './keys.ts';
export { type Lmdb, type LmdbOptions, openLmdb } from './lmdb.ts';
export * from './memory.ts';
export * from './memory-records.ts';
export type * from './port.ts';
export * from './queue.ts';
export type * from './records.ts';
