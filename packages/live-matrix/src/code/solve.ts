import { COLUMN_WORDS } from './generator.ts';
import type { Block } from './layout.ts';
import { addColumns } from './parity.ts';

/** The candidates of every hint of a frame: those of hint i are values[starts[i]] to values[starts[i+1]-1]. */
export interface Candidates {
  readonly starts: Uint32Array;
  readonly values: Uint32Array;
}

/** Maximum number of dependencies among unknowns to try out. A block with more is rejected. */
const MAX_NULLS = 8;

/**
 * Selects among the candidates of a block by its parity. The first candidate of every hint is assumed; every other
 * candidate is an unknown (take it instead: yes or no). The parity's bits are linear equations in the unknowns over
 * GF(2).
 *
 * Each unknown's vector (the parity that taking it would change) is reduced by the previous ones, which form a basis in
 * echelon form. The vectors used in each reduction are recorded, so that walking back gives the unknowns. Four
 * candidates of one hint may add up to 0, so unknowns may depend on each other. Exactly one of all solutions must take
 * at most one candidate per hint.
 * @param parity the frame's parity, unmasked
 * @param out one value per hint of the frame; written for this block
 * @returns false if no such solution exists, or more than one
 */
export function solveBlock(
  candidates: Candidates,
  symbolBits: number,
  block: Block,
  parity: Uint8Array,
  out: Uint32Array,
): boolean {
  const { starts, values } = candidates;
  const words = Math.ceil(block.parityBytes / 4);
  const target = new Uint32Array(COLUMN_WORDS);
  for (let i = 0; i < block.parityBytes; i++) {
    target[i >> 2] = (target[i >> 2] ?? 0) ^ ((parity[block.parityAt + i] ?? 0) << (8 * (i & 3)));
  }
  const unknowns: number[] = [];
  const owners: number[] = [];
  for (let place = 0; place < block.hints; place++) {
    const hint = block.first + place;
    const start = starts[hint] ?? 0;
    const end = starts[hint + 1] ?? 0;
    if (start === end) return false;
    out[hint] = values[start] ?? 0;
    addColumns(target, 0, words, place, symbolBits, values[start] ?? 0);
    for (let at = start + 1; at < end; at++) {
      unknowns.push(at);
      owners.push(place);
    }
  }
  const mask = lastWordMask(block.parityBytes);
  maskLast(target, 0, words, mask);
  if (unknowns.length > 8 * block.parityBytes) return false;

  const basis = new Uint32Array(unknowns.length * COLUMN_WORDS);
  const pivots = new Int16Array(unknowns.length);
  const usedWords = Math.ceil(unknowns.length / 32);
  const used = new Uint32Array((unknowns.length + 1) * usedWords);
  const nulls: Uint32Array[] = [];
  for (let j = 0; j < unknowns.length; j++) {
    const place = owners[j] ?? 0;
    const at = j * COLUMN_WORDS;
    const change = (values[unknowns[j] ?? 0] ?? 0) ^ (values[starts[block.first + place] ?? 0] ?? 0);
    addColumns(basis, at, words, place, symbolBits, change);
    maskLast(basis, at, words, mask);
    reduce(basis, at, basis, pivots, j, words, used, j * usedWords);
    const pivot = lowestBit(basis, at, words);
    pivots[j] = pivot;
    if (pivot >= 0) continue;
    if (nulls.length === MAX_NULLS) return false;
    const combination = walkBack(used, usedWords, j, used.slice(j * usedWords, (j + 1) * usedWords));
    combination[j >> 5] = (combination[j >> 5] ?? 0) ^ (1 << (j & 31));
    nulls.push(combination);
  }
  const last = unknowns.length * usedWords;
  reduce(target, 0, basis, pivots, unknowns.length, words, used, last);
  if (lowestBit(target, 0, words) >= 0) return false; // no solution

  const taken = walkBack(used, usedWords, unknowns.length, used.slice(last));
  const valid = pickValid(taken, nulls, owners);
  if (valid === undefined) return false;
  for (const j of bitsOf(valid)) out[block.first + (owners[j] ?? 0)] = values[unknowns[j] ?? 0] ?? 0;
  return true;
}

/** Converts the basis vectors that were added (before number `end`) to the unknowns whose sums they are. */
function walkBack(used: Uint32Array, usedWords: number, end: number, rest: Uint32Array): Uint32Array {
  const taken = new Uint32Array(usedWords);
  for (let j = end - 1; j >= 0; j--) {
    if ((((rest[j >> 5] ?? 0) >>> (j & 31)) & 1) === 0) continue;
    taken[j >> 5] = (taken[j >> 5] ?? 0) | (1 << (j & 31));
    for (let word = 0; word < usedWords; word++) rest[word] = (rest[word] ?? 0) ^ (used[j * usedWords + word] ?? 0);
  }
  return taken;
}

/** The only solution among `taken` plus any sum of `nulls` that takes at most one candidate per hint. */
function pickValid(
  taken: Uint32Array,
  nulls: readonly Uint32Array[],
  owners: readonly number[],
): Uint32Array | undefined {
  let found: Uint32Array | undefined;
  for (let choice = 0; choice < 2 ** nulls.length; choice++) {
    const sum = Uint32Array.from(taken, (word, at) =>
      nulls.reduce((bits, one, i) => ((choice >> i) & 1 ? bits ^ (one[at] ?? 0) : bits), word),
    );
    const places = bitsOf(sum).map((j) => owners[j]);
    if (new Set(places).size !== places.length) continue;
    if (found !== undefined) return undefined;
    found = sum;
  }
  return found;
}

function bitsOf(words: Uint32Array): number[] {
  return [...words].flatMap((word, at) =>
    Array.from({ length: 32 }, (_, bit) => ((word >>> bit) & 1 ? 32 * at + bit : -1)).filter((bit) => bit >= 0),
  );
}

/** Clears from the vector every pivot of the first `count` basis vectors. Bit i of `used` records that i was added. */
function reduce(
  vector: Uint32Array,
  at: number,
  basis: Uint32Array,
  pivots: Int16Array,
  count: number,
  words: number,
  used: Uint32Array,
  usedAt: number,
): void {
  for (let i = 0; i < count; i++) {
    const pivot = pivots[i] ?? 0;
    if (pivot < 0) continue; // depends on other vectors: not part of the basis
    if ((((vector[at + (pivot >> 5)] ?? 0) >>> (pivot & 31)) & 1) === 0) continue;
    for (let word = 0; word < words; word++) {
      vector[at + word] = (vector[at + word] ?? 0) ^ (basis[i * COLUMN_WORDS + word] ?? 0);
    }
    used[usedAt + (i >> 5)] = (used[usedAt + (i >> 5)] ?? 0) | (1 << (i & 31));
  }
}

function lowestBit(vector: Uint32Array, at: number, words: number): number {
  for (let word = 0; word < words; word++) {
    const value = vector[at + word] ?? 0;
    if (value !== 0) return 32 * word + 31 - Math.clz32(value & -value);
  }
  return -1;
}

/** Columns are longer than a block's parity. Bits beyond its last byte are ignored. */
function lastWordMask(parityBytes: number): number {
  const bytes = parityBytes & 3;
  return bytes === 0 ? 0xffffffff : 2 ** (8 * bytes) - 1;
}

function maskLast(vector: Uint32Array, at: number, words: number, mask: number): void {
  vector[at + words - 1] = (vector[at + words - 1] ?? 0) & mask;
}
