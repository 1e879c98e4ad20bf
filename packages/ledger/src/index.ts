export type { AccountProof, MapProofs } from './account-map.ts';
export { type AccountHead, type AccountKind, follow as followAccount } from './accounts.ts';
export {
  type CertificateParts,
  type CertificateTrust,
  type CertifiedAccount,
  certificateToJson,
  decodeCertificate,
  encodeCertificate,
  type LinkedKind,
  linkedKinds,
  linkOf,
  type VerifiedCertificate,
  verifyCertificate,
} from './certificate.ts';
export { type CheckReport, checkLedger, type LedgerCheckOptions } from './check.ts';
export {
  type Checkpoint,
  type CheckpointTrust,
  formatCheckpoint,
  openCheckpoint,
  parseCheckpoint,
  signCheckpoint,
  type VerifiedCheckpoint,
} from './checkpoint.ts';
export { cosign, cosignedMessage, verifyCosignature } from './cosignature.ts';
export {
  decodeEvent,
  type EventBody,
  type EventRequest,
  type EventType,
  encodeEvent,
  eventTypes,
  type LedgerEvent,
  MAX_EVENT_LENGTH,
  requireRecordable,
} from './event.ts';
export type { BodyValue } from './event-encoding.ts';
export { type ExportOptions, exportCertificate } from './export.ts';
export { extendsLedger } from './extends.ts';
export { type Appended, type Ledger, type LedgerOptions, MAX_BATCH, openLedger } from './ledger.ts';
export { MAP_ACCOUNT, type MapRoot, readMapRoot, verifyAccountInMap } from './map-root.ts';
export { type MapLeaf, type MapProof, type MapValue, mapKey, mapRootOf, verifyMapProof } from './map-tree.ts';
export {
  ed25519NoteSigner,
  formatNote,
  formatVerifierKey,
  type Note,
  type NoteSignature,
  type NoteSigner,
  noteKeyId,
  noteTypes,
  parseNote,
  parseVerifierKey,
  signatureBy,
  signText,
  type VerifierKey,
  verifyEd25519,
} from './note.ts';
export {
  commitTo,
  decodeOpening,
  ENTRY_LENGTH,
  ENTRY_VERSION,
  encodeOpening,
  type LoggedEvent,
  SALT_LENGTH,
} from './opening.ts';
export type { LedgerProblem, ProblemCode } from './problems.ts';
export { formatTlogProof, parseTlogProof, type TlogProof } from './proof-text.ts';
export type { LedgerStore, LedgerWriter, RangeOptions, StoreWrite } from './store.ts';
export {
  decodeBundle,
  encodeBundle,
  MAX_ENTRY_LENGTH,
  parseTilePath,
  TILE_WIDTH,
  type TileName,
  type TileReader,
  tileHashes,
  tileNodes,
  tilePath,
  tilesOf,
} from './tiles.ts';
export {
  CompactRange,
  consistencyProof,
  emptyRoot,
  HASH_LENGTH,
  inclusionProof,
  leafHash,
  type NodeReader,
  nodeHash,
  treeRoot,
  verifyConsistency,
  verifyInclusion,
} from './tree.ts';
export {
  type AddCheckpoint,
  decideCheckpoint,
  formatAddCheckpoint,
  formatCosignatures,
  MAX_ADD_CHECKPOINT,
  parseAddCheckpoint,
  parseCosignatures,
  parseWitnessSize,
  WITNESS_SIZE_TYPE,
  type WitnessDecision,
  type WitnessedHead,
} from './witness.ts';
export { requestCosignature, type WitnessOutcome, type WitnessRequest } from './witness-client.ts';
