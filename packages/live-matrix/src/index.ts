export { generatorColumns } from './code/generator.ts';
export { type Block, layoutBlocks, parityBytes, totalParityBytes } from './code/layout.ts';
export { parityOf } from './code/parity.ts';
export { type Candidates, solveBlock } from './code/solve.ts';
export * from './engines/choose.ts';
export * from './engines/engine.ts';
export { createNativeEngine, estimateClock, nativeInstructionSets } from './engines/native-engine.ts';
export { claimedRevision, HEADER_BYTES, MAC_BYTES } from './frame/header.ts';
export * from './node-receiver.ts';
export * from './node-sender.ts';
export {
  type HintMode,
  MAX_CELL_BYTES,
  type MatrixParameters,
  MIX_INTERVAL,
  type Order,
  SEED_BYTES,
  SESSION_ID_BYTES,
  type TableOrder,
} from './parameters.ts';
export { type FreshSecrets, Ratchet, type RevisionKeys, wipeKeys } from './ratchet.ts';
export { hold, ordinaryMemory, type SecretMemory } from './secrets/memory.ts';
export { forbidLooking, guardSecrets, type SecretState, secretMemory, secretState } from './secrets/node.ts';
export * from './seed.ts';
export { Follower, type FollowerMixes } from './stream/follower.ts';
export * from './stream/index.ts';
export * from './stream/node.ts';
export { KEY_BYTES, type SuiteName, suites } from './suites.ts';
export {
  allocateScratch,
  allocateTable,
  type HintTable,
  type TableBuild,
  tableParts,
  wipeTable,
} from './table/hint-table.ts';
export { TableMemory } from './table/memory.ts';
export {
  createSlicedTable,
  resolveInPasses,
  type SlicedOptions,
  type SlicedTable,
  slicedTableBytes,
} from './table/sliced.ts';
export { resolveBySweep, type SweepOptions } from './table/sweep.ts';
