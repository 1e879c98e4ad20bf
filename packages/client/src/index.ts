export {
  type CheckView,
  type DesignView,
  type InvitationView,
  type KeyView,
  type LicenceView,
  type MachineStateView,
  type MachineView,
  nextStep,
  type ObjectView,
  type OrganisationView,
  objectAnswer,
  type PrintView,
  type SignedDocumentView,
  type StatusView,
} from '@millrace/api';
export { type Api, type ApiOptions, type Attachments, createApi, type Transports } from './api.ts';
export { sealAttachment } from './attachments.ts';
export { type AuditResult, auditLedger } from './audit.ts';
export { labelCode, labelSvg, labelText, requireLabel } from './certificate/label.ts';
export {
  certificatePage,
  isCertificatePage,
  type PageOptions,
  type PageParts,
  type PageTrust,
  readCertificatePage,
} from './certificate/page.ts';
export { certificateProofs, type ProofFile } from './certificate/proofs.ts';
export { type CertificateSummary, type CertificateTrust, checkCertificate, trustOf } from './certificates.ts';
export { type Contacts, findUser, type KnownMachine, type KnownUser } from './contacts.ts';
export { checkVault, deleteDesign, repairDesign, setMaintenance } from './design-admin.ts';
export {
  type DesignKind,
  type DrawThumbnail,
  designKind,
  designKindOfFile,
  designKinds,
  type Observed,
  SLICED_KIND,
} from './design-kinds.ts';
export { type Enrolling, enrol, guestDirectory, requestCertificate } from './enrolment.ts';
export { type Followed, type FollowOptions, followLog, type LogSource, type MonitoredWitness } from './follow-log.ts';
export { formatInvitation, type Invitation, parseInvitation } from './invitation.ts';
export { grantLicence, type LicenceTerms, resumeLicence } from './licence.ts';
export { reinstateLicence, revokeLicence, suspendLicence } from './licence-status.ts';
export { createMemoryStorage } from './memory-storage.ts';
export { ownDesign, ownDesignSecret } from './own-design.ts';
export { openLive, openReport } from './owner-view.ts';
export {
  createOrganisation,
  heldRevocations,
  inviteDevice,
  inviteMember,
  type NewInvitation,
  organisationNames,
  type RevocationResult,
  type RevocationTargets,
  revoke,
  verifyKeyView,
} from './people.ts';
export { pick } from './pick.ts';
export { type ByteSource, type PrepareOptions, prepare, type Sliced } from './prepare.ts';
export type {
  DesignCopy,
  PreparedDesign,
  PreparedDesigns,
  PreparedState,
  PreparedWriter,
  SourceIdentity,
} from './prepared.ts';
export {
  cancelPrint,
  type PrintFacts,
  type PrintLook,
  type PrintOutcome,
  queuedPrints,
  requestPrint,
  requireCompleted,
  watchPrint,
} from './print.ts';
export { type DesignFile, namedDesigns, readRecord } from './records.ts';
export { registerAll } from './registration.ts';
export { createSealer, type Sealer, type SealJob } from './sealer.ts';
export { createSession, type Session, type SessionOptions, type User } from './session.ts';
export type { ClientStorage } from './storage.ts';
export { type SignedTransaction, type SigningContext, signNew } from './transactions.ts';
export { type StoreProgress, type StoreStep, storeDesign } from './upload.ts';
