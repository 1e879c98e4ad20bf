export * from './certificates.ts';
export * from './cose.ts';
export * from './keys.ts';
export * from './seal.ts';
export * from './verify.ts';
