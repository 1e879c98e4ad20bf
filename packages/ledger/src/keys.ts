import { type Bytes, concatBytes, decodeCbor, encodeCbor, MillraceError, parse, u64be, utf8 } from '@millrace/base';
import { z } from 'zod';
import type { AccountHead } from './accounts.ts';
import { HASH_LENGTH } from './tree.ts';

// Keys of the ledger in its store. Indices are big-endian, so that ranges are in log order.

export const checkpointKey: Bytes = utf8('ledger/checkpoint');
export const entryPrefix: Bytes = utf8('ledger/entry/');
export const openingPrefix: Bytes = utf8('ledger/opening/');
export const tilePrefix: Bytes = utf8('ledger/tile/');
export const eventIdPrefix: Bytes = utf8('ledger/event/');
export const headPrefix: Bytes = utf8('ledger/head/');
export const accountPrefix: Bytes = utf8('ledger/account/');

/** Key of the bytes of an entry. */
export const entryKey = (index: number): Bytes => concatBytes(entryPrefix, u64be(BigInt(index)));

/** Key of the opening of an entry: salt and event. */
export const openingKey = (index: number): Bytes => concatBytes(openingPrefix, u64be(BigInt(index)));

/** Key of the hashes of a tile, full or partial. */
export const tileKey = (level: number, index: number): Bytes =>
  concatBytes(tilePrefix, Uint8Array.of(level), u64be(BigInt(index)));

/** Key of the log index of the event with this id. */
export const eventIdKey = (id: string): Bytes => concatBytes(eventIdPrefix, utf8(id));

/** Key of the last event of an account. */
export const headKey = (account: string): Bytes => concatBytes(headPrefix, utf8(account));

/**
 * Key of the log index of one event of an account. Account names contain no control characters, so 0 terminates them.
 */
export const accountKey = (account: string, sequence: number): Bytes =>
  concatBytes(accountPrefix, utf8(account), Uint8Array.of(0), u64be(BigInt(sequence)));

/** Account and sequence number in such a key; undefined for any other key. */
export function decodeAccountKey(key: Uint8Array): { account: string; sequence: number } | undefined {
  const end = key.length - 9;
  if (end < accountPrefix.length || key[end] !== 0) return undefined;
  const sequence = decodeIndex(key.subarray(end + 1));
  const account = new TextDecoder().decode(key.subarray(accountPrefix.length, end));
  return sequence === undefined ? undefined : { account, sequence };
}

export const accountEvents = (account: string): { gte: Bytes; lt: Bytes } => ({
  gte: concatBytes(accountPrefix, utf8(account), Uint8Array.of(0)),
  lt: concatBytes(accountPrefix, utf8(account), Uint8Array.of(1)),
});

/** Range of all keys with this prefix. Its last byte must be below 255. */
export function under(prefix: Uint8Array): { gte: Bytes; lt: Bytes } {
  const lt = concatBytes(prefix);
  const last = lt.length - 1;
  lt[last] = (lt[last] ?? 0) + 1;
  return { gte: concatBytes(prefix), lt };
}

export function encodeIndex(index: number): Bytes {
  return u64be(BigInt(index));
}

/** Undefined unless it is a u64 that is a valid log index. */
export function decodeIndex(bytes: Uint8Array): number | undefined {
  if (bytes.length !== 8) return undefined;
  const index = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0));
  return Number.isSafeInteger(index) ? index : undefined;
}

const headSchema = z.strictObject({
  account: z.string(),
  kind: z.enum(['object', 'licence', 'machine', 'material', 'design']),
  state: z.string(),
  sequence: z.int().min(0),
  index: z.int().min(0),
  hash: z.instanceof(Uint8Array).refine((bytes) => bytes.length === HASH_LENGTH),
});

export function encodeHead(head: AccountHead): Bytes {
  return encodeCbor({ ...head });
}

/** @throws {MillraceError} E_LEDGER_ENTRY if the stored head is damaged */
export function decodeHead(bytes: Uint8Array, what: string): AccountHead {
  const head = parse(headSchema, decodeCbor(bytes, what, 'E_LEDGER_ENTRY'), what, 'E_LEDGER_ENTRY');
  return { ...head, hash: concatBytes(head.hash) };
}

/** Decodes a stored log index. @throws {MillraceError} E_LEDGER_ENTRY if it is damaged */
export function requireIndex(bytes: Uint8Array, what: string): number {
  const index = decodeIndex(bytes);
  if (index === undefined) throw new MillraceError('E_LEDGER_ENTRY', `${what}: not a log index`);
  return index;
}
