// @millrace/base in browsers: everything except the logger, the file system's errors and the process's memory.
export * from './browser.ts';
export * from './cbor.ts';
export * from './clock.ts';
export { hkdf } from './crypto-browser.ts';
export * from './map-ahead.ts';
export * from './metrics.ts';
export * from './schema.ts';
