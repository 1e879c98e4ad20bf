import type { HashEngine, HashKey } from '../engines/engine.ts';
import type { Order } from '../parameters.ts';

/*
 * The keystream of a frame: lane 0 of H for g = frame·2^32 + i, under the revision's parity key. The three uses take
 * different i, so that no word is used twice. A (revision, frame) pair is used for one cell only.
 */
const MASK_FROM = 0;
const PLACES_FROM = 2 ** 20;
const CHAFF_FROM = 2 ** 21;

/** Masks or unmasks in place: XOR with the keystream's bytes, 8 per hash. */
export function maskBytes(engine: HashEngine, key: HashKey, frame: number, bytes: Uint8Array): void {
  const words = keystream(engine, key, frame, MASK_FROM, Math.ceil(bytes.length / 8));
  for (let i = 0; i < bytes.length; i++) bytes[i] = (bytes[i] ?? 0) ^ ((words[i >> 2] ?? 0) >>> (8 * (i & 3)));
  words.fill(0);
}

/**
 * Selects which hints of a frame are chaff: a selection sample of exactly `chaff` among `hints` places (Knuth, The Art
 * of Computer Programming 3.4.2, algorithm S), using one keystream word per place.
 * @returns one byte per place: 1 is chaff
 */
export function chaffPlaces(engine: HashEngine, key: HashKey, frame: number, hints: number, chaff: number): Uint8Array {
  const places = new Uint8Array(hints);
  if (chaff === 0) return places;
  const words = keystream(engine, key, frame, PLACES_FROM, Math.ceil(hints / 2));
  let left = chaff;
  for (let i = 0; i < hints && left > 0; i++) {
    if (Math.floor(((words[i] ?? 0) * (hints - i)) / 2 ** 32) < left) {
      places[i] = 1;
      left--;
    }
  }
  return places;
}

/**
 * Values for chaff to hash. Hints of data repeat as often as `hints - chaff` draws out of 2^order do. `chaff` draws
 * repeat equally often if they are taken from proportionally fewer values; these are the first ones.
 */
export function chaffValues(
  engine: HashEngine,
  key: HashKey,
  frame: number,
  order: Order,
  hints: number,
  chaff: number,
): Uint32Array {
  const words = keystream(engine, key, frame, CHAFF_FROM, chaff);
  const values = Math.floor((2 ** order * chaff) / (hints - chaff));
  // 29 bits times 24 are exact in a double.
  return Uint32Array.from({ length: chaff }, (_, i) => Math.floor((((words[2 * i] ?? 0) >>> 3) * values) / 2 ** 29));
}

function keystream(engine: HashEngine, key: HashKey, frame: number, from: number, count: number): Uint32Array {
  const out = new Uint32Array(2 * count);
  engine.hashBatch(
    key,
    frame,
    Uint32Array.from({ length: count }, (_, i) => from + i),
    out,
  );
  return out;
}
