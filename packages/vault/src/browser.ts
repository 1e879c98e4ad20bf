// Browser entry point: the owner's side of the vault.
export * from './core.ts';
export { GROUP_SEGMENTS, type HashGroup, HashTree, verifyHashGroup } from './hash-tree.ts';
export * from './job-envelope.ts';
export * from './manifest.ts';
export { MAX_POINTS_SEGMENTS, type MaintenanceMode, maintenanceModes } from './modes.ts';
export * from './package-file.ts';
export * from './prepare.ts';
export * from './private-part.ts';
export * from './segment.ts';
export * from './sizes.ts';
