// For programs and tests that drive an installation; the command itself is main.ts.
export { type Api, createApi } from './client/api.ts';
export { type AuditResult, auditLedger } from './client/audit.ts';
export {
  type CertificateSummary,
  type CertificateTrust,
  checkCertificate,
  trustOf,
} from './client/certificates.ts';
export { grantLicence, type LicenceTerms } from './client/licence.ts';
export { type PrepareOptions, prepareFile } from './client/prepare.ts';
export type { PreparedDesign } from './client/prepared.ts';
export { type PrintLook, type PrintOutcome, requestPrint, requireCompleted, watchPrint } from './client/print.ts';
export { registerAll } from './client/registration.ts';
export { openSession, type Session, type SessionOptions } from './client/session.ts';
export { type SignedTransaction, signNew } from './client/transactions.ts';
export { storeDesign } from './client/upload.ts';
export { type InitOptions, type Installed, initInstallation } from './installation/init.ts';
export { type Layout, layoutOf } from './installation/layout.ts';
export { type Installation, openInstallation, openUser, readAddresses, type User } from './installation/open.ts';
export { builtEntries, type Entries } from './supervisor/children.ts';
export type { ProcessSpec, ProcessStatus } from './supervisor/managed-process.ts';
export { createSupervisor, type Supervisor } from './supervisor/supervisor.ts';
export { type Running, startInstallation, type UpOptions } from './supervisor/up.ts';
