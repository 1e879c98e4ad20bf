import { type Bytes, concatBytes, copyBytes, MillraceError } from '@millrace/base';
import { hmacSha256OfPublic } from '@millrace/base/crypto';
import { decodeEvent, encodeEvent, type LedgerEvent } from './event.ts';
import { leafHash } from './tree.ts';

// The log is public, events are not. An entry of the log is a commitment to an event. Its opening (salt and event) is
// given to those who may read the event (docs/adr/0037).

export const ENTRY_VERSION = 1;
export const SALT_LENGTH = 32;
/** Version (1 byte) and commitment (32 bytes). */
export const ENTRY_LENGTH = 33;

/** An event with its place in the log. */
export interface LoggedEvent {
  readonly index: number;
  readonly event: LedgerEvent;
  /** RFC 6962 leaf hash of `entry`. The account's next event refers to it as `previous`. */
  readonly hash: Bytes;
  /** The bytes in the log. Public. */
  readonly entry: Bytes;
  /** Salt and event: proves that `entry` is this event. Only for those who may read the event. */
  readonly opening: Bytes;
}

/**
 * The public record of an event: 0x01 ‖ HMAC-SHA-256(salt, event).
 * @param salt 32 bytes; with a key of fixed length, two openings of one entry are a collision of SHA-256
 * @param event encoded
 */
export function commitTo(event: Uint8Array, salt: Uint8Array): Bytes {
  const entry = new Uint8Array(ENTRY_LENGTH);
  entry[0] = ENTRY_VERSION;
  return hmacSha256OfPublic(salt, event, entry, 1);
}

/**
 * @param salt 32 random bytes, used once
 * @throws {MillraceError} E_INPUT, E_TOO_LARGE as `encodeEvent`
 */
export function encodeOpening(event: LedgerEvent, salt: Uint8Array): Bytes {
  if (salt.length !== SALT_LENGTH) throw new RangeError(`a salt has ${SALT_LENGTH} bytes`);
  return concatBytes(salt, encodeEvent(event));
}

/**
 * The record of an entry in the store: the entry, followed by its opening. An entry whose opening was erased is its own
 * record.
 */
export function decodeRecord(record: Uint8Array): { readonly entry: Bytes; readonly opening: Bytes | undefined } {
  const opening = record.length > ENTRY_LENGTH ? copyBytes(record.subarray(ENTRY_LENGTH)) : undefined;
  return { entry: copyBytes(record.subarray(0, ENTRY_LENGTH)), opening };
}

/**
 * The event of an opening, with the entry that it opens. Compare the entry with the one in the log, or prove its hash.
 * @throws {MillraceError} E_LEDGER_ENTRY unless it is a salt and exactly one event in its canonical encoding
 */
export function decodeOpening(opening: Uint8Array, index: number): LoggedEvent {
  const what = `opening of entry ${index}`;
  if (opening.length <= SALT_LENGTH) throw new MillraceError('E_LEDGER_ENTRY', `${what}: too short`);
  const own = copyBytes(opening);
  const bytes = own.subarray(SALT_LENGTH);
  const event = decodeEvent(bytes, what);
  const entry = commitTo(bytes, own.subarray(0, SALT_LENGTH));
  return { index, event, hash: leafHash(entry), entry, opening: own };
}
