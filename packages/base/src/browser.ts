// What a browser gets as @millrace/base/core: as much of it as needs nothing of Node, and no library.
export * from './bytes-browser.ts';
export { type CodeMeaning, type ErrorCode, errorCodes } from './codes.ts';
export * from './errors.ts';
export * from './lifecycle.ts';
export * from './locks.ts';
export * from './problem.ts';
export * from './retry.ts';
