/*
 * H for many g, with LANES hashes in parallel: the body of every kernel. A translation unit defines the vector type V
 * and its operations, then includes this file.
 *
 * Only one lane of the block varies, which makes the first round and a half cheap. After the first theta, 11 of the 25
 * lanes depend on g, linearly. The first chi multiplies only bits of g that are 15 or 20 positions apart, so bits 9 to
 * 14 of g are multiplied only with bits 24 and above. Within a block of 2^15 values the state before the second chi is
 * therefore affine in these bits: it is computed once for the other bits, and a table of 64 differences is added. The
 * last round computes lane 0 only.
 */
#include "kernel.h"

#include <string.h>

#define KECCAK_COLUMNS(a) \
  c0 = XOR5(a##0, a##5, a##10, a##15, a##20); \
  c1 = XOR5(a##1, a##6, a##11, a##16, a##21); \
  c2 = XOR5(a##2, a##7, a##12, a##17, a##22); \
  c3 = XOR5(a##3, a##8, a##13, a##18, a##23); \
  c4 = XOR5(a##4, a##9, a##14, a##19, a##24); \
  THETA_EFFECT(0, c4, c1) \
  THETA_EFFECT(1, c0, c2) \
  THETA_EFFECT(2, c1, c3) \
  THETA_EFFECT(3, c2, c4) \
  THETA_EFFECT(4, c3, c0)

#define KECCAK_ROWS(a, e, constant) \
  b0 = THETA(a##0, 0); \
  b1 = ROL(THETA(a##6, 1), 44); \
  b2 = ROL(THETA(a##12, 2), 43); \
  b3 = ROL(THETA(a##18, 3), 21); \
  b4 = ROL(THETA(a##24, 4), 14); \
  e##0 = XOR(CHI(b0, b1, b2), constant); \
  e##1 = CHI(b1, b2, b3); \
  e##2 = CHI(b2, b3, b4); \
  e##3 = CHI(b3, b4, b0); \
  e##4 = CHI(b4, b0, b1); \
  b0 = ROL(THETA(a##3, 3), 28); \
  b1 = ROL(THETA(a##9, 4), 20); \
  b2 = ROL(THETA(a##10, 0), 3); \
  b3 = ROL(THETA(a##16, 1), 45); \
  b4 = ROL(THETA(a##22, 2), 61); \
  e##5 = CHI(b0, b1, b2); \
  e##6 = CHI(b1, b2, b3); \
  e##7 = CHI(b2, b3, b4); \
  e##8 = CHI(b3, b4, b0); \
  e##9 = CHI(b4, b0, b1); \
  b0 = ROL(THETA(a##1, 1), 1); \
  b1 = ROL(THETA(a##7, 2), 6); \
  b2 = ROL(THETA(a##13, 3), 25); \
  b3 = ROL(THETA(a##19, 4), 8); \
  b4 = ROL(THETA(a##20, 0), 18); \
  e##10 = CHI(b0, b1, b2); \
  e##11 = CHI(b1, b2, b3); \
  e##12 = CHI(b2, b3, b4); \
  e##13 = CHI(b3, b4, b0); \
  e##14 = CHI(b4, b0, b1); \
  b0 = ROL(THETA(a##4, 4), 27); \
  b1 = ROL(THETA(a##5, 0), 36); \
  b2 = ROL(THETA(a##11, 1), 10); \
  b3 = ROL(THETA(a##17, 2), 15); \
  b4 = ROL(THETA(a##23, 3), 56); \
  e##15 = CHI(b0, b1, b2); \
  e##16 = CHI(b1, b2, b3); \
  e##17 = CHI(b2, b3, b4); \
  e##18 = CHI(b3, b4, b0); \
  e##19 = CHI(b4, b0, b1); \
  b0 = ROL(THETA(a##2, 2), 62); \
  b1 = ROL(THETA(a##8, 3), 55); \
  b2 = ROL(THETA(a##14, 4), 39); \
  b3 = ROL(THETA(a##15, 0), 41); \
  b4 = ROL(THETA(a##21, 1), 2); \
  e##20 = CHI(b0, b1, b2); \
  e##21 = CHI(b1, b2, b3); \
  e##22 = CHI(b2, b3, b4); \
  e##23 = CHI(b3, b4, b0); \
  e##24 = CHI(b4, b0, b1);

/* Theta, rho and pi of a round: writes the input of its chi to memory, row by row. */
#define KECCAK_BEFORE_CHI(a, to) \
  (to)[0] = THETA(a##0, 0); \
  (to)[1] = ROL(THETA(a##6, 1), 44); \
  (to)[2] = ROL(THETA(a##12, 2), 43); \
  (to)[3] = ROL(THETA(a##18, 3), 21); \
  (to)[4] = ROL(THETA(a##24, 4), 14); \
  (to)[5] = ROL(THETA(a##3, 3), 28); \
  (to)[6] = ROL(THETA(a##9, 4), 20); \
  (to)[7] = ROL(THETA(a##10, 0), 3); \
  (to)[8] = ROL(THETA(a##16, 1), 45); \
  (to)[9] = ROL(THETA(a##22, 2), 61); \
  (to)[10] = ROL(THETA(a##1, 1), 1); \
  (to)[11] = ROL(THETA(a##7, 2), 6); \
  (to)[12] = ROL(THETA(a##13, 3), 25); \
  (to)[13] = ROL(THETA(a##19, 4), 8); \
  (to)[14] = ROL(THETA(a##20, 0), 18); \
  (to)[15] = ROL(THETA(a##4, 4), 27); \
  (to)[16] = ROL(THETA(a##5, 0), 36); \
  (to)[17] = ROL(THETA(a##11, 1), 10); \
  (to)[18] = ROL(THETA(a##17, 2), 15); \
  (to)[19] = ROL(THETA(a##23, 3), 56); \
  (to)[20] = ROL(THETA(a##2, 2), 62); \
  (to)[21] = ROL(THETA(a##8, 3), 55); \
  (to)[22] = ROL(THETA(a##14, 4), 39); \
  (to)[23] = ROL(THETA(a##15, 0), 41); \
  (to)[24] = ROL(THETA(a##21, 1), 2);

/* Chi and iota; LANE_IN(i) is the input. */
#define KECCAK_CHI(LANE_IN, e, constant) \
  b0 = LANE_IN(0); \
  b1 = LANE_IN(1); \
  b2 = LANE_IN(2); \
  b3 = LANE_IN(3); \
  b4 = LANE_IN(4); \
  e##0 = XOR(CHI(b0, b1, b2), constant); \
  e##1 = CHI(b1, b2, b3); \
  e##2 = CHI(b2, b3, b4); \
  e##3 = CHI(b3, b4, b0); \
  e##4 = CHI(b4, b0, b1); \
  b0 = LANE_IN(5); \
  b1 = LANE_IN(6); \
  b2 = LANE_IN(7); \
  b3 = LANE_IN(8); \
  b4 = LANE_IN(9); \
  e##5 = CHI(b0, b1, b2); \
  e##6 = CHI(b1, b2, b3); \
  e##7 = CHI(b2, b3, b4); \
  e##8 = CHI(b3, b4, b0); \
  e##9 = CHI(b4, b0, b1); \
  b0 = LANE_IN(10); \
  b1 = LANE_IN(11); \
  b2 = LANE_IN(12); \
  b3 = LANE_IN(13); \
  b4 = LANE_IN(14); \
  e##10 = CHI(b0, b1, b2); \
  e##11 = CHI(b1, b2, b3); \
  e##12 = CHI(b2, b3, b4); \
  e##13 = CHI(b3, b4, b0); \
  e##14 = CHI(b4, b0, b1); \
  b0 = LANE_IN(15); \
  b1 = LANE_IN(16); \
  b2 = LANE_IN(17); \
  b3 = LANE_IN(18); \
  b4 = LANE_IN(19); \
  e##15 = CHI(b0, b1, b2); \
  e##16 = CHI(b1, b2, b3); \
  e##17 = CHI(b2, b3, b4); \
  e##18 = CHI(b3, b4, b0); \
  e##19 = CHI(b4, b0, b1); \
  b0 = LANE_IN(20); \
  b1 = LANE_IN(21); \
  b2 = LANE_IN(22); \
  b3 = LANE_IN(23); \
  b4 = LANE_IN(24); \
  e##20 = CHI(b0, b1, b2); \
  e##21 = CHI(b1, b2, b3); \
  e##22 = CHI(b2, b3, b4); \
  e##23 = CHI(b3, b4, b0); \
  e##24 = CHI(b4, b0, b1);

/* Lane 0 after the last round. */
#define KECCAK_LAST(a, result, constant) \
  KECCAK_COLUMNS(a) \
  b0 = THETA(a##0, 0); \
  b1 = ROL(THETA(a##6, 1), 44); \
  b2 = ROL(THETA(a##12, 2), 43); \
  result = XOR(CHI(b0, b1, b2), constant);

#define KECCAK_TEMPORARIES V b0, b1, b2, b3, b4, c0, c1, c2, c3, c4, d0, d1, d2, d3, d4;
#define THETA_EFFECT(x, before, after) d##x = XOR(before, ROL(after, 1));
#define THETA(lane, x) XOR(lane, d##x)
#define KECCAK_LANES(a) \
  V a##0, a##1, a##2, a##3, a##4, a##5, a##6, a##7, a##8, a##9, a##10, a##11, a##12, a##13, a##14, a##15, a##16, \
      a##17, a##18, a##19, a##20, a##21, a##22, a##23, a##24

#define EACH_LANE(DO) \
  DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) \
  DO(18) DO(19) DO(20) DO(21) DO(22) DO(23) DO(24)

/* Rounds `round` (even) to 23 on the state in a; writes lane 0 of the result to `result`. */
#define KECCAK_FINISH(a, e, round, result) \
  { \
    KECCAK_COLUMNS(a) \
    KECCAK_ROWS(a, e, SPLAT(mr_round_constants[round])) \
    for (int next = (round) + 1; next < 23; next += 2) { \
      KECCAK_COLUMNS(e) \
      KECCAK_ROWS(e, a, SPLAT(mr_round_constants[next])) \
      KECCAK_COLUMNS(a) \
      KECCAK_ROWS(a, e, SPLAT(mr_round_constants[next + 1])) \
    } \
    KECCAK_LAST(e, result, SPLAT(mr_round_constants[23])) \
  }

/* Lane 0 of H for the LANES values of g in `low`. */
static inline V hash_lanes(const uint64_t *block, int rounds, V low) {
  KECCAK_TEMPORARIES
  KECCAK_LANES(a);
  KECCAK_LANES(e);
#define FILL(i) a##i = SPLAT(block[i]);
  EACH_LANE(FILL)
#undef FILL
  a0 = XOR(a0, low);
  V result;
  KECCAK_FINISH(a, e, 24 - rounds, result)
  return result;
}

static void batch(const mr_key *key, uint32_t high, const uint32_t *values, size_t count, uint64_t *out) {
  uint64_t block[25];
  memcpy(block, key->block, sizeof block);
  block[0] ^= (uint64_t)high << 32;
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) STORE(out + i, hash_lanes(block, key->rounds, WIDEN(values + i)));
  if (i < count) {
    uint32_t last[LANES] = {0};
    uint64_t results[LANES];
    memcpy(last, values + i, (count - i) * sizeof *last);
    STORE(results, hash_lanes(block, key->rounds, WIDEN(last)));
    memcpy(out + i, results, (count - i) * sizeof *out);
  }
}

#define INNER_FROM 9
#define INNER 64
#define SUPERBLOCK (1u << 15)

/* The state before the chi of the second round, for the values of g in `low`. */
static inline void before_second_chi(const uint64_t *block, int first, V low, V *to) {
  KECCAK_TEMPORARIES
  KECCAK_LANES(a);
  KECCAK_LANES(e);
#define FILL(i) a##i = SPLAT(block[i]);
  EACH_LANE(FILL)
#undef FILL
  a0 = XOR(a0, low);
  KECCAK_COLUMNS(a)
  KECCAK_ROWS(a, e, SPLAT(mr_round_constants[first]))
  KECCAK_COLUMNS(e)
  KECCAK_BEFORE_CHI(e, to)
}

/* Low words of H for the 2^15 values from `first`, a multiple of 2^15. */
static void superblock(const mr_key *key, uint32_t first, uint32_t *out) {
  const int from = 24 - key->rounds;
  uint64_t differences[INNER][25];
  V base[25];
  uint32_t neighbours[LANES];
  uint64_t lane[LANES];
  before_second_chi(key->block, from, SPLAT((uint64_t)first), base);
  for (uint32_t inner = 0; inner < INNER; inner += LANES) {
    V state[25];
    for (uint32_t i = 0; i < LANES; i++) neighbours[i] = first + ((inner + i) << INNER_FROM);
    before_second_chi(key->block, from, WIDEN(neighbours), state);
    for (int i = 0; i < 25; i++) {
      STORE(lane, XOR(state[i], base[i]));
      for (uint32_t j = 0; j < LANES; j++) differences[inner + j][i] = lane[j];
    }
  }
  for (uint32_t outer = 0; outer < 1u << INNER_FROM; outer += LANES) {
    for (uint32_t i = 0; i < LANES; i++) neighbours[i] = first + outer + i;
    before_second_chi(key->block, from, WIDEN(neighbours), base);
    for (uint32_t inner = 0; inner < INNER; inner++) {
      const uint64_t *difference = differences[inner];
      KECCAK_TEMPORARIES
      KECCAK_LANES(a);
      KECCAK_LANES(e);
      V result;
#define LANE_IN(i) XOR(base[i], SPLAT(difference[i]))
      KECCAK_CHI(LANE_IN, a, SPLAT(mr_round_constants[from + 1]))
#undef LANE_IN
      KECCAK_FINISH(a, e, from + 2, result)
      STORE_LOW(out + (inner << INNER_FROM) + outer, result);
    }
  }
  memset(differences, 0, sizeof differences);
  memset(base, 0, sizeof base);
}

static void range(const mr_key *key, uint32_t first, size_t count, uint32_t *out) {
  while (count > 0) {
    if (first % SUPERBLOCK == 0 && count >= SUPERBLOCK) {
      superblock(key, first, out);
      first += SUPERBLOCK;
      out += SUPERBLOCK;
      count -= SUPERBLOCK;
      continue;
    }
    uint32_t values[256];
    uint64_t results[256];
    size_t n = SUPERBLOCK - first % SUPERBLOCK;
    if (n > 256) n = 256;
    if (n > count) n = count;
    for (size_t i = 0; i < n; i++) values[i] = first + (uint32_t)i;
    batch(key, 0, values, n, results);
    for (size_t i = 0; i < n; i++) out[i] = (uint32_t)results[i];
    first += (uint32_t)n;
    out += n;
    count -= n;
  }
}
