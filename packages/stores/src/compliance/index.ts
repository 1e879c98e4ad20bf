export type { Case } from './cases.ts';
export * from './cells.ts';
export { BATCH, batchWrites, KEPT } from './crash-writer.ts';
export * from './log.ts';
export * from './queue.ts';
export * from './records.ts';
