import type { Candidates } from '../code/solve.ts';
import type { HashEngine, HashKey } from '../engines/engine.ts';

const VALUES = 256;

/**
 * Finds all values whose code of order 8 equals that of each hint. The table is only 256 hashes, so it is computed for
 * each frame and wiped: a receiver of this order holds only its keys.
 * @param codes hints as numbers; of sparse ones the lowest byte is looked up
 * @param skip 1 where the hint is chaff: its only candidate is then 0
 */
export function lookUpSmall(engine: HashEngine, key: HashKey, codes: Uint32Array, skip: Uint8Array): Candidates {
  const words = new Uint32Array(VALUES);
  engine.hashRange(key, 0, words);
  // Counting sort: values of code c are sorted[ends[c - 1]] to sorted[ends[c] - 1].
  const ends = new Uint16Array(VALUES);
  for (const word of words) ends[word & 0xff] = (ends[word & 0xff] ?? 0) + 1;
  for (let code = 1; code < VALUES; code++) ends[code] = (ends[code] ?? 0) + (ends[code - 1] ?? 0);
  const sorted = new Uint8Array(VALUES);
  const next = ends.slice();
  for (let value = VALUES - 1; value >= 0; value--) {
    const code = (words[value] ?? 0) & 0xff;
    const at = (next[code] ?? 0) - 1;
    next[code] = at;
    sorted[at] = value;
  }
  const starts = new Uint32Array(codes.length + 1);
  for (let i = 0; i < codes.length; i++) {
    const code = (codes[i] ?? 0) & 0xff;
    const count = skip[i] === 1 ? 1 : (ends[code] ?? 0) - (code === 0 ? 0 : (ends[code - 1] ?? 0));
    starts[i + 1] = (starts[i] ?? 0) + count;
  }
  const values = new Uint32Array(starts[codes.length] ?? 0);
  for (let i = 0; i < codes.length; i++) {
    if (skip[i] === 1) continue;
    const code = (codes[i] ?? 0) & 0xff;
    for (let from = code === 0 ? 0 : (ends[code - 1] ?? 0), to = starts[i] ?? 0; from < (ends[code] ?? 0); )
      values[to++] = sorted[from++] ?? 0;
  }
  words.fill(0);
  sorted.fill(0);
  next.fill(0);
  ends.fill(0);
  return { starts, values };
}
