// What a browser gets as @millrace/base: all but the logger, the file system's errors and the memory of the process.
export * from './browser.ts';
export * from './cbor.ts';
export * from './clock.ts';
export { hkdf } from './crypto-browser.ts';
export * from './metrics.ts';
export * from './schema.ts';
