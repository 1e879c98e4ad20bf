// What an administrator's commands do to nodes that are stopped. Nothing else changes their keys and stores from outside.
export { keepControl } from './control-state.ts';
export { keepNodesCounts, suspendRestored } from './counts.ts';
export { nextEpoch, openPlaybookIn } from './epochs.ts';
export { keepKeys } from './node-keys.ts';
export { type RecoverableRole, recoverableRoles, recoverNode } from './recovery.ts';
