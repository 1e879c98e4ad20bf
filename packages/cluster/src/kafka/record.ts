import { type Bytes, concatBytes, copyBytes, fromHex, systemRandom, toHex, utf8 } from '@millrace/base';

/**
 * A record of a queue's topic. Keys of Kafka records: id length (1), id, nonce[8]; or 0 and a letter. Compaction keeps
 * the last record of each key, so the nonce keeps repeated publications apart and removes a message with its
 * acknowledgement.
 */
export type QueueRecord =
  /** key length (1), key, message. */
  | { readonly kind: 'message'; readonly record: string; readonly id: string; key: string; readonly message: Bytes }
  /** No value. With the header `acknowledged`, the message of this id is; without, the record was a repetition. */
  | { readonly kind: 'done'; readonly record: string; readonly id: string; readonly acknowledged: boolean }
  /** `o`: the process with this token delivers the messages from here on. */
  | { readonly kind: 'owner'; readonly token: string }
  /** `s`: a process began to follow the topic. It has read what was there before when it reads this. */
  | { readonly kind: 'start'; readonly token: string };

export interface RawRecord {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers?: Readonly<Record<string, unknown>>;
}

const NONCE = 8;
const TOKEN = 16;
const ACKNOWLEDGED = 'acknowledged';
const MARKS = { owner: 0x6f, start: 0x73 } as const;

/** A message under a new nonce. Names are checked by the caller. */
export function messageRecord(key: string, id: string, message: Uint8Array): RawRecord {
  const [name, idName] = [utf8(key), utf8(id)];
  return {
    key: concatBytes(Uint8Array.of(idName.length), idName, systemRandom(NONCE)),
    value: concatBytes(Uint8Array.of(name.length), name, message),
  };
}

/** @param record name of the message's record */
export function acknowledgedRecord(record: string): RawRecord {
  return { ...repeatedRecord(record), headers: { [ACKNOWLEDGED]: '' } };
}

/** @param record name of a record that repeats a message */
export function repeatedRecord(record: string): RawRecord {
  return { key: fromHex(record), value: null };
}

/** @param token 16 bytes, hexadecimal */
export function markRecord(kind: keyof typeof MARKS, token: string): RawRecord {
  return { key: Uint8Array.of(0, MARKS[kind]), value: fromHex(token) };
}

/** Undefined if it is not a record of a queue. */
export function decodeRecord({ key, value, headers }: RawRecord): QueueRecord | undefined {
  const [length] = key ?? [];
  if (key === null || length === undefined) return undefined;
  if (length === 0) {
    const kind = (['owner', 'start'] as const).find((name) => key.length === 2 && key[1] === MARKS[name]);
    return kind && value?.length === TOKEN ? { kind, token: toHex(value) } : undefined;
  }
  if (key.length !== 1 + length + NONCE) return undefined;
  const id = text(key.subarray(1, 1 + length));
  const record = toHex(key);
  if (id === undefined) return undefined;
  if (value === null)
    return { kind: 'done', record, id, acknowledged: headers !== undefined && Object.hasOwn(headers, ACKNOWLEDGED) };
  const keyLength = value[0] ?? 0;
  const name = text(value.subarray(1, 1 + keyLength));
  if (keyLength === 0 || value.length < 1 + keyLength || name === undefined) return undefined;
  return { kind: 'message', record, id, key: name, message: copyBytes(value.subarray(1 + keyLength)) };
}

function text(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
