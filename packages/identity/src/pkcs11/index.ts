export type { PinSource } from './pin.ts';
export type { TokenPlace } from './session.ts';
export { createTokenKey, openTokenKey, type TokenKeyPlace } from './token-key.ts';
