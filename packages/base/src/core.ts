// What a worker thread or a browser's page needs of this package: nothing here loads a library.
export * from './bytes.ts';
export * from './clock.ts';
export { type CodeMeaning, type ErrorCode, errorCodes } from './codes.ts';
export * from './errors.ts';
export * from './lifecycle.ts';
