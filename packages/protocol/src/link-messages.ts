import {
  type Bytes,
  bytesOf,
  concatBytes,
  decodeCbor,
  encodeCbor,
  hexOf,
  MillraceError,
  parse,
  u32be,
} from '@millrace/base';
import { z } from 'zod';
import { SEALED_SECRET_BYTES } from './sealed-keys.ts';
import { sessionOfferSchema } from './session.ts';

/**
 * Messages on the WebSocket links of the distribution node (spec/protocol.md, "Links"). The first byte is the kind. On
 * node links, 16 bytes of session id follow. A machine's link has no session id, because a machine has one stream at a
 * time.
 */
export const LINK = { control: 1, frame: 2, key: 3, reverse: 4 } as const;

/** Small messages, CBOR. */
const linkControlSchema = z.discriminatedUnion('type', [
  /** Agent → distribution → control: a call and its answer. */
  z.strictObject({
    type: z.literal('call'),
    call: z.number().int(),
    method: z.enum(['next', 'call-home', 'report', 'visa', 'command', 'commanded', 'look', 'looked']),
    body: z.instanceof(Uint8Array),
  }),
  z.strictObject({ type: z.literal('answer'), call: z.number().int(), body: z.instanceof(Uint8Array) }),
  z.strictObject({
    type: z.literal('error'),
    call: z.number().int(),
    code: z.string(),
    message: z.string(),
  }),
  /**
   * Keys → agent: the offer that starts a session. `openingHash` lets the agent bind the session to its own documents.
   */
  z.strictObject({ type: z.literal('offer'), machine: hexOf(16), permitId: hexOf(16), offer: sessionOfferSchema }),
  /**
   * Segments → distribution: the machine of a permit that the segments node has verified. The keys node may offer a
   * session to it.
   */
  z.strictObject({ type: z.literal('admit'), permitId: hexOf(16), machine: hexOf(16) }),
  /** Segments → distribution: the machine that receives the frames of a session. */
  z.strictObject({ type: z.literal('route'), session: bytesOf(16), machine: hexOf(16) }),
  /** Keys → agent: its point for the mix at `revision`, sealed in the session's context. */
  z.strictObject({
    type: z.literal('mix'),
    session: bytesOf(16),
    revision: z.number().int(),
    sealed: z.instanceof(Uint8Array),
  }),
  /** Keys → agent: hashes of a group of segments, with the proof that the owner committed to them (vault.md, 2). */
  z.strictObject({
    type: z.literal('hashes'),
    session: bytesOf(16),
    group: z.number().int().nonnegative(),
    hashes: z.instanceof(Uint8Array).refine(({ length }) => length <= 2_048, 'too long'),
    path: z.array(bytesOf(32)).max(24),
  }),
  /** Either proactive node → driver: its share of a job package, sealed to the permit request's ephemeral key. */
  z.strictObject({
    type: z.literal('release'),
    machine: hexOf(16),
    permitId: hexOf(16),
    role: z.enum(['keys', 'segments']),
    sealed: bytesOf(SEALED_SECRET_BYTES),
  }),
  /** Either proactive node → agent and distribution: the stream has ended. */
  z.strictObject({ type: z.literal('end'), session: bytesOf(16), code: z.string(), reason: z.string() }),
  /** Distribution → nodes and agents: it has accepted the directory with this number. It is not trusted: they ask. */
  z.strictObject({ type: z.literal('directory'), sequence: z.number().int().min(1) }),
  /** Distribution → nodes and agents: the other end of a session has disconnected. */
  z.strictObject({ type: z.literal('lost'), session: bytesOf(16), who: z.enum(['machine', 'segments', 'keys']) }),
]);
export type LinkControl = z.output<typeof linkControlSchema>;

export type LinkMessage =
  | { readonly kind: 'control'; readonly message: LinkControl }
  | { readonly kind: 'frame' | 'key' | 'reverse'; readonly session: Bytes; readonly payload: Bytes };

const kinds = { 2: 'frame', 3: 'key', 4: 'reverse' } as const;

export function encodeControl(message: LinkControl): Bytes {
  return concatBytes(Uint8Array.of(LINK.control), encodeCbor(message as never));
}

/** With `session` for node links, without it for a machine's link. */
export function encodeStream(kind: 'frame' | 'key' | 'reverse', payload: Uint8Array, session?: Uint8Array): Bytes {
  return session === undefined
    ? concatBytes(Uint8Array.of(LINK[kind]), payload)
    : concatBytes(Uint8Array.of(LINK[kind]), session, payload);
}

/** @throws {MillraceError} E_INPUT */
export function decodeLink(bytes: Uint8Array, addressed: boolean): LinkMessage {
  const kind = bytes[0];
  if (kind === LINK.control) {
    return { kind: 'control', message: parse(linkControlSchema, decodeCbor(bytes.subarray(1), 'link'), 'link') };
  }
  const header = addressed ? 17 : 1;
  if ((kind !== 2 && kind !== 3 && kind !== 4) || bytes.length <= header) {
    throw new MillraceError('E_INPUT', 'link: unknown or empty message');
  }
  return { kind: kinds[kind], session: bytes.slice(1, header), payload: bytes.slice(header) };
}

/** Segment, k_e and CEK with the tag, and a label if the outer layer uses points. */
const KEY_LENGTHS = [4 + 64 + 16, 4 + 96 + 16];

/** Keys of one segment, sealed in the session's context: segment u32 ‖ AEAD(k_e ‖ CEK, for points ‖ label). */
export function encodeKey(segment: number, sealed: Uint8Array): Bytes {
  return concatBytes(u32be(segment), sealed);
}

/** @throws {MillraceError} E_INPUT */
export function decodeKey(payload: Uint8Array): { segment: number; sealed: Bytes } {
  if (!KEY_LENGTHS.includes(payload.length)) throw new MillraceError('E_INPUT', 'key: wrong length');
  return {
    segment: new DataView(payload.buffer, payload.byteOffset).getUint32(0),
    sealed: new Uint8Array(payload.subarray(4)),
  };
}
