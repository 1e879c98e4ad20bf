import type { HashEngine, HashKey } from '../engines/engine.ts';

const CHUNK = 2 ** 15;

/** Result of one task: pairs of (index of the code, g). */
export type SweepMatches = readonly (readonly [code: number, g: bigint])[];

/** Hashes g = first … first+count-1, all with the same upper half, and matches them with the codes. */
export function sweepPiece(
  engine: HashEngine,
  key: HashKey,
  order: number,
  codes: readonly bigint[],
  first: bigint,
  count: number,
): SweepMatches {
  const wordBits = Math.min(32, order);
  const places = new Map<number, number[]>();
  // One bit for each of 2^20 low parts of a code: one lookup rules out most hashes.
  const filter = new Uint32Array(2 ** 15);
  const filterMask = 2 ** Math.min(20, order) - 1;
  for (const [place, code] of codes.entries()) {
    const word = Number(BigInt.asUintN(32, code));
    places.set(word, [...(places.get(word) ?? []), place]);
    filter[(word & filterMask) >>> 5] = (filter[(word & filterMask) >>> 5] ?? 0) | (1 << (word & 31));
  }
  const wordMask = 2 ** wordBits - 1;
  const high = Number(first >> 32n);
  const low = Number(BigInt.asUintN(32, first));
  const out = new Uint32Array(CHUNK);
  const maybe: [number, bigint][] = [];
  for (let at = 0; at < count; at += CHUNK) {
    const chunk = out.subarray(0, Math.min(CHUNK, count - at));
    engine.hashRange(key, low + at, chunk, high);
    for (let i = 0; i < chunk.length; i++) {
      const word = chunk[i] ?? 0;
      if ((((filter[(word & filterMask) >>> 5] ?? 0) >>> (word & 31)) & 1) === 0) continue;
      for (const place of places.get((word & wordMask) >>> 0) ?? []) maybe.push([place, first + BigInt(at + i)]);
    }
  }
  return order <= 32 ? maybe : maybe.filter(([place, g]) => codeOf(engine, key, order, g) === codes[place]);
}

function codeOf(engine: HashEngine, key: HashKey, order: number, g: bigint): bigint {
  const out = new Uint32Array(2);
  engine.hashBatch(key, Number(g >> 32n), Uint32Array.of(Number(BigInt.asUintN(32, g))), out);
  return BigInt.asUintN(order, (BigInt(out[1] ?? 0) << 32n) | BigInt(out[0] ?? 0));
}
