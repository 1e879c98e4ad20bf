export * from './authority.ts';
export {
  type Authority,
  expiryOf,
  fingerprint,
  isIssuedBy,
  isTlsPair,
  type Party,
  partyOf,
  type TlsIdentity,
} from './certificates.ts';
export * from './cose.ts';
export * from './keys.ts';
export * from './numbered.ts';
export * from './seal.ts';
export * from './verify.ts';
