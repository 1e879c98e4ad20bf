export * from './address.ts';
export { codeCaller, codeResponder } from './by-code.ts';
export { type KeyOptions, keyCaller, keyResponder } from './by-keys.ts';
export { codeDigits, newCode } from './code.ts';
export * from './connect.ts';
export { openFileSink } from './file-sink.ts';
export type { Caller, Responder } from './greeting.ts';
export * from './listen.ts';
export * from './transfer.ts';
