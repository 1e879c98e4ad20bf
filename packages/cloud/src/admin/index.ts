// Changes that an administrator's commands make to stopped nodes. No other code outside a node changes its keys and
// stores.
export { keepControl } from './control-state.ts';
export { keepNodesCounts, suspendRestored } from './counts.ts';
export { nextEpoch, openPlaybookIn } from './epochs.ts';
export { keepKeys } from './node-keys.ts';
export { type RecoverableRole, recoverableRoles, recoverNode } from './recovery.ts';
