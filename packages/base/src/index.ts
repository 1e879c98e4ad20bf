export * from './bytes.ts';
export * from './cbor.ts';
export * from './clock.ts';
export { type CodeMeaning, type ErrorCode, errorCodes } from './codes.ts';
export * from './errors.ts';
export * from './lifecycle.ts';
export * from './logging.ts';
export * from './schema.ts';
