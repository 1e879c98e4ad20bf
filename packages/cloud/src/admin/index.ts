// Changes that an administrator's commands make to stopped nodes. No other code outside a node changes its keys and
// stores.

export { requireFiles } from '../node/cluster.ts';
export { keepControl } from './control-state.ts';
export { keepNodesCounts, suspendRestored } from './counts.ts';
export {
  type ControlKeys,
  createControlKeys,
  createNodeKeys,
  createWrappingKey,
  type Listeners,
  writeNodeCertificate,
  writeNodeSettings,
  writePermitKeyDocument,
} from './create-node.ts';
export { nextEpoch, openPlaybookIn } from './epochs.ts';
export { eraseExport, exportNode, needsExport } from './export-node.ts';
export { acceptAdmission, type RequestedNode, requestNode } from './join-node.ts';
export {
  cancelMigration,
  type Migrated,
  type MovableRole,
  migrateNode,
  movableRoles,
  parseClusterSettings,
} from './migrate-node.ts';
export { keepKeys } from './node-keys.ts';
export { type RecoverableRole, recoverableRoles, recoverNode } from './recovery.ts';
export {
  acceptReplica,
  enrolReplica,
  isReplicaGrant,
  listReplicas,
  parseReplicaRequest,
  type ReplicaGrant,
  removeReplica,
  replicaFingerprint,
  requestReplica,
  sealReplicaKeys,
  withoutReplica,
} from './replicas.ts';
export {
  discardUnlistedKeys,
  eraseFormerLogKey,
  readStagedKeys,
  replaceKeys,
  type StagedKeys,
  stageCertificate,
  stageIdentity,
  stageLogKey,
  stagePermitKey,
  stageUserAuthority,
} from './rotate-keys.ts';
