// What needs files: prepared designs, the owner's records and copies.
export { processIsAlive } from './alive.ts';
export { copiesFolder, type DesignCopy, keepCopy, openCopy } from './copy.ts';
export * from './files.ts';
export { findEarlier, type PrepareOptions, prepareFile, type Sliced } from './prepare.ts';
export type { PreparedDesign, PreparedState } from './prepared.ts';
export { type DesignFile, namedDesigns, readRecord } from './records.ts';
