export * from './cbor.ts';
export * from './core.ts';
export { hkdf } from './crypto.ts';
export * from './durable.ts';
export * from './json-file.ts';
export * from './logging.ts';
export * from './schema.ts';
export * from './staged-files.ts';
