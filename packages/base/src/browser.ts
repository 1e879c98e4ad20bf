// What a browser gets as @millrace/base/core: as much of it as needs nothing of Node.
export * from './byte-arrays.ts';
export { type CodeMeaning, type ErrorCode, errorCodes } from './codes.ts';
export * from './errors.ts';
export * from './lifecycle.ts';

/** Looks at every byte whatever it finds: a browser has no comparison that promises constant time. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}
