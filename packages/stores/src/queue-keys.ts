import { type Bytes, concatBytes, copyBytes, MillraceError, u64be, utf8 } from '@millrace/base';
import { prefixRange } from './keys.ts';
import type { Range } from './port.ts';

const MAX_TOPIC = 100;
const MAX_KEY = 100;
const MAX_ID = 200;
const SEQUENCE_BYTES = 8;
const WAITING = 0x77;
const ACKNOWLEDGED = 0x61;

export interface StoredMessage {
  readonly sequence: bigint;
  readonly id: string;
  readonly message: Bytes;
}

/** Key and sequence number of a message. */
export interface Position {
  readonly key: string;
  readonly sequence: bigint;
}

/**
 * The keys and values of a topic in the ordered map. Keys are topic length (1), topic, a letter and the rest:
 * `m` key length (1), key, sequence[8] → id length (1), id, message;
 * `i` id → `w` sequence[8] key while it waits, `a` when it is acknowledged;
 * `t` time[8] id → empty, by which acknowledged ids are forgotten.
 */
export class TopicKeys {
  readonly messages: Range;
  /** Value of the record of an acknowledged id. */
  readonly acknowledged = Uint8Array.of(ACKNOWLEDGED);
  readonly #messages: Bytes;
  readonly #times: Bytes;
  readonly #ids: Bytes;

  constructor(topic: string) {
    const name = checkedText(topic, MAX_TOPIC, 'a topic');
    const prefix = concatBytes(Uint8Array.of(name.length), name);
    this.#messages = concatBytes(prefix, utf8('m'));
    this.#times = concatBytes(prefix, utf8('t'));
    this.#ids = concatBytes(prefix, utf8('i'));
    this.messages = prefixRange(this.#messages);
  }

  /** @throws {MillraceError} E_INPUT if one of them is empty or too long */
  check(key: string, id: string): void {
    this.message(key, 0n);
    this.id(id);
  }

  message(key: string, sequence: bigint): Bytes {
    const name = checkedText(key, MAX_KEY, 'a key of a queue');
    return concatBytes(this.#messages, Uint8Array.of(name.length), name, u64be(sequence));
  }

  /** @param bytes key of a message */
  position(bytes: Bytes): Position {
    const rest = bytes.subarray(this.#messages.length);
    const length = rest[0] ?? 0;
    if (length < 1 || rest.length !== 1 + length + SEQUENCE_BYTES)
      throw new MillraceError('E_STORE', 'the queue is damaged, or of an earlier version');
    return { key: text(rest.subarray(1, 1 + length)), sequence: sequenceAt(rest, 1 + length) };
  }

  id(id: string): Bytes {
    return concatBytes(this.#ids, checkedText(id, MAX_ID, 'a message id'));
  }

  /** Key under which an acknowledged id is scheduled to be forgotten. */
  forgetAt(time: number, id: string): Bytes {
    return concatBytes(this.#times, u64be(BigInt(Math.max(0, Math.trunc(time)))), utf8(id));
  }

  forgottenBy(time: number): Range {
    return { ...prefixRange(this.#times), lt: this.forgetAt(time, '') };
  }

  /** @param bytes key made by `forgetAt` */
  forgottenId(bytes: Bytes): string {
    return text(bytes.subarray(this.#times.length + 8));
  }
}

/** @throws {MillraceError} E_INPUT if a name is empty or too long */
export function checkQueueNames(names: { topic?: string; key?: string; id?: string }): void {
  if (names.topic !== undefined) checkedText(names.topic, MAX_TOPIC, 'a topic');
  if (names.key !== undefined) checkedText(names.key, MAX_KEY, 'a key of a queue');
  if (names.id !== undefined) checkedText(names.id, MAX_ID, 'a message id');
}

export function encodeMessage(id: string, message: Uint8Array): Bytes {
  const name = utf8(id);
  return concatBytes(Uint8Array.of(name.length), name, message);
}

export function decodeMessage(sequence: bigint, value: Bytes): StoredMessage {
  const start = 1 + (value[0] ?? 0);
  return { sequence, id: text(value.subarray(1, start)), message: copyBytes(value.subarray(start)) };
}

/** Encodes the record of a waiting id. */
export function encodePosition({ key, sequence }: Position): Bytes {
  return concatBytes(Uint8Array.of(WAITING), u64be(sequence), utf8(key));
}

/** Undefined if the id does not wait. */
export function decodePosition(value: Bytes | undefined): Position | undefined {
  if (value?.[0] !== WAITING) return undefined;
  return { sequence: sequenceAt(value, 1), key: text(value.subarray(1 + SEQUENCE_BYTES)) };
}

function checkedText(text: string, max: number, what: string): Bytes {
  const bytes = utf8(text);
  if (bytes.length < 1 || bytes.length > max)
    throw new MillraceError('E_INPUT', `${what} has 1 to ${max} bytes of UTF-8, not ${bytes.length}`);
  return bytes;
}

function text(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
}

function sequenceAt(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset + at, SEQUENCE_BYTES).getBigUint64(0);
}
