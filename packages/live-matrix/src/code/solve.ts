import { COLUMN_WORDS } from './generator.ts';
import type { Block } from './layout.ts';
import { addColumns } from './parity.ts';

/** The candidates of every hint of a frame: those of hint i are values[starts[i]] to values[starts[i+1]-1]. */
export interface Candidates {
  readonly starts: Uint32Array;
  readonly values: Uint32Array;
}

/**
 * Tells the candidates of a block apart by its parity: the first candidate of every hint is assumed, every other is an
 * unknown (take it instead: yes or no), and the parity's bits are linear equations in the unknowns over GF(2).
 *
 * Each unknown's vector (the parity that taking it would change) is reduced by the ones before it, which become a
 * basis in echelon form; what it was reduced by is kept, so that walking back gives the unknowns themselves.
 * @param parity the frame's parity, unmasked
 * @param out one value for each hint of the frame, written for this block
 * @returns false when there is no solution, or more than one
 */
export function solveBlock(
  candidates: Candidates,
  segmentBits: number,
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
    addColumns(target, 0, words, place, segmentBits, values[start] ?? 0);
    for (let at = start + 1; at < end; at++) {
      unknowns.push(at);
      owners.push(place);
    }
  }
  const mask = lastWordMask(block.parityBytes);
  maskLast(target, 0, words, mask);
  if (unknowns.length > 8 * block.parityBytes) return false;

  const basis = new Uint32Array(unknowns.length * COLUMN_WORDS);
  const pivots = new Uint16Array(unknowns.length);
  const usedWords = Math.ceil(unknowns.length / 32);
  const used = new Uint32Array((unknowns.length + 1) * usedWords);
  for (let j = 0; j < unknowns.length; j++) {
    const place = owners[j] ?? 0;
    const at = j * COLUMN_WORDS;
    const change = (values[unknowns[j] ?? 0] ?? 0) ^ (out[block.first + place] ?? 0);
    addColumns(basis, at, words, place, segmentBits, change);
    maskLast(basis, at, words, mask);
    reduce(basis, at, basis, pivots, j, words, used, j * usedWords);
    const pivot = lowestBit(basis, at, words);
    if (pivot < 0) return false; // it can be taken or left: several solutions
    pivots[j] = pivot;
  }
  const last = unknowns.length * usedWords;
  reduce(target, 0, basis, pivots, unknowns.length, words, used, last);
  if (lowestBit(target, 0, words) >= 0) return false; // no solution

  let previousOwner = -1;
  for (let j = unknowns.length - 1; j >= 0; j--) {
    if ((((used[last + (j >> 5)] ?? 0) >>> (j & 31)) & 1) === 0) continue;
    for (let word = 0; word < usedWords; word++) {
      used[last + word] = (used[last + word] ?? 0) ^ (used[j * usedWords + word] ?? 0);
    }
    const place = owners[j] ?? 0;
    if (place === previousOwner) return false; // two candidates taken for one hint
    previousOwner = place;
    out[block.first + place] = values[unknowns[j] ?? 0] ?? 0;
  }
  return true;
}

/** Clears from the vector every pivot of the first `count` basis vectors; bit i of `used` says that i was added. */
function reduce(
  vector: Uint32Array,
  at: number,
  basis: Uint32Array,
  pivots: Uint16Array,
  count: number,
  words: number,
  used: Uint32Array,
  usedAt: number,
): void {
  for (let i = 0; i < count; i++) {
    const pivot = pivots[i] ?? 0;
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

/** Columns are longer than a block's parity: what lies beyond its last byte does not count. */
function lastWordMask(parityBytes: number): number {
  const bytes = parityBytes & 3;
  return bytes === 0 ? 0xffffffff : 2 ** (8 * bytes) - 1;
}

function maskLast(vector: Uint32Array, at: number, words: number, mask: number): void {
  vector[at + words - 1] = (vector[at + words - 1] ?? 0) & mask;
}
