// @millrace/base/core in browsers: the parts of it that need neither Node nor a library.
export * from './bytes-browser.ts';
export type { CodeMeaning } from './code-meaning.ts';
export { type ErrorCode, errorCodes } from './codes.ts';
export * from './errors.ts';
export * from './lifecycle.ts';
export * from './locks.ts';
export * from './problem.ts';
export * from './retry.ts';
