import { BASE, BLOCK, CONSTANTS, DIFFERENCES, RANGE, RESULTS, STATE_A, STATE_E, VALUES } from './layout';

// One hash at a time, for hosts without SIMD.

function turn(lane: u64, bits: i32): u64 {
  return rotl<u64>(lane, bits);
}

/** One round of Keccak-p[1600] from the state at s to the state at d. */
function round(s: usize, d: usize, constant: u64): void {
  const c0 = load<u64>(s, 0) ^ load<u64>(s, 40) ^ load<u64>(s, 80) ^ load<u64>(s, 120) ^ load<u64>(s, 160);
  const c1 = load<u64>(s, 8) ^ load<u64>(s, 48) ^ load<u64>(s, 88) ^ load<u64>(s, 128) ^ load<u64>(s, 168);
  const c2 = load<u64>(s, 16) ^ load<u64>(s, 56) ^ load<u64>(s, 96) ^ load<u64>(s, 136) ^ load<u64>(s, 176);
  const c3 = load<u64>(s, 24) ^ load<u64>(s, 64) ^ load<u64>(s, 104) ^ load<u64>(s, 144) ^ load<u64>(s, 184);
  const c4 = load<u64>(s, 32) ^ load<u64>(s, 72) ^ load<u64>(s, 112) ^ load<u64>(s, 152) ^ load<u64>(s, 192);
  const d0 = c4 ^ turn(c1, 1);
  const d1 = c0 ^ turn(c2, 1);
  const d2 = c1 ^ turn(c3, 1);
  const d3 = c2 ^ turn(c4, 1);
  const d4 = c3 ^ turn(c0, 1);
  // row 0
  let b0 = load<u64>(s, 0) ^ d0;
  let b1 = turn(load<u64>(s, 48) ^ d1, 44);
  let b2 = turn(load<u64>(s, 96) ^ d2, 43);
  let b3 = turn(load<u64>(s, 144) ^ d3, 21);
  let b4 = turn(load<u64>(s, 192) ^ d4, 14);
  store<u64>(d, b0 ^ (~b1 & b2) ^ constant, 0);
  store<u64>(d, b1 ^ (~b2 & b3), 8);
  store<u64>(d, b2 ^ (~b3 & b4), 16);
  store<u64>(d, b3 ^ (~b4 & b0), 24);
  store<u64>(d, b4 ^ (~b0 & b1), 32);
  // row 1
  b0 = turn(load<u64>(s, 24) ^ d3, 28);
  b1 = turn(load<u64>(s, 72) ^ d4, 20);
  b2 = turn(load<u64>(s, 80) ^ d0, 3);
  b3 = turn(load<u64>(s, 128) ^ d1, 45);
  b4 = turn(load<u64>(s, 176) ^ d2, 61);
  store<u64>(d, b0 ^ (~b1 & b2), 40);
  store<u64>(d, b1 ^ (~b2 & b3), 48);
  store<u64>(d, b2 ^ (~b3 & b4), 56);
  store<u64>(d, b3 ^ (~b4 & b0), 64);
  store<u64>(d, b4 ^ (~b0 & b1), 72);
  // row 2
  b0 = turn(load<u64>(s, 8) ^ d1, 1);
  b1 = turn(load<u64>(s, 56) ^ d2, 6);
  b2 = turn(load<u64>(s, 104) ^ d3, 25);
  b3 = turn(load<u64>(s, 152) ^ d4, 8);
  b4 = turn(load<u64>(s, 160) ^ d0, 18);
  store<u64>(d, b0 ^ (~b1 & b2), 80);
  store<u64>(d, b1 ^ (~b2 & b3), 88);
  store<u64>(d, b2 ^ (~b3 & b4), 96);
  store<u64>(d, b3 ^ (~b4 & b0), 104);
  store<u64>(d, b4 ^ (~b0 & b1), 112);
  // row 3
  b0 = turn(load<u64>(s, 32) ^ d4, 27);
  b1 = turn(load<u64>(s, 40) ^ d0, 36);
  b2 = turn(load<u64>(s, 88) ^ d1, 10);
  b3 = turn(load<u64>(s, 136) ^ d2, 15);
  b4 = turn(load<u64>(s, 184) ^ d3, 56);
  store<u64>(d, b0 ^ (~b1 & b2), 120);
  store<u64>(d, b1 ^ (~b2 & b3), 128);
  store<u64>(d, b2 ^ (~b3 & b4), 136);
  store<u64>(d, b3 ^ (~b4 & b0), 144);
  store<u64>(d, b4 ^ (~b0 & b1), 152);
  // row 4
  b0 = turn(load<u64>(s, 16) ^ d2, 62);
  b1 = turn(load<u64>(s, 64) ^ d3, 55);
  b2 = turn(load<u64>(s, 112) ^ d4, 39);
  b3 = turn(load<u64>(s, 120) ^ d0, 41);
  b4 = turn(load<u64>(s, 168) ^ d1, 2);
  store<u64>(d, b0 ^ (~b1 & b2), 160);
  store<u64>(d, b1 ^ (~b2 & b3), 168);
  store<u64>(d, b2 ^ (~b3 & b4), 176);
  store<u64>(d, b3 ^ (~b4 & b0), 184);
  store<u64>(d, b4 ^ (~b0 & b1), 192);
}

/** Theta, rho and pi of a round: the input of its chi. */
function beforeChi(s: usize, d: usize): void {
  const c0 = load<u64>(s, 0) ^ load<u64>(s, 40) ^ load<u64>(s, 80) ^ load<u64>(s, 120) ^ load<u64>(s, 160);
  const c1 = load<u64>(s, 8) ^ load<u64>(s, 48) ^ load<u64>(s, 88) ^ load<u64>(s, 128) ^ load<u64>(s, 168);
  const c2 = load<u64>(s, 16) ^ load<u64>(s, 56) ^ load<u64>(s, 96) ^ load<u64>(s, 136) ^ load<u64>(s, 176);
  const c3 = load<u64>(s, 24) ^ load<u64>(s, 64) ^ load<u64>(s, 104) ^ load<u64>(s, 144) ^ load<u64>(s, 184);
  const c4 = load<u64>(s, 32) ^ load<u64>(s, 72) ^ load<u64>(s, 112) ^ load<u64>(s, 152) ^ load<u64>(s, 192);
  const d0 = c4 ^ turn(c1, 1);
  const d1 = c0 ^ turn(c2, 1);
  const d2 = c1 ^ turn(c3, 1);
  const d3 = c2 ^ turn(c4, 1);
  const d4 = c3 ^ turn(c0, 1);
  store<u64>(d, load<u64>(s, 0) ^ d0, 0);
  store<u64>(d, turn(load<u64>(s, 48) ^ d1, 44), 8);
  store<u64>(d, turn(load<u64>(s, 96) ^ d2, 43), 16);
  store<u64>(d, turn(load<u64>(s, 144) ^ d3, 21), 24);
  store<u64>(d, turn(load<u64>(s, 192) ^ d4, 14), 32);
  store<u64>(d, turn(load<u64>(s, 24) ^ d3, 28), 40);
  store<u64>(d, turn(load<u64>(s, 72) ^ d4, 20), 48);
  store<u64>(d, turn(load<u64>(s, 80) ^ d0, 3), 56);
  store<u64>(d, turn(load<u64>(s, 128) ^ d1, 45), 64);
  store<u64>(d, turn(load<u64>(s, 176) ^ d2, 61), 72);
  store<u64>(d, turn(load<u64>(s, 8) ^ d1, 1), 80);
  store<u64>(d, turn(load<u64>(s, 56) ^ d2, 6), 88);
  store<u64>(d, turn(load<u64>(s, 104) ^ d3, 25), 96);
  store<u64>(d, turn(load<u64>(s, 152) ^ d4, 8), 104);
  store<u64>(d, turn(load<u64>(s, 160) ^ d0, 18), 112);
  store<u64>(d, turn(load<u64>(s, 32) ^ d4, 27), 120);
  store<u64>(d, turn(load<u64>(s, 40) ^ d0, 36), 128);
  store<u64>(d, turn(load<u64>(s, 88) ^ d1, 10), 136);
  store<u64>(d, turn(load<u64>(s, 136) ^ d2, 15), 144);
  store<u64>(d, turn(load<u64>(s, 184) ^ d3, 56), 152);
  store<u64>(d, turn(load<u64>(s, 16) ^ d2, 62), 160);
  store<u64>(d, turn(load<u64>(s, 64) ^ d3, 55), 168);
  store<u64>(d, turn(load<u64>(s, 112) ^ d4, 39), 176);
  store<u64>(d, turn(load<u64>(s, 120) ^ d0, 41), 184);
  store<u64>(d, turn(load<u64>(s, 168) ^ d1, 2), 192);
}

/** Chi and iota of a round, on the state at s plus a difference (one word for each lane). */
function afterDifference(s: usize, difference: usize, d: usize, constant: u64): void {
  let b0 = load<u64>(s, 0) ^ load<u64>(difference, 0);
  let b1 = load<u64>(s, 8) ^ load<u64>(difference, 8);
  let b2 = load<u64>(s, 16) ^ load<u64>(difference, 16);
  let b3 = load<u64>(s, 24) ^ load<u64>(difference, 24);
  let b4 = load<u64>(s, 32) ^ load<u64>(difference, 32);
  store<u64>(d, b0 ^ (~b1 & b2) ^ constant, 0);
  store<u64>(d, b1 ^ (~b2 & b3), 8);
  store<u64>(d, b2 ^ (~b3 & b4), 16);
  store<u64>(d, b3 ^ (~b4 & b0), 24);
  store<u64>(d, b4 ^ (~b0 & b1), 32);
  b0 = load<u64>(s, 40) ^ load<u64>(difference, 40);
  b1 = load<u64>(s, 48) ^ load<u64>(difference, 48);
  b2 = load<u64>(s, 56) ^ load<u64>(difference, 56);
  b3 = load<u64>(s, 64) ^ load<u64>(difference, 64);
  b4 = load<u64>(s, 72) ^ load<u64>(difference, 72);
  store<u64>(d, b0 ^ (~b1 & b2), 40);
  store<u64>(d, b1 ^ (~b2 & b3), 48);
  store<u64>(d, b2 ^ (~b3 & b4), 56);
  store<u64>(d, b3 ^ (~b4 & b0), 64);
  store<u64>(d, b4 ^ (~b0 & b1), 72);
  b0 = load<u64>(s, 80) ^ load<u64>(difference, 80);
  b1 = load<u64>(s, 88) ^ load<u64>(difference, 88);
  b2 = load<u64>(s, 96) ^ load<u64>(difference, 96);
  b3 = load<u64>(s, 104) ^ load<u64>(difference, 104);
  b4 = load<u64>(s, 112) ^ load<u64>(difference, 112);
  store<u64>(d, b0 ^ (~b1 & b2), 80);
  store<u64>(d, b1 ^ (~b2 & b3), 88);
  store<u64>(d, b2 ^ (~b3 & b4), 96);
  store<u64>(d, b3 ^ (~b4 & b0), 104);
  store<u64>(d, b4 ^ (~b0 & b1), 112);
  b0 = load<u64>(s, 120) ^ load<u64>(difference, 120);
  b1 = load<u64>(s, 128) ^ load<u64>(difference, 128);
  b2 = load<u64>(s, 136) ^ load<u64>(difference, 136);
  b3 = load<u64>(s, 144) ^ load<u64>(difference, 144);
  b4 = load<u64>(s, 152) ^ load<u64>(difference, 152);
  store<u64>(d, b0 ^ (~b1 & b2), 120);
  store<u64>(d, b1 ^ (~b2 & b3), 128);
  store<u64>(d, b2 ^ (~b3 & b4), 136);
  store<u64>(d, b3 ^ (~b4 & b0), 144);
  store<u64>(d, b4 ^ (~b0 & b1), 152);
  b0 = load<u64>(s, 160) ^ load<u64>(difference, 160);
  b1 = load<u64>(s, 168) ^ load<u64>(difference, 168);
  b2 = load<u64>(s, 176) ^ load<u64>(difference, 176);
  b3 = load<u64>(s, 184) ^ load<u64>(difference, 184);
  b4 = load<u64>(s, 192) ^ load<u64>(difference, 192);
  store<u64>(d, b0 ^ (~b1 & b2), 160);
  store<u64>(d, b1 ^ (~b2 & b3), 168);
  store<u64>(d, b2 ^ (~b3 & b4), 176);
  store<u64>(d, b3 ^ (~b4 & b0), 184);
  store<u64>(d, b4 ^ (~b0 & b1), 192);
}

/** Lane 0 after the last round. */
function last(s: usize, constant: u64): u64 {
  const c0 = load<u64>(s, 0) ^ load<u64>(s, 40) ^ load<u64>(s, 80) ^ load<u64>(s, 120) ^ load<u64>(s, 160);
  const c1 = load<u64>(s, 8) ^ load<u64>(s, 48) ^ load<u64>(s, 88) ^ load<u64>(s, 128) ^ load<u64>(s, 168);
  const c2 = load<u64>(s, 16) ^ load<u64>(s, 56) ^ load<u64>(s, 96) ^ load<u64>(s, 136) ^ load<u64>(s, 176);
  const c3 = load<u64>(s, 24) ^ load<u64>(s, 64) ^ load<u64>(s, 104) ^ load<u64>(s, 144) ^ load<u64>(s, 184);
  const c4 = load<u64>(s, 32) ^ load<u64>(s, 72) ^ load<u64>(s, 112) ^ load<u64>(s, 152) ^ load<u64>(s, 192);
  const d0 = c4 ^ turn(c1, 1);
  const d1 = c0 ^ turn(c2, 1);
  const d2 = c1 ^ turn(c3, 1);
  const b0 = load<u64>(s, 0) ^ d0;
  const b1 = turn(load<u64>(s, 48) ^ d1, 44);
  const b2 = turn(load<u64>(s, 96) ^ d2, 43);
  return b0 ^ (~b1 & b2) ^ constant;
}

function constant(i: i32): u64 {
  return load<u64>(CONSTANTS + ((<usize>i) << 3));
}

/** Rounds `from` (even) to 23 on the state at STATE_A. @returns lane 0 of the result */
function finish(from: i32): u64 {
  for (let i = from; i < 22; i += 2) {
    round(STATE_A, STATE_E, constant(i));
    round(STATE_E, STATE_A, constant(i + 1));
  }
  round(STATE_A, STATE_E, constant(22));
  return last(STATE_E, constant(23));
}

/** Copies the block to STATE_A, with `low` added to lane 0. */
function fill(low: u32): void {
  memory.copy(STATE_A, BLOCK, 200);
  store<u64>(STATE_A, load<u64>(STATE_A) ^ <u64>low);
}

/** Lane 0 of H for the `count` values at VALUES, 8 bytes each to RESULTS. */
export function hashBatch(count: i32, rounds: i32): void {
  for (let i: usize = 0; i < <usize>count; i++) {
    fill(load<u32>(VALUES + (i << 2)));
    store<u64>(RESULTS + (i << 3), finish(24 - rounds));
  }
}

/** Writes the input of the second round's chi to `to`. */
function beforeSecondChi(low: u32, from: i32, to: usize): void {
  fill(low);
  round(STATE_A, STATE_E, constant(from));
  beforeChi(STATE_E, to);
}

/**
 * Low words of H for the 2^15 values from `first`, a multiple of 2^15, 4 bytes each to RANGE: the state before the
 * second chi is affine in bits 9 to 14 of g (native/keccak.inc.h says why).
 */
export function hashSuperblock(first: u32, rounds: i32): void {
  const from = 24 - rounds;
  beforeSecondChi(first, from, BASE);
  for (let inner: u32 = 0; inner < 64; inner++) {
    const to = DIFFERENCES + <usize>inner * 200;
    beforeSecondChi(first + (inner << 9), from, to);
    for (let lane: usize = 0; lane < 200; lane += 8)
      store<u64>(to + lane, load<u64>(to + lane) ^ load<u64>(BASE + lane));
  }
  for (let outer: u32 = 0; outer < 512; outer++) {
    beforeSecondChi(first + outer, from, BASE);
    for (let inner: u32 = 0; inner < 64; inner++) {
      afterDifference(BASE, DIFFERENCES + <usize>inner * 200, STATE_A, constant(from + 1));
      store<u32>(RANGE + ((<usize>((inner << 9) + outer)) << 2), <u32>finish(from + 2));
    }
  }
}

/** Wipes all data derived from a key. */
export function wipe(): void {
  memory.fill(BLOCK, 0, 200);
  memory.fill(STATE_A, 0, 400);
  memory.fill(STATE_E, 0, 400);
  memory.fill(BASE, 0, 400);
  memory.fill(DIFFERENCES, 0, 64 * 200);
  memory.fill(VALUES, 0, 4096 * 12);
}
