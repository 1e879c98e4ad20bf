// Browser entry point: documents and sealing, without files, sockets and TLS.
export * from './acting.ts';
export { MAX_MACHINES } from './amendment-documents.ts';
export * from './amendments.ts';
export { fromBase45, toBase45 } from './base45.ts';
export * from './box.ts';
export { MAX_PICTURE_BYTES } from './camera-documents.ts';
export * from './camera-picture.ts';
export { type CreditPolicy, creditPolicySchema, MAX_CREDITS } from './case-documents.ts';
export * from './case-evidence.ts';
export * from './cases.ts';
export * from './credentials.ts';
export * from './directory.ts';
export * from './directory-document.ts';
export { machineKind } from './document-fields.ts';
export * from './documents.ts';
export * from './early-failures.ts';
export * from './federation.ts';
export { type LicensedGroup, MAX_LICENSED_GROUPS, MAX_MEMBERS } from './group-documents.ts';
export * from './groups.ts';
export { type Halt, haltSchema } from './halt.ts';
export * from './ledger-facts.ts';
export * from './licence-status.ts';
export * from './licensed-machines.ts';
export * from './life.ts';
export { type InspectionResult, type RetirementReason, retirementReasons } from './life-documents.ts';
export * from './machine-photo.ts';
export * from './machine-settings.ts';
export * from './mail.ts';
export {
  type LicensedMaterial,
  type Odometer,
  odometerSchema,
  type SpoolDescription,
  type SpoolProof,
  spoolDescription,
  spoolProof,
} from './material-documents.ts';
export * from './materials.ts';
export * from './opening.ts';
export * from './owner-state.ts';
export * from './package-shares.ts';
export { MAX_REVOKED, TLS_KEY_BYTES } from './people-documents.ts';
export * from './permit-keys.ts';
export * from './photo.ts';
export * from './placement.ts';
export * from './prices.ts';
export * from './registrations.ts';
export * from './rehearsal-facts.ts';
export { MAX_REPORTED_PHOTOS, MAX_SEALED_FACTS } from './report-documents.ts';
export * from './revocations.ts';
export * from './revoked.ts';
export * from './sealed-keys.ts';
export * from './session.ts';
export { MAX_POLICY_BYTES, type RemoteSettings, remoteSettingsSchema } from './settings-documents.ts';
export * from './shapes.ts';
export {
  claimedEmail,
  isSignIn,
  providerKeyThumbprint,
  type SignedInPerson,
  type SignInDocument,
  signInNonce,
  signInPerson,
  verifyByOneOf,
  verifyIdToken,
  verifyKeylessSignIn,
} from './sign-in-credential.ts';
export { SIGN_IN_KEY_MS } from './sign-in-documents.ts';
export * from './spools.ts';
export * from './telemetry.ts';
export { formatToken, TOKEN_MAX_MS, tokenHash, tokenIdOf, tokenPrefix } from './tokens.ts';
export * from './usage.ts';
export * from './visit-facts.ts';
export { formatWebhookSecret, WEBHOOK_SECRET_BYTES, webhookSecretHash } from './webhooks.ts';
