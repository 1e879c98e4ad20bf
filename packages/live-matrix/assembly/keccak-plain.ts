import { BLOCK, CONSTANTS, RESULTS, STATE_A, STATE_E, VALUES } from './layout';

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

/** The block to STATE_A, then the rounds. The result is lane 0 at STATE_A: rounds are even. */
function permute(low: u64, rounds: i32): void {
  memory.copy(STATE_A, BLOCK, 200);
  store<u64>(STATE_A, load<u64>(STATE_A) ^ low);
  for (let i = 24 - rounds; i < 24; i += 2) {
    round(STATE_A, STATE_E, load<u64>(CONSTANTS + ((<usize>i) << 3)));
    round(STATE_E, STATE_A, load<u64>(CONSTANTS + 8 + ((<usize>i) << 3)));
  }
}

/** Lane 0 of H for the `count` values at VALUES, 8 bytes each to RESULTS. */
export function hashBatch(count: i32, rounds: i32): void {
  for (let i: usize = 0; i < <usize>count; i++) {
    permute(<u64>load<u32>(VALUES + (i << 2)), rounds);
    store<u64>(RESULTS + (i << 3), load<u64>(STATE_A));
  }
}

/** Low words of H for first, first + 1, …, 4 bytes each to RESULTS. */
export function hashRange(first: u32, count: i32, rounds: i32): void {
  for (let i: u32 = 0; i < <u32>count; i++) {
    permute(<u64>(first + i), rounds);
    store<u32>(RESULTS + ((<usize>i) << 2), load<u32>(STATE_A));
  }
}

/** Overwrites everything that was computed from a key. */
export function wipe(): void {
  memory.fill(BLOCK, 0, 200);
  memory.fill(STATE_A, 0, 400);
  memory.fill(STATE_E, 0, 400);
  memory.fill(VALUES, 0, 4096 * 12);
}
