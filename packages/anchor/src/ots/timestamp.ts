import { type Bytes, compareBytes, concatBytes, equalBytes, MillraceError, toHex, utf8 } from '@millrace/base';
import { ripemd160, sha1 } from '@noble/hashes/legacy.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { keccak_256 } from '@noble/hashes/sha3.js';

// The file format of OpenTimestamps, version 1: https://github.com/opentimestamps/python-opentimestamps. A timestamp is
// a tree. Each node is a message, each edge an operation on it, each leaf an attestation of a message.

export type Attestation =
  /** A calendar has accepted the message and will include it in a Bitcoin block. */
  | { readonly type: 'pending'; readonly calendar: string }
  /** The message is the Merkle root of the Bitcoin block of this height. */
  | { readonly type: 'bitcoin'; readonly height: number }
  | { readonly type: 'unknown'; readonly tag: Bytes; readonly payload: Bytes };

interface Operation {
  readonly tag: number;
  /** Argument of `append` and `prepend`. */
  readonly argument?: Bytes;
}

/** Attestations of a message, direct or through operations. */
export interface Timestamp {
  readonly message: Bytes;
  readonly attestations: readonly Attestation[];
  readonly branches: readonly { readonly operation: Operation; readonly result: Timestamp }[];
}

const APPEND = 0xf0;
const PREPEND = 0xf1;
const SHA256 = 0x08;
const FORK = 0xff;
const ATTESTATION = 0x00;

/** Maximum message and maximum argument, bytes. */
const MAX_MESSAGE = 4_096;
const MAX_DEPTH = 256;
/** Maximum number of nodes in one timestamp. Real ones have a few hundred. */
const MAX_NODES = 10_000;
const MAX_PAYLOAD = 8_192;
const MAX_CALENDAR = 1_000;

const TAGS = { bitcoin: '0588960d73d71901', pending: '83dfe30d2ef90c8e' } as const;
const MAGIC = concatBytes(
  Uint8Array.of(0),
  utf8('OpenTimestamps'),
  Uint8Array.of(0, 0),
  utf8('Proof'),
  Uint8Array.of(0, 0xbf, 0x89, 0xe2, 0xe8, 0x84, 0xe8, 0x92, 0x94),
);
const MAJOR_VERSION = 1;

const unary: Readonly<Record<number, (message: Uint8Array) => Uint8Array>> = {
  2: sha1,
  3: ripemd160,
  [SHA256]: sha256,
  103: keccak_256,
  /** Reverses the message. */
  242: (message) => Uint8Array.from(message).reverse(),
  /** Encodes the message in hexadecimal. */
  243: (message) => utf8(toHex(message)),
};

function apply({ tag, argument }: Operation, message: Bytes): Bytes {
  const operate = unary[tag];
  const result =
    operate !== undefined
      ? Uint8Array.from(operate(message))
      : tag === APPEND
        ? concatBytes(message, argument ?? new Uint8Array())
        : concatBytes(argument ?? new Uint8Array(), message);
  if (result.length > MAX_MESSAGE) throw malformed(`a message has more than ${MAX_MESSAGE} bytes`);
  return result;
}

/**
 * Hashes the message with a nonce, so that a calendar does not learn the message. `wrap` attaches the calendar's
 * timestamp to the message.
 */
export function hideMessage(message: Bytes, nonce: Bytes): { hidden: Bytes; wrap(result: Timestamp): Timestamp } {
  const append = { tag: APPEND, argument: nonce };
  const appended = apply(append, message);
  const hash = { tag: SHA256 };
  const hidden = apply(hash, appended);
  return {
    hidden,
    wrap: (result) => ({
      message,
      attestations: [],
      branches: [
        {
          operation: append,
          result: { message: appended, attestations: [], branches: [{ operation: hash, result }] },
        },
      ],
    }),
  };
}

/** All attestations below a timestamp, each with its message. */
export function* attestationsOf(timestamp: Timestamp): Generator<{ message: Bytes; attestation: Attestation }> {
  for (const attestation of timestamp.attestations) yield { message: timestamp.message, attestation };
  for (const { result } of timestamp.branches) yield* attestationsOf(result);
}

/**
 * Merges several timestamps of one message.
 * @throws {MillraceError} E_ANCHOR if their messages differ
 */
export function mergeTimestamps(...timestamps: readonly Timestamp[]): Timestamp {
  const [first] = timestamps;
  if (first === undefined) throw new MillraceError('E_INTERNAL', 'no timestamps to merge');
  const attestations = new Map<string, Attestation>();
  const branches = new Map<string, { operation: Operation; result: Timestamp[] }>();
  for (const { message, attestations: some, branches: edges } of timestamps) {
    if (!equalBytes(message, first.message)) throw malformed('timestamps of different messages');
    for (const attestation of some) attestations.set(toHex(encodeAttestation(attestation)), attestation);
    for (const { operation, result } of edges) {
      const key = toHex(encodeOperation(operation));
      branches.set(key, { operation, result: [...(branches.get(key)?.result ?? []), result] });
    }
  }
  return {
    message: first.message,
    attestations: [...attestations.values()],
    branches: [...branches.values()].map(({ operation, result }) => ({
      operation,
      result: mergeTimestamps(...result),
    })),
  };
}

/** A copy of the timestamp in which `change` may replace nodes. */
export async function replaceNodes(
  timestamp: Timestamp,
  change: (node: Timestamp) => Promise<Timestamp | undefined>,
): Promise<Timestamp> {
  const changed = (await change(timestamp)) ?? timestamp;
  const branches = await Promise.all(
    changed.branches.map(async ({ operation, result }) => ({ operation, result: await replaceNodes(result, change) })),
  );
  return { ...changed, branches };
}

/** A `.ots` file: a timestamp of a SHA-256 digest. */
export function encodeTimestampFile(timestamp: Timestamp): Bytes {
  return concatBytes(MAGIC, Uint8Array.of(MAJOR_VERSION, SHA256), timestamp.message, encodeTimestamp(timestamp));
}

/** @throws {MillraceError} E_ANCHOR */
export function decodeTimestampFile(bytes: Uint8Array): Timestamp {
  const reader = new Reader(bytes);
  if (!equalBytes(reader.take(MAGIC.length), MAGIC)) throw malformed('no timestamp file');
  const version = reader.byte();
  if (version !== MAJOR_VERSION) throw malformed(`version ${version}`);
  if (reader.byte() !== SHA256) throw malformed('not the timestamp of a SHA-256 digest');
  const timestamp = readTimestamp(reader, reader.take(32), { left: MAX_NODES }, 0);
  reader.end();
  return timestamp;
}

/** @throws {MillraceError} E_ANCHOR */
export function decodeTimestamp(bytes: Uint8Array, message: Bytes): Timestamp {
  const reader = new Reader(bytes);
  const timestamp = readTimestamp(reader, message, { left: MAX_NODES }, 0);
  reader.end();
  return timestamp;
}

export function encodeTimestamp({ attestations, branches }: Timestamp): Bytes {
  const parts = [
    ...attestations
      .map((attestation) => concatBytes(Uint8Array.of(ATTESTATION), encodeAttestation(attestation)))
      .sort(compareBytes),
    ...branches
      .map(({ operation, result }) => concatBytes(encodeOperation(operation), encodeTimestamp(result)))
      .sort(compareBytes),
  ];
  if (parts.length === 0) throw malformed('a timestamp that attests to nothing');
  const last = parts.length - 1;
  return concatBytes(...parts.map((part, i) => (i < last ? concatBytes(Uint8Array.of(FORK), part) : part)));
}

function readTimestamp(reader: Reader, message: Bytes, nodes: { left: number }, depth: number): Timestamp {
  if (depth > MAX_DEPTH) throw malformed(`more than ${MAX_DEPTH} operations in a row`);
  const attestations: Attestation[] = [];
  const branches: { operation: Operation; result: Timestamp }[] = [];
  for (let more = true; more; ) {
    if (nodes.left-- <= 0) throw malformed(`more than ${MAX_NODES} nodes`);
    let tag = reader.byte();
    more = tag === FORK;
    if (more) tag = reader.byte();
    if (tag === ATTESTATION) {
      attestations.push(readAttestation(reader));
    } else {
      const operation = readOperation(reader, tag);
      const result = readTimestamp(reader, apply(operation, message), nodes, depth + 1);
      branches.push({ operation, result });
    }
  }
  return { message, attestations, branches };
}

function readOperation(reader: Reader, tag: number): Operation {
  if (unary[tag] !== undefined) return { tag };
  if (tag !== APPEND && tag !== PREPEND) throw malformed(`operation ${tag}`);
  const argument = reader.variable(MAX_MESSAGE);
  if (argument.length === 0) throw malformed('an operation with nothing to add');
  return { tag, argument };
}

function encodeOperation({ tag, argument }: Operation): Bytes {
  return argument === undefined
    ? Uint8Array.of(tag)
    : concatBytes(Uint8Array.of(tag), encodeNumber(argument.length), argument);
}

function readAttestation(reader: Reader): Attestation {
  const tag = reader.take(8);
  const payload = reader.variable(MAX_PAYLOAD);
  const inner = new Reader(payload);
  switch (toHex(tag)) {
    case TAGS.bitcoin: {
      const height = inner.number();
      inner.end();
      return { type: 'bitcoin', height };
    }
    case TAGS.pending: {
      const calendar = new TextDecoder().decode(inner.variable(MAX_CALENDAR));
      inner.end();
      // These characters allow no query, credentials or escapes.
      if (!/^[A-Za-z0-9\-._/:]+$/.test(calendar)) throw malformed('a calendar with a wrong address');
      return { type: 'pending', calendar };
    }
    default:
      return { type: 'unknown', tag, payload };
  }
}

function encodeAttestation(attestation: Attestation): Bytes {
  const [tag, payload] = attestationParts(attestation);
  return concatBytes(tag, encodeNumber(payload.length), payload);
}

function attestationParts(attestation: Attestation): [Uint8Array, Uint8Array] {
  if (attestation.type === 'unknown') return [attestation.tag, attestation.payload];
  if (attestation.type === 'bitcoin') return [Buffer.from(TAGS.bitcoin, 'hex'), encodeNumber(attestation.height)];
  const calendar = utf8(attestation.calendar);
  return [Buffer.from(TAGS.pending, 'hex'), concatBytes(encodeNumber(calendar.length), calendar)];
}

/** LEB128, unsigned. */
function encodeNumber(value: number): Bytes {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) + 0x80);
  return Uint8Array.of(...bytes, value);
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  take(length: number): Bytes {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw malformed('it ends too early');
    const part = this.#bytes.slice(this.#at, end);
    this.#at = end;
    return Uint8Array.from(part);
  }

  byte(): number {
    return this.take(1)[0] ?? 0;
  }

  number(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = this.byte();
      value += (byte % 0x80) * scale;
      if (!Number.isSafeInteger(value)) throw malformed('a number that is too large');
      if (byte < 0x80) return value;
    }
  }

  variable(most: number): Bytes {
    const length = this.number();
    if (length > most) throw malformed(`a field of ${length} bytes; at most ${most} are allowed`);
    return this.take(length);
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw malformed('bytes follow its end');
  }
}

function malformed(what: string): MillraceError {
  return new MillraceError('E_ANCHOR', `the timestamp is malformed: ${what}`);
}
