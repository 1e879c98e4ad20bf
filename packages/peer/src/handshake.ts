import { createHash } from 'node:crypto';
import { type Bytes, concatBytes, hkdf, utf8 } from '@millrace/base';
import { type HandshakeChannel, notUnderstood } from './handshake-channel.ts';

/** "MRP" and version, at the start of a connection (spec/peer.md, section 3). */
const MAGIC = utf8('MRP\u0001');
export type AuthMethod = 'code' | 'keys';
const methods: Readonly<Record<AuthMethod, number>> = { code: 1, keys: 2 };

export function encodeHandshake(method: AuthMethod, body: Uint8Array): Bytes {
  return concatBytes(MAGIC, new Uint8Array([methods[method]]), body);
}

/** @returns undefined if the other end uses another method. @throws {MillraceError} E_FRAME_FORMAT */
export function decodeHandshake(method: AuthMethod, message: Uint8Array): Bytes | undefined {
  if (message.length < 5 || MAGIC.some((byte, i) => message[i] !== byte)) throw notUnderstood();
  return message[4] === methods[method] ? new Uint8Array(message.subarray(5)) : undefined;
}

/** The caller's side. @throws {MillraceError} E_STREAM_AUTH, E_STREAM_CUT, E_FRAME_FORMAT */
export interface Caller {
  /** @returns the stream's secret, 32 bytes. The caller wipes it. */
  call(handshake: HandshakeChannel): Promise<Bytes>;
}

/** The listener's side, used for every connection. */
export interface Responder {
  /** @returns the stream's secret, 32 bytes. @throws {MillraceError} E_STREAM_AUTH, E_STREAM_CUT, E_FRAME_FORMAT */
  respond(handshake: HandshakeChannel): Promise<Bytes>;
  /** Whether no further attempts are allowed. */
  readonly exhausted: boolean;
}

/** The stream's secret, derived from the agreed key and bound to every byte of the handshake. */
export function streamSecret(method: AuthMethod, agreed: Uint8Array, ...messages: readonly Uint8Array[]): Bytes {
  const transcript = createHash('sha256');
  for (const message of messages) transcript.update(createHash('sha256').update(message).digest());
  return hkdf([agreed], transcript.digest(), utf8(`millrace/v1/peer/${method}`));
}
