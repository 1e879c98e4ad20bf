import { type Bytes, concatBytes, MillraceError, utf8 } from '@millrace/base';

// Keys of the ledger in its store (spec/ledger.md, LE-7.4). The first byte tells the table. Numbers are big-endian, so
// that ranges are in log order. Entries sort last: LMDB fills pages whole when a new key is the last of its page.

export const INDEX_BYTES = 8;

export const checkpointKey: Bytes = utf8('ledger/checkpoint');
export const entryPrefix: Bytes = utf8('z');
export const tilePrefix: Bytes = utf8('t');
export const eventIdPrefix: Bytes = utf8('i');
export const accountPrefix: Bytes = utf8('a');
export const sequencePrefix: Bytes = utf8('s');
export const mapPagePrefix: Bytes = utf8('m');

/** Key of the record of an entry: the entry, followed by its opening. */
export function entryKey(index: number): Bytes {
  const key = new Uint8Array(1 + INDEX_BYTES);
  key[0] = entryPrefix[0] ?? 0;
  writeNumber(key, 1, index, INDEX_BYTES);
  return key;
}

/** Key of the hashes of a tile, full or partial. */
export function tileKey(level: number, index: number): Bytes {
  const key = new Uint8Array(2 + INDEX_BYTES);
  key[0] = tilePrefix[0] ?? 0;
  key[1] = level;
  writeNumber(key, 2, index, INDEX_BYTES);
  return key;
}

/** Key of the log index of the event with this id. */
export const eventIdKey = (id: string): Bytes => textKey(eventIdPrefix, id);

/** Key of the state of an account and the log indices of its last events (account-record.ts). */
export const accountKey = (account: string): Bytes => textKey(accountPrefix, account);

/**
 * Key of the log indices of one full block of an account's events. Account names contain no control characters, so 0
 * terminates them.
 */
export const sequenceKey = (account: string, block: number): Bytes => {
  const key = concatBytes(textKey(sequencePrefix, account), new Uint8Array(1 + INDEX_BYTES));
  writeNumber(key, key.length - INDEX_BYTES, block, INDEX_BYTES);
  return key;
};

/** Key of a page of the map: its level, and the bits of its accounts' keys above it, filled up with zero. */
export function mapPageKey(level: number, prefix: Uint8Array): Bytes {
  return concatBytes(mapPagePrefix, Uint8Array.of(level), prefix);
}

/** Range of all keys with this prefix. Its last byte must be below 255. */
export function under(prefix: Uint8Array): { gte: Bytes; lt: Bytes } {
  const lt = concatBytes(prefix);
  const last = lt.length - 1;
  lt[last] = (lt[last] ?? 0) + 1;
  return { gte: concatBytes(prefix), lt };
}

/** Text in a key, after its prefix. */
export function textOfKey(key: Uint8Array, prefix: Uint8Array): string {
  return new TextDecoder().decode(key.subarray(prefix.length));
}

export function encodeIndex(index: number, bytes: Bytes = new Uint8Array(INDEX_BYTES)): Bytes {
  writeNumber(bytes, 0, index, INDEX_BYTES);
  return bytes;
}

/** Undefined unless it is a u64 that is a valid log index. */
export function decodeIndex(bytes: Uint8Array): number | undefined {
  if (bytes.length !== INDEX_BYTES) return undefined;
  const index = readNumber(bytes, 0, INDEX_BYTES);
  return Number.isSafeInteger(index) ? index : undefined;
}

/** Decodes a stored log index. @throws {MillraceError} E_LEDGER_ENTRY if it is damaged */
export function requireIndex(bytes: Uint8Array, what: string): number {
  const index = decodeIndex(bytes);
  if (index === undefined) throw new MillraceError('E_LEDGER_ENTRY', `${what}: not a log index`);
  return index;
}

/** Writes a whole number below 2^53 as `width` bytes, big-endian. */
export function writeNumber(bytes: Uint8Array, at: number, value: number, width: number): void {
  let rest = value;
  for (let i = at + width - 1; i >= at; i--) {
    bytes[i] = rest % 0x100;
    rest = Math.floor(rest / 0x100);
  }
}

/** Above 2^53 the result is not exact, and not a safe integer. */
export function readNumber(bytes: Uint8Array, at: number, width: number): number {
  let value = 0;
  for (let i = at; i < at + width; i++) value = value * 0x100 + (bytes[i] ?? 0);
  return value;
}

function textKey(prefix: Uint8Array, text: string): Bytes {
  const key = new Uint8Array(prefix.length + text.length);
  key.set(prefix);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 0x80) return concatBytes(prefix, utf8(text));
    key[prefix.length + i] = code;
  }
  return key;
}
