// Entry point for worker threads (browsers: browser.ts). It loads no library.
export * from './bytes.ts';
export * from './clock.ts';
export type { CodeMeaning } from './code-meaning.ts';
export { type ErrorCode, errorCodes } from './codes.ts';
export * from './disk.ts';
export * from './errors.ts';
export * from './lifecycle.ts';
export * from './locks.ts';
export * from './map-ahead.ts';
export * from './memory.ts';
export * from './metrics.ts';
export * from './problem.ts';
export * from './retry.ts';
export * from './tracing.ts';
