export {
  type CaseView,
  type CheckView,
  type DesignView,
  type GroupView,
  type InvitationView,
  type KeyView,
  type LicenceView,
  type MachineStateView,
  type MachineView,
  nextStep,
  type ObjectView,
  type OdometerView,
  type OrganisationView,
  objectAnswer,
  type PrintView,
  type RehearsalView,
  type SettingsView,
  type SignedDocumentView,
  type SpoolView,
  type StatusView,
  type TokenView,
  type VisitView,
  type WebhookMessageView,
  type WebhookView,
} from '@millrace/api';
export { type Api, type ApiOptions, type Attachments, createApi, type Transports } from './api.ts';
export { approvalDemand } from './approvals.ts';
export { sealAttachment } from './attachments.ts';
export { type AuditResult, auditLedger } from './audit.ts';
export { type CameraWatch, watchCamera } from './camera.ts';
export { decideCase, openCase, reportFailure } from './cases.ts';
export { caseReasonsGerman } from './certificate/case-reasons-de.ts';
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
export { type VerdictWords, verdictEnglish } from './certificate/verdict-words.ts';
export { verdictGerman } from './certificate/verdict-words-de.ts';
export { type CertificateSummary, type CertificateTrust, checkCertificate, trustOf } from './certificates.ts';
export { type Contacts, findUser, type KnownMachine, type KnownUser } from './contacts.ts';
export { type CsvCell, formatCsv } from './csv.ts';
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
export { type Recipient, shareDesign } from './design-shares.ts';
export { type Enrolling, enrol, guestDirectory, requestCertificate } from './enrolment.ts';
export { cancelVisit, introduceMachine, requestVisit, type VisitTerms } from './federation.ts';
export { type Followed, type FollowOptions, followLog, type LogSource, type MonitoredWitness } from './follow-log.ts';
export { assignMachine, changeGroup, createGroup, groupNamed, type NewGroup, signedGroup } from './groups.ts';
export {
  formatInstallation,
  type InstallationReference,
  type InstallationText,
  parseInstallation,
} from './installation-text.ts';
export { formatInvitation, type Invitation, parseInvitation } from './invitation.ts';
export { type CreatedPackage, createPackage, type PackageJob, type PackageTerms } from './job-package.ts';
export { grantLicence, type LicenceTerms, resumeLicence } from './licence.ts';
export {
  type Approvable,
  approvable,
  approveLicence,
  extendLicence,
  type SignedLicence,
  signedLicence,
  transferLicence,
} from './licence-amendments.ts';
export { reinstateLicence, revokeLicence, suspendLicence } from './licence-status.ts';
export type { LicensedWhere, WhereTerms } from './licensed-machines.ts';
export { acceptPart, appointInspectors, type Inspection, inspectPart, retirePart, transferPart } from './life.ts';
export {
  machineSettings,
  previousSettings,
  readSettings,
  setMachineSettings,
  verifySettings,
} from './machine-settings.ts';
export { certifyMaterial, checkMaterial, type NewMaterial, ownMaterials } from './materials.ts';
export { createMemoryStorage } from './memory-storage.ts';
export { ownDesign, ownDesignSecret } from './own-design.ts';
export { type CommittedPhoto, committedPhotos, openCommittedPhoto, openLive, openReport } from './owner-view.ts';
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
export { type ByteSource, type DesignSecrets, type PrepareOptions, prepare, type Sliced } from './prepare.ts';
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
  commandPrint,
  movePrintFirst,
  type PrintFacts,
  type PrintLook,
  type PrintOutcome,
  queuedPrints,
  requestPrint,
  requireCompleted,
  watchPrint,
} from './print.ts';
export { publishDirectoryAt } from './publish-directory.ts';
export { type DesignFile, namedDesigns, readRecord } from './records.ts';
export { registerAll } from './registration.ts';
export { requestRehearsal, verifyRehearsal, watchRehearsal } from './rehearsals.ts';
export { createSealer, type Sealer, type SealJob } from './sealer.ts';
export { createSession, type Session, type SessionOptions, type User } from './session.ts';
export {
  enrolBySignIn,
  readSignIn,
  revokeSignIn,
  type SignIn,
  type SignInTerms,
  setSignIn,
  signInCommitment,
} from './sign-in.ts';
export type { SiteBalance, SiteFinding } from './site-balance.ts';
export { type SiteReport, siteReport } from './site-report.ts';
export { readSpoolTag } from './spool-tags.ts';
export { loadSpool, type SpoolContent, unloadSpool } from './spools.ts';
export type { ClientStorage } from './storage.ts';
export { createToken, currentToken, type NewToken, refusingSigner, revokeToken, verifyOwnToken } from './tokens.ts';
export { type SignedTransaction, type SigningContext, signNew } from './transactions.ts';
export { type StoreProgress, type StoreStep, storeDesign } from './upload.ts';
export { checkUsage, readUsage, type UsageCheck, type UsageFilter } from './usage.ts';
export { usageRows } from './usage-csv.ts';
export {
  createWebhook,
  type NewWebhook,
  rotateWebhook,
  sendToWebhook,
  setWebhook,
  type WebhookSecret,
} from './webhooks.ts';
export { createNames, type Names } from './who.ts';
