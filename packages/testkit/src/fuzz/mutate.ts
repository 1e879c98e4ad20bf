import { type Bytes, concatBytes, copyBytes, encodeCbor } from '@millrace/base';
import type { Random } from './random.ts';

/** Maximum length of an input. */
const MAX_BYTES = 100_000;
const numbers = [
  0, 1, 2, 3, 0x17, 0x18, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
];
/**
 * Heads of CBOR items that decoders often handle wrongly: long forms, indefinite lengths, tags, break, undefined, half
 * floats.
 */
const heads = [
  0x18, 0x19, 0x1a, 0x1b, 0x3b, 0x5f, 0x7f, 0x9f, 0xbf, 0xff, 0xc0, 0xd2, 0xf6, 0xf7, 0xf9, 0xfa, 0xfb, 0x5b, 0x7b,
  0x9b, 0xbb,
];

type Step = (bytes: Uint8Array, random: Random, samples: readonly Uint8Array[]) => Bytes;

function splice(bytes: Uint8Array, at: number, removed: number, added: Uint8Array): Bytes {
  return concatBytes(bytes.subarray(0, at), added, bytes.subarray(at + removed));
}

function write(bytes: Uint8Array, at: number, part: Uint8Array): Bytes {
  const out = copyBytes(bytes);
  out.set(part.subarray(0, Math.max(0, out.length - at)), at);
  return out;
}

function numberBytes(random: Random): Uint8Array {
  const width = random.pick([1, 2, 4, 8]);
  const out = new Uint8Array(8);
  const view = new DataView(out.buffer);
  const value = BigInt(random.pick(numbers));
  const sign = random.below(4) === 0 ? -value : value;
  view.setBigUint64(0, BigInt.asUintN(64, sign), random.below(2) === 0);
  return random.below(2) === 0 ? out.subarray(8 - width) : out.subarray(0, width);
}

const range = (bytes: Uint8Array, random: Random): [number, number] => {
  const at = random.below(bytes.length + 1);
  return [at, random.below(Math.min(bytes.length - at, random.pick([1, 4, 32, 1024])) + 1)];
};

const steps: readonly Step[] = [
  // a bit
  (bytes, random) => {
    const out = copyBytes(bytes);
    const at = random.below(out.length);
    out[at] = (out[at] ?? 0) ^ (1 << random.below(8));
    return out;
  },
  // a byte, a number, the head of a CBOR item
  (bytes, random) => write(bytes, random.below(bytes.length + 1), random.bytes(1)),
  (bytes, random) => write(bytes, random.below(bytes.length + 1), numberBytes(random)),
  (bytes, random) => write(bytes, random.below(bytes.length + 1), Uint8Array.of(random.pick(heads))),
  // insert, delete, duplicate, swap, fill
  (bytes, random) => splice(bytes, random.below(bytes.length + 1), 0, random.bytes(1 + random.below(16))),
  (bytes, random) => splice(bytes, ...range(bytes, random), new Uint8Array()),
  (bytes, random) => {
    const [at, length] = range(bytes, random);
    return splice(bytes, at, 0, bytes.subarray(at, at + length));
  },
  (bytes, random) => {
    const [from, length] = range(bytes, random);
    return write(bytes, random.below(bytes.length + 1), bytes.subarray(from, from + length));
  },
  (bytes, random) => {
    const [at, length] = range(bytes, random);
    return copyBytes(bytes).fill(random.pick([0, 0xff, 0x20, 0x30]), at, at + length);
  },
  // truncate, extend
  (bytes, random) => copyBytes(bytes.subarray(0, random.below(bytes.length + 1))),
  (bytes, random) => concatBytes(bytes, random.bytes(1 + random.below(64))),
  // a piece of another sample
  (bytes, random, samples) => {
    const other = random.pick(samples);
    const [from, length] = range(other, random);
    return splice(bytes, ...range(bytes, random), other.subarray(from, from + length));
  },
  (bytes, random, samples) => {
    const other = random.pick(samples);
    const at = random.below(Math.min(bytes.length, other.length) + 1);
    return concatBytes(bytes.subarray(0, at), other.subarray(at));
  },
];

/** A sample with one to four changes; sometimes random bytes or very deep nesting. */
export function mutate(samples: readonly Uint8Array[], random: Random): Bytes {
  const kind = random.below(200);
  if (kind < 4) return random.bytes(random.below(random.pick([4, 64, 1024])));
  if (kind === 4)
    return new Uint8Array(random.below(40_000)).fill(random.pick([0x81, 0xa1, 0xc1, 0x5b, 0x28, 0x7b, 0x9f]));
  let bytes = copyBytes(random.pick(samples));
  for (let i = 1 + random.below(4); i > 0; i--) bytes = random.pick(steps)(bytes, random, samples);
  return bytes.length > MAX_BYTES ? bytes.slice(0, MAX_BYTES) : bytes;
}

type Value = unknown;

/** Values of types that a field may not have. */
function strange(random: Random): Value {
  return random.pick<() => Value>([
    () => null,
    () => true,
    () => random.pick(numbers),
    () => -random.pick(numbers),
    () => BigInt.asUintN(64, -1n),
    () => 0.5,
    () => Number.MAX_SAFE_INTEGER,
    () => '',
    () => '__proto__',
    () => 'x'.repeat(random.pick([1, 64, 65, 5_000])),
    () => '\u0000\ud7ff',
    () => random.bytes(random.pick([0, 1, 15, 16, 17, 31, 32, 33, 64, 65, 66, 5_000])),
    () => [],
    () => ({}),
    () => [[[[]]]],
    () => ({ type: 'x', constructor: 1 }),
    () => Array.from({ length: 300 }, (_, i) => i),
  ])();
}

/**
 * Replaces, removes, duplicates or adds one part of a value: the result is well-formed but invalid. The bytes are in
 * deterministic encoding, so that only the schema can refuse them.
 */
export function mutateValue(value: Value, random: Random): Value {
  const here = random.below(4) === 0;
  if (Array.isArray(value) && !here && value.length > 0) {
    const list = [...value];
    const at = random.below(list.length);
    const kind = random.below(6);
    if (kind === 0) list.splice(at, 1);
    else if (kind === 1) list.push(list[at]);
    else if (kind === 2) list.push(strange(random));
    else list[at] = mutateValue(list[at], random);
    return list;
  }
  if (isRecord(value) && !here) {
    const fields = { ...value };
    const names = Object.keys(fields);
    const name = random.pick(names.length === 0 ? ['x'] : names);
    const kind = random.below(8);
    if (kind === 0) delete fields[name];
    else if (kind === 1)
      fields[random.pick(['x', '', 'constructor', 'toString', 'type', `${name} `])] = strange(random);
    else if (kind === 2) fields[name] = fields[random.pick(names.length === 0 ? ['x'] : names)];
    else fields[name] = mutateValue(fields[name], random);
    return fields;
  }
  if (value instanceof Uint8Array && random.below(2) === 0) return mutate([value], random);
  if (typeof value === 'number' && random.below(2) === 0)
    return value + random.pick([-1, 1, 0.5, -value, 2 ** 32, 2 ** 53]);
  return strange(random);
}

function isRecord(value: Value): value is Record<string, Value> {
  return typeof value === 'object' && value !== null && !(value instanceof Uint8Array) && !Array.isArray(value);
}

/** Deterministic encoding. Values that have none are encoded as null. */
export function encodeLoosely(value: Value): Bytes {
  try {
    return encodeCbor(value as never);
  } catch {
    return encodeCbor(null);
  }
}
