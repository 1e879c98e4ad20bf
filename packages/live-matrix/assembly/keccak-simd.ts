import { BLOCK, CONSTANTS, RESULTS, STATE_A, STATE_E, VALUES } from './layout';

// Two hashes side by side, one in each half of a v128. The state stays in linear memory: with 25 vectors in locals
// the engines' register allocation was erratic.

function turn(lane: v128, bits: i32): v128 {
  return v128.or(v128.shl<i64>(lane, bits), v128.shr<u64>(lane, 64 - bits));
}

/** One round of Keccak-p[1600] from the state at s to the state at d. */
function round(s: usize, d: usize, constant: v128): void {
  const c0 = v128.xor(
    v128.xor(v128.xor(v128.xor(v128.load(s, 0), v128.load(s, 80)), v128.load(s, 160)), v128.load(s, 240)),
    v128.load(s, 320),
  );
  const c1 = v128.xor(
    v128.xor(v128.xor(v128.xor(v128.load(s, 16), v128.load(s, 96)), v128.load(s, 176)), v128.load(s, 256)),
    v128.load(s, 336),
  );
  const c2 = v128.xor(
    v128.xor(v128.xor(v128.xor(v128.load(s, 32), v128.load(s, 112)), v128.load(s, 192)), v128.load(s, 272)),
    v128.load(s, 352),
  );
  const c3 = v128.xor(
    v128.xor(v128.xor(v128.xor(v128.load(s, 48), v128.load(s, 128)), v128.load(s, 208)), v128.load(s, 288)),
    v128.load(s, 368),
  );
  const c4 = v128.xor(
    v128.xor(v128.xor(v128.xor(v128.load(s, 64), v128.load(s, 144)), v128.load(s, 224)), v128.load(s, 304)),
    v128.load(s, 384),
  );
  const d0 = v128.xor(c4, turn(c1, 1));
  const d1 = v128.xor(c0, turn(c2, 1));
  const d2 = v128.xor(c1, turn(c3, 1));
  const d3 = v128.xor(c2, turn(c4, 1));
  const d4 = v128.xor(c3, turn(c0, 1));
  // row 0
  let b0 = v128.xor(v128.load(s, 0), d0);
  let b1 = turn(v128.xor(v128.load(s, 96), d1), 44);
  let b2 = turn(v128.xor(v128.load(s, 192), d2), 43);
  let b3 = turn(v128.xor(v128.load(s, 288), d3), 21);
  let b4 = turn(v128.xor(v128.load(s, 384), d4), 14);
  v128.store(d, v128.xor(v128.xor(b0, v128.andnot(b2, b1)), constant), 0);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 16);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 32);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 48);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 64);
  // row 1
  b0 = turn(v128.xor(v128.load(s, 48), d3), 28);
  b1 = turn(v128.xor(v128.load(s, 144), d4), 20);
  b2 = turn(v128.xor(v128.load(s, 160), d0), 3);
  b3 = turn(v128.xor(v128.load(s, 256), d1), 45);
  b4 = turn(v128.xor(v128.load(s, 352), d2), 61);
  v128.store(d, v128.xor(b0, v128.andnot(b2, b1)), 80);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 96);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 112);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 128);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 144);
  // row 2
  b0 = turn(v128.xor(v128.load(s, 16), d1), 1);
  b1 = turn(v128.xor(v128.load(s, 112), d2), 6);
  b2 = turn(v128.xor(v128.load(s, 208), d3), 25);
  b3 = turn(v128.xor(v128.load(s, 304), d4), 8);
  b4 = turn(v128.xor(v128.load(s, 320), d0), 18);
  v128.store(d, v128.xor(b0, v128.andnot(b2, b1)), 160);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 176);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 192);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 208);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 224);
  // row 3
  b0 = turn(v128.xor(v128.load(s, 64), d4), 27);
  b1 = turn(v128.xor(v128.load(s, 80), d0), 36);
  b2 = turn(v128.xor(v128.load(s, 176), d1), 10);
  b3 = turn(v128.xor(v128.load(s, 272), d2), 15);
  b4 = turn(v128.xor(v128.load(s, 368), d3), 56);
  v128.store(d, v128.xor(b0, v128.andnot(b2, b1)), 240);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 256);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 272);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 288);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 304);
  // row 4
  b0 = turn(v128.xor(v128.load(s, 32), d2), 62);
  b1 = turn(v128.xor(v128.load(s, 128), d3), 55);
  b2 = turn(v128.xor(v128.load(s, 224), d4), 39);
  b3 = turn(v128.xor(v128.load(s, 240), d0), 41);
  b4 = turn(v128.xor(v128.load(s, 336), d1), 2);
  v128.store(d, v128.xor(b0, v128.andnot(b2, b1)), 320);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 336);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 352);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 368);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 384);
}

/** Lanes of the block, doubled, to STATE_A; then the rounds. The result is lane 0 at STATE_A: rounds are even. */
function permute(low: v128, rounds: i32): void {
  v128.store(STATE_A, v128.xor(v128.splat<u64>(load<u64>(BLOCK)), low));
  for (let lane: usize = 1; lane < 25; lane++) {
    v128.store(STATE_A + (lane << 4), v128.splat<u64>(load<u64>(BLOCK + (lane << 3))));
  }
  for (let i = 24 - rounds; i < 24; i += 2) {
    round(STATE_A, STATE_E, v128.splat<u64>(load<u64>(CONSTANTS + ((<usize>i) << 3))));
    round(STATE_E, STATE_A, v128.splat<u64>(load<u64>(CONSTANTS + 8 + ((<usize>i) << 3))));
  }
}

function pair(a: u64, b: u64): v128 {
  return v128.replace_lane<u64>(v128.splat<u64>(a), 1, b);
}

/** Lane 0 of H for the `count` values at VALUES, 8 bytes each to RESULTS. An odd count computes one value more. */
export function hashBatch(count: i32, rounds: i32): void {
  for (let i: usize = 0; i < <usize>count; i += 2) {
    permute(pair(<u64>load<u32>(VALUES + (i << 2)), <u64>load<u32>(VALUES + 4 + (i << 2))), rounds);
    v128.store(RESULTS + (i << 3), v128.load(STATE_A));
  }
}

/** Low words of H for first, first + 1, …, 4 bytes each to RESULTS. */
export function hashRange(first: u32, count: i32, rounds: i32): void {
  for (let i: u32 = 0; i < <u32>count; i += 2) {
    permute(pair(<u64>(first + i), <u64>(first + i + 1)), rounds);
    const to = RESULTS + ((<usize>i) << 2);
    store<u32>(to, load<u32>(STATE_A));
    store<u32>(to + 4, load<u32>(STATE_A + 8));
  }
}

/** Overwrites everything that was computed from a key. */
export function wipe(): void {
  memory.fill(BLOCK, 0, 200);
  memory.fill(STATE_A, 0, 400);
  memory.fill(STATE_E, 0, 400);
  memory.fill(VALUES, 0, 4096 * 12);
}
