// Browser entry point: everything except X.509, which browsers handle internally.
export type { Authority, Party, TlsIdentity } from './certificates.ts';
export * from './cose.ts';
export * from './keys.ts';
export * from './numbered.ts';
export * from './seal.ts';
export * from './verify.ts';
