// The parity code (spec/live-matrix.md, section 6): sums of 512-bit columns and elimination over GF(2). Compiled twice,
// with and without SIMD. The host writes COLUMNS once and all other inputs before each call.

// Addresses in linear memory, bytes.
/** The generator: 8208 columns of 64 bytes. */
export const COLUMNS: usize = 0x20000;
/**
 * solve: for each hint a word with the index of its first candidate, one end index, then the candidates, 4 bytes each.
 */
const STARTS: usize = 0x1000;
const CANDIDATES: usize = 0x1800;
/** solve: the block's parity, 64 bytes; the result, one word for each hint. */
const PARITY: usize = 0x3000;
const SOLVED: usize = 0x3100;
/** parity: for each of up to 32 blocks, its number of hints; its values, 342 words; its parity, 64 bytes. */
const SIZES: usize = 0x3000;
const SUMS_OUT: usize = 0x3100;
const VALUES: usize = 0x4000;
const VALUES_STRIDE: usize = 342 * 4;
/** parity: the 16 sums for every half byte of a symbol. */
const NIBBLES: usize = 0xf000;
/** solve: rows, sums of a group, and the record of additions to rows. */
const ROWS: usize = 0x4000;
const GROUP_SUMS: usize = 0xc000;
const USED: usize = 0x10000;
const ORIGIN: usize = 0x18000;
const TARGET_USED: usize = 0x18200;
const PLACES: usize = 0x18400;
/** A bit for each unknown: one solution, and up to 8 combinations of parity 0 that may be added to it. */
const TAKEN: usize = 0x18c00;
const NULLS: usize = 0x18c40;
const NULL_USED: usize = 0x18f00;
const ROW_VALUES: usize = 0x19000;
const PIVOTS: usize = 0x19800;

const GROUP: u32 = 8;
const MAX_NULLS: u32 = 8;
const NO_PIVOT: u32 = 512;

/** to ^= from, 64 bytes. */
function add(to: usize, from: usize): void {
  if (ASC_FEATURE_SIMD) {
    v128.store(to, v128.xor(v128.load(to), v128.load(from)));
    v128.store(to, v128.xor(v128.load(to, 16), v128.load(from, 16)), 16);
    v128.store(to, v128.xor(v128.load(to, 32), v128.load(from, 32)), 32);
    v128.store(to, v128.xor(v128.load(to, 48), v128.load(from, 48)), 48);
  } else {
    for (let i: usize = 0; i < 64; i += 8) store<u64>(to + i, load<u64>(to + i) ^ load<u64>(from + i));
  }
}

/** to = a ^ b. */
function sum(to: usize, a: usize, b: usize): void {
  if (ASC_FEATURE_SIMD) {
    v128.store(to, v128.xor(v128.load(a), v128.load(b)));
    v128.store(to, v128.xor(v128.load(a, 16), v128.load(b, 16)), 16);
    v128.store(to, v128.xor(v128.load(a, 32), v128.load(b, 32)), 32);
    v128.store(to, v128.xor(v128.load(a, 48), v128.load(b, 48)), 48);
  } else {
    for (let i: usize = 0; i < 64; i += 8) store<u64>(to + i, load<u64>(a + i) ^ load<u64>(b + i));
  }
}

/** Adds the columns of the bits that are set in `value` to `to`. */
function addColumns(to: usize, place: u32, symbolBits: u32, value: u32): void {
  const from = COLUMNS + ((<usize>(place * symbolBits)) << 6);
  for (let rest = value; rest != 0; rest &= rest - 1) add(to, from + ((<usize>ctz<u32>(rest)) << 6));
}

/** Parity of `blocks` blocks (at most 32), to SUMS_OUT. */
export function parity(blocks: u32, symbolBits: u32): void {
  memory.fill(SUMS_OUT, 0, (<usize>blocks) << 6);
  let places: u32 = 0;
  for (let block: u32 = 0; block < blocks; block++) {
    places = max<u32>(places, load<u32>(SIZES + ((<usize>block) << 2)));
  }
  if (blocks < 4) {
    for (let block: u32 = 0; block < blocks; block++) {
      const size = load<u32>(SIZES + ((<usize>block) << 2));
      for (let place: u32 = 0; place < size; place++) {
        const value = load<u32>(VALUES + <usize>block * VALUES_STRIDE + ((<usize>place) << 2));
        addColumns(SUMS_OUT + ((<usize>block) << 6), place, symbolBits, value);
      }
    }
    return;
  }
  // All blocks use the same columns, so the 16 sums of every four columns are computed once (method of the four
  // Russians).
  for (let place: u32 = 0; place < places; place++) {
    for (let nibble: u32 = 0; nibble < symbolBits >> 2; nibble++) {
      const from = COLUMNS + ((<usize>(place * symbolBits + (nibble << 2))) << 6);
      const to = NIBBLES + ((<usize>nibble) << 10);
      for (let i: usize = 0; i < 64; i += 8) store<u64>(to + i, 0);
      for (let i: u32 = 1; i < 16; i++) {
        sum(to + ((<usize>i) << 6), to + ((<usize>(i & (i - 1))) << 6), from + ((<usize>ctz<u32>(i)) << 6));
      }
    }
    for (let block: u32 = 0; block < blocks; block++) {
      if (place >= load<u32>(SIZES + ((<usize>block) << 2))) continue;
      let value = load<u32>(VALUES + <usize>block * VALUES_STRIDE + ((<usize>place) << 2));
      const to = SUMS_OUT + ((<usize>block) << 6);
      for (let nibble: usize = 0; value != 0; nibble++, value >>= 4) {
        add(to, NIBBLES + (nibble << 10) + ((<usize>(value & 15)) << 6));
      }
    }
  }
}

function bitOf(row: usize, at: u32): u32 {
  return (load<u32>(row + ((<usize>(at >> 5)) << 2)) >> (at & 31)) & 1;
}

/** Index of the lowest set bit, or NO_PIVOT. */
function lowestBit(row: usize): u32 {
  for (let i: u32 = 0; i < 8; i++) {
    const word = load<u64>(row + ((<usize>i) << 3));
    if (word != 0) return (i << 6) + <u32>ctz<u64>(word);
  }
  return NO_PIVOT;
}

/** Clears the bits beyond the block's parity. */
function cut(row: usize, parityBytes: u32): void {
  memory.fill(row + parityBytes, 0, 64 - parityBytes);
}

function swapRows(first: u32, a: u32, b: u32): void {
  const rows = ROWS + ((<usize>first) << 6);
  // Swap by three XORs: the rows are different.
  add(rows + ((<usize>a) << 6), rows + ((<usize>b) << 6));
  add(rows + ((<usize>b) << 6), rows + ((<usize>a) << 6));
  add(rows + ((<usize>a) << 6), rows + ((<usize>b) << 6));
  const origin = load<u8>(ORIGIN + first + a);
  store<u8>(ORIGIN + first + a, load<u8>(ORIGIN + first + b));
  store<u8>(ORIGIN + first + b, origin);
  const pivot = load<u32>(PIVOTS + ((<usize>a) << 2));
  store<u32>(PIVOTS + ((<usize>a) << 2), load<u32>(PIVOTS + ((<usize>b) << 2)));
  store<u32>(PIVOTS + ((<usize>b) << 2), pivot);
}

/**
 * Brings a group's rows to reduced echelon form. Dependent rows become 0 and move to the end. @returns the number of
 * independent rows
 */
function reduceGroup(first: u32, count: u32): u32 {
  const rows = ROWS + ((<usize>first) << 6);
  for (let i: u32 = 0; i < count; i++) store<u8>(ORIGIN + first + i, <u8>((<u32>1) << i));
  for (let i: u32 = 0; i < count; i++) {
    const pivot = lowestBit(rows + ((<usize>i) << 6));
    store<u32>(PIVOTS + ((<usize>i) << 2), pivot);
    if (pivot == NO_PIVOT) continue;
    for (let j: u32 = 0; j < count; j++) {
      if (j == i || bitOf(rows + ((<usize>j) << 6), pivot) == 0) continue;
      add(rows + ((<usize>j) << 6), rows + ((<usize>i) << 6));
      store<u8>(ORIGIN + first + j, load<u8>(ORIGIN + first + j) ^ load<u8>(ORIGIN + first + i));
    }
  }
  let independent = count;
  for (let i: u32 = 0; i < independent; ) {
    if (load<u32>(PIVOTS + ((<usize>i) << 2)) != NO_PIVOT) {
      i++;
    } else {
      independent--;
      if (i != independent) swapRows(first, i, independent);
    }
  }
  return independent;
}

/** Selects the unknowns `sum` of a group. The additions to them then have to be selected from earlier groups. */
function takeFromGroup(group: u32, sum: u32, used: usize, taken: usize): void {
  for (let rest = sum; rest != 0; rest &= rest - 1) {
    const row = group * GROUP + ctz<u32>(rest);
    store<u8>(taken + (row >> 3), load<u8>(taken + (row >> 3)) ^ <u8>((<u32>1) << (row & 7)));
    for (let earlier: u32 = 0; earlier < group; earlier++) {
      const added = load<u8>(USED + ((<usize>row) << 6) + earlier);
      store<u8>(used + earlier, load<u8>(used + earlier) ^ added);
    }
  }
}

/** Resolves the sums that were added into the unknowns, last group first. */
function walkBack(groups: u32, used: usize, taken: usize): void {
  for (let group = groups; group-- > 0; ) {
    let sum: u32 = 0;
    for (let rest: u32 = load<u8>(used + group); rest != 0; rest &= rest - 1) {
      sum ^= load<u8>(ORIGIN + group * GROUP + ctz<u32>(rest));
    }
    takeFromGroup(group, sum, used, taken);
  }
}

/** Whether the solution at TAKEN selects at most one candidate for each hint. Optionally writes it. */
function isValid(n: u32, write: bool): bool {
  let previous: u32 = 0xffff;
  for (let i: u32 = 0; i < n; i++) {
    if (((load<u8>(TAKEN + (i >> 3)) >> <u8>(i & 7)) & 1) == 0) continue;
    const place: u32 = load<u16>(PLACES + ((<usize>i) << 1));
    if (place == previous) return false;
    previous = place;
    if (write) store<u32>(SOLVED + ((<usize>place) << 2), load<u32>(ROW_VALUES + ((<usize>i) << 2)));
  }
  return true;
}

function readPivots(row: usize, count: u32): u32 {
  let index: u32 = 0;
  for (let i: u32 = 0; i < count; i++) index |= bitOf(row, load<u32>(PIVOTS + ((<usize>i) << 2))) << i;
  return index;
}

/**
 * Solves one block of `hints` hints: see native/code.inc.h for the method.
 * @returns 1 when there is exactly one solution, which is then at SOLVED
 */
export function solve(hints: u32, symbolBits: u32, parityBytes: u32): u32 {
  const most = parityBytes << 3;
  let n: u32 = 0;
  for (let place: u32 = 0; place < hints; place++) {
    const start = load<u32>(STARTS + ((<usize>place) << 2));
    const end = load<u32>(STARTS + ((<usize>place) << 2), 4);
    if (start >= end || end - start > most - n + 1) return 0;
    const assumed = load<u32>(CANDIDATES + ((<usize>start) << 2));
    store<u32>(SOLVED + ((<usize>place) << 2), assumed);
    addColumns(PARITY, place, symbolBits, assumed);
    for (let at = start + 1; at < end; at++, n++) {
      const value = load<u32>(CANDIDATES + ((<usize>at) << 2));
      const row = ROWS + ((<usize>n) << 6);
      for (let i: usize = 0; i < 64; i += 8) store<u64>(row + i, 0);
      addColumns(row, place, symbolBits, value ^ assumed);
      cut(row, parityBytes);
      store<u32>(ROW_VALUES + ((<usize>n) << 2), value);
      store<u16>(PLACES + ((<usize>n) << 1), <u16>place);
    }
  }
  cut(PARITY, parityBytes);

  for (let i: usize = 0; i < 64; i += 8) store<u64>(GROUP_SUMS + i, 0);
  let nulls: u32 = 0;
  for (let first: u32 = 0, group: u32 = 0; first < n; first += GROUP, group++) {
    const count = min<u32>(n - first, GROUP);
    const independent = reduceGroup(first, count);
    for (let i = independent; i < count; i++) {
      if (nulls == MAX_NULLS) return 0;
      const combination = NULLS + ((<usize>nulls) << 6);
      nulls++;
      memory.fill(combination, 0, 64);
      memory.fill(NULL_USED, 0, 64);
      takeFromGroup(group, load<u8>(ORIGIN + first + i), NULL_USED, combination);
      walkBack(group, NULL_USED, combination);
    }
    for (let i: u32 = 1; i < (<u32>1) << independent; i++) {
      const row = ROWS + ((<usize>(first + ctz<u32>(i))) << 6);
      sum(GROUP_SUMS + ((<usize>i) << 6), GROUP_SUMS + ((<usize>(i & (i - 1))) << 6), row);
    }
    for (let j = first + GROUP; j < n; j++) {
      const row = ROWS + ((<usize>j) << 6);
      const index = readPivots(row, independent);
      if (index != 0) add(row, GROUP_SUMS + ((<usize>index) << 6));
      store<u8>(USED + ((<usize>j) << 6) + group, <u8>index);
    }
    const index = readPivots(PARITY, independent);
    add(PARITY, GROUP_SUMS + ((<usize>index) << 6));
    store<u8>(TARGET_USED + group, <u8>index);
  }
  if (lowestBit(PARITY) != NO_PIVOT) return 0;

  // Exactly one solution of the equations must be valid.
  memory.fill(TAKEN, 0, 64);
  walkBack((n + GROUP - 1) / GROUP, TARGET_USED, TAKEN);
  let valid: u32 = 0;
  for (let i: u32 = 0; i < (<u32>1) << nulls; i++) {
    if (i > 0) add(TAKEN, NULLS + ((<usize>ctz<u32>(i)) << 6));
    if (!isValid(n, false)) continue;
    if (valid > 0) return 0;
    valid = 1;
    isValid(n, true);
  }
  return valid;
}
