export * from './address.ts';
export { codeDigits, newCode } from './code.ts';
export { codeCaller, codeResponder } from './code-auth.ts';
export * from './connect.ts';
export { openFileSink } from './file-sink.ts';
export type { Caller, Responder } from './handshake.ts';
export { type KeyOptions, keyCaller, keyResponder } from './key-auth.ts';
export * from './listen.ts';
export * from './transfer.ts';
