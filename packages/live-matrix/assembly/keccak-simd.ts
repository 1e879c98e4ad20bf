import {
  BASE,
  BLOCK,
  CONSTANTS,
  DIFFERENCES,
  RANGE,
  RESULTS,
  STATE_A,
  STATE_B,
  STATE_E,
  STATE_F,
  VALUES,
} from './layout';

// Two hashes in parallel, one in each half of a v128. The state is in linear memory, because with 25 vectors in locals
// the speed of engines varied widely.

function turn(lane: v128, bits: i32): v128 {
  return v128.or(v128.shl<i64>(lane, bits), v128.shr<u64>(lane, 64 - bits));
}

function pair(a: u32, b: u32): v128 {
  return v128.replace_lane<u64>(v128.splat<u64>(<u64>a), 1, <u64>b);
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

/** Theta, rho and pi of a round: the input of its chi. */
function beforeChi(s: usize, d: usize): void {
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
  v128.store(d, v128.xor(v128.load(s, 0), d0), 0);
  v128.store(d, turn(v128.xor(v128.load(s, 96), d1), 44), 16);
  v128.store(d, turn(v128.xor(v128.load(s, 192), d2), 43), 32);
  v128.store(d, turn(v128.xor(v128.load(s, 288), d3), 21), 48);
  v128.store(d, turn(v128.xor(v128.load(s, 384), d4), 14), 64);
  v128.store(d, turn(v128.xor(v128.load(s, 48), d3), 28), 80);
  v128.store(d, turn(v128.xor(v128.load(s, 144), d4), 20), 96);
  v128.store(d, turn(v128.xor(v128.load(s, 160), d0), 3), 112);
  v128.store(d, turn(v128.xor(v128.load(s, 256), d1), 45), 128);
  v128.store(d, turn(v128.xor(v128.load(s, 352), d2), 61), 144);
  v128.store(d, turn(v128.xor(v128.load(s, 16), d1), 1), 160);
  v128.store(d, turn(v128.xor(v128.load(s, 112), d2), 6), 176);
  v128.store(d, turn(v128.xor(v128.load(s, 208), d3), 25), 192);
  v128.store(d, turn(v128.xor(v128.load(s, 304), d4), 8), 208);
  v128.store(d, turn(v128.xor(v128.load(s, 320), d0), 18), 224);
  v128.store(d, turn(v128.xor(v128.load(s, 64), d4), 27), 240);
  v128.store(d, turn(v128.xor(v128.load(s, 80), d0), 36), 256);
  v128.store(d, turn(v128.xor(v128.load(s, 176), d1), 10), 272);
  v128.store(d, turn(v128.xor(v128.load(s, 272), d2), 15), 288);
  v128.store(d, turn(v128.xor(v128.load(s, 368), d3), 56), 304);
  v128.store(d, turn(v128.xor(v128.load(s, 32), d2), 62), 320);
  v128.store(d, turn(v128.xor(v128.load(s, 128), d3), 55), 336);
  v128.store(d, turn(v128.xor(v128.load(s, 224), d4), 39), 352);
  v128.store(d, turn(v128.xor(v128.load(s, 240), d0), 41), 368);
  v128.store(d, turn(v128.xor(v128.load(s, 336), d1), 2), 384);
}

/** Chi and iota of a round, on the state at s plus a difference (one word for each lane). */
function afterDifference(s: usize, difference: usize, d: usize, constant: v128): void {
  let b0 = v128.xor(v128.load(s, 0), v128.load64_splat(difference, 0));
  let b1 = v128.xor(v128.load(s, 16), v128.load64_splat(difference, 8));
  let b2 = v128.xor(v128.load(s, 32), v128.load64_splat(difference, 16));
  let b3 = v128.xor(v128.load(s, 48), v128.load64_splat(difference, 24));
  let b4 = v128.xor(v128.load(s, 64), v128.load64_splat(difference, 32));
  v128.store(d, v128.xor(v128.xor(b0, v128.andnot(b2, b1)), constant), 0);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 16);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 32);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 48);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 64);
  b0 = v128.xor(v128.load(s, 80), v128.load64_splat(difference, 40));
  b1 = v128.xor(v128.load(s, 96), v128.load64_splat(difference, 48));
  b2 = v128.xor(v128.load(s, 112), v128.load64_splat(difference, 56));
  b3 = v128.xor(v128.load(s, 128), v128.load64_splat(difference, 64));
  b4 = v128.xor(v128.load(s, 144), v128.load64_splat(difference, 72));
  v128.store(d, v128.xor(b0, v128.andnot(b2, b1)), 80);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 96);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 112);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 128);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 144);
  b0 = v128.xor(v128.load(s, 160), v128.load64_splat(difference, 80));
  b1 = v128.xor(v128.load(s, 176), v128.load64_splat(difference, 88));
  b2 = v128.xor(v128.load(s, 192), v128.load64_splat(difference, 96));
  b3 = v128.xor(v128.load(s, 208), v128.load64_splat(difference, 104));
  b4 = v128.xor(v128.load(s, 224), v128.load64_splat(difference, 112));
  v128.store(d, v128.xor(b0, v128.andnot(b2, b1)), 160);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 176);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 192);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 208);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 224);
  b0 = v128.xor(v128.load(s, 240), v128.load64_splat(difference, 120));
  b1 = v128.xor(v128.load(s, 256), v128.load64_splat(difference, 128));
  b2 = v128.xor(v128.load(s, 272), v128.load64_splat(difference, 136));
  b3 = v128.xor(v128.load(s, 288), v128.load64_splat(difference, 144));
  b4 = v128.xor(v128.load(s, 304), v128.load64_splat(difference, 152));
  v128.store(d, v128.xor(b0, v128.andnot(b2, b1)), 240);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 256);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 272);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 288);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 304);
  b0 = v128.xor(v128.load(s, 320), v128.load64_splat(difference, 160));
  b1 = v128.xor(v128.load(s, 336), v128.load64_splat(difference, 168));
  b2 = v128.xor(v128.load(s, 352), v128.load64_splat(difference, 176));
  b3 = v128.xor(v128.load(s, 368), v128.load64_splat(difference, 184));
  b4 = v128.xor(v128.load(s, 384), v128.load64_splat(difference, 192));
  v128.store(d, v128.xor(b0, v128.andnot(b2, b1)), 320);
  v128.store(d, v128.xor(b1, v128.andnot(b3, b2)), 336);
  v128.store(d, v128.xor(b2, v128.andnot(b4, b3)), 352);
  v128.store(d, v128.xor(b3, v128.andnot(b0, b4)), 368);
  v128.store(d, v128.xor(b4, v128.andnot(b1, b0)), 384);
}

/** Lane 0 after the last round. */
function last(s: usize, constant: v128): v128 {
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
  const b0 = v128.xor(v128.load(s, 0), d0);
  const b1 = turn(v128.xor(v128.load(s, 96), d1), 44);
  const b2 = turn(v128.xor(v128.load(s, 192), d2), 43);
  return v128.xor(v128.xor(b0, v128.andnot(b2, b1)), constant);
}

function constant(i: i32): v128 {
  return v128.load64_splat(CONSTANTS + ((<usize>i) << 3));
}

/**
 * Rounds `from` (even) to 23 on the two states at STATE_A and STATE_B. Lane 0 of each result is written to the start of
 * its state. The two states are interleaved, because each round depends on the previous one and would leave the
 * processor idle.
 */
function finish(from: i32): void {
  for (let i = from; i < 22; i += 2) {
    const even = constant(i);
    const odd = constant(i + 1);
    round(STATE_A, STATE_E, even);
    round(STATE_B, STATE_F, even);
    round(STATE_E, STATE_A, odd);
    round(STATE_F, STATE_B, odd);
  }
  round(STATE_A, STATE_E, constant(22));
  round(STATE_B, STATE_F, constant(22));
  v128.store(STATE_A, last(STATE_E, constant(23)));
  v128.store(STATE_B, last(STATE_F, constant(23)));
}

/** Copies the block to both halves of `state`, with `low` added to lane 0. */
function fill(state: usize, low: v128): void {
  for (let lane: usize = 0; lane < 25; lane++) {
    v128.store(state + (lane << 4), v128.load64_splat(BLOCK + (lane << 3)));
  }
  v128.store(state, v128.xor(v128.load(state), low));
}

/** Lane 0 of H for the `count` values at VALUES, 8 bytes each to RESULTS; up to three values more are computed. */
export function hashBatch(count: i32, rounds: i32): void {
  for (let i: usize = 0; i < <usize>count; i += 4) {
    fill(STATE_A, pair(load<u32>(VALUES + (i << 2)), load<u32>(VALUES + (i << 2), 4)));
    fill(STATE_B, pair(load<u32>(VALUES + (i << 2), 8), load<u32>(VALUES + (i << 2), 12)));
    finish(24 - rounds);
    v128.store(RESULTS + (i << 3), v128.load(STATE_A));
    v128.store(RESULTS + (i << 3), v128.load(STATE_B), 16);
  }
}

/** Writes the input of the second round's chi, for two values, to `to`. */
function beforeSecondChi(low: v128, from: i32, to: usize): void {
  fill(STATE_A, low);
  round(STATE_A, STATE_E, constant(from));
  beforeChi(STATE_E, to);
}

/**
 * Low words of H for the 2^15 values from `first`, a multiple of 2^15, 4 bytes each to RANGE: the state before the
 * second chi is affine in bits 9 to 14 of g (native/keccak.inc.h says why).
 */
export function hashSuperblock(first: u32, rounds: i32): void {
  const from = 24 - rounds;
  beforeSecondChi(pair(first, first), from, BASE);
  for (let inner: u32 = 0; inner < 64; inner += 2) {
    const to = DIFFERENCES + <usize>inner * 200;
    beforeSecondChi(pair(first + (inner << 9), first + ((inner + 1) << 9)), from, STATE_A);
    for (let lane: usize = 0; lane < 25; lane++) {
      const difference = v128.xor(v128.load(STATE_A + (lane << 4)), v128.load(BASE + (lane << 4)));
      store<u64>(to + (lane << 3), v128.extract_lane<u64>(difference, 0));
      store<u64>(to + (lane << 3), v128.extract_lane<u64>(difference, 1), 200);
    }
  }
  for (let outer: u32 = 0; outer < 512; outer += 2) {
    beforeSecondChi(pair(first + outer, first + outer + 1), from, BASE);
    for (let inner: u32 = 0; inner < 64; inner += 2) {
      const difference = DIFFERENCES + <usize>inner * 200;
      afterDifference(BASE, difference, STATE_A, constant(from + 1));
      afterDifference(BASE, difference + 200, STATE_B, constant(from + 1));
      finish(from + 2);
      const to = RANGE + ((<usize>((inner << 9) + outer)) << 2);
      store<u32>(to, load<u32>(STATE_A));
      store<u32>(to, load<u32>(STATE_A, 8), 4);
      store<u32>(to, load<u32>(STATE_B), 2048);
      store<u32>(to, load<u32>(STATE_B, 8), 2052);
    }
  }
}

/** Wipes all data derived from a key. */
export function wipe(): void {
  memory.fill(BLOCK, 0, 200);
  memory.fill(STATE_A, 0, 400);
  memory.fill(STATE_B, 0, 400);
  memory.fill(STATE_E, 0, 400);
  memory.fill(STATE_F, 0, 400);
  memory.fill(BASE, 0, 400);
  memory.fill(DIFFERENCES, 0, 64 * 200);
  memory.fill(VALUES, 0, 4096 * 12);
}
