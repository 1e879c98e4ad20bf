export * from './authority.ts';
export {
  type Authority,
  certificatesOf,
  createTlsKey,
  expiryOf,
  fingerprint,
  isIssuedBy,
  isSignedBy,
  isTlsPair,
  type Party,
  partyOf,
  type TlsIdentity,
  tlsPublicKey,
} from './certificates.ts';
export * from './cose.ts';
export * from './keys.ts';
export * from './numbered.ts';
export * from './seal.ts';
export * from './verify.ts';
