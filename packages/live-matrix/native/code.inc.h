/*
 * The parity code (spec/live-matrix.md, section 6) on columns of 512 bits, with the vectors of the including
 * translation unit's instruction set.
 */
#include "kernel.h"

#include <string.h>
#if defined(__BMI2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define PIECE_BYTES 64
#elif defined(__AVX2__)
#define PIECE_BYTES 32
#else
#define PIECE_BYTES 16
#endif
#define PIECES (MR_COLUMN_BYTES / PIECE_BYTES)

/* Unrolled, so that the pieces stay in registers. */
#define EACH_PIECE _Pragma("GCC unroll 4") for (int i = 0; i < PIECES; i++)

typedef uint64_t piece __attribute__((vector_size(PIECE_BYTES)));

/* A column, or a sum of columns, in vectors of the instruction set. */
typedef struct {
  piece at[PIECES];
} wide;

static inline wide plus(wide a, wide b) {
  EACH_PIECE a.at[i] ^= b.at[i];
  return a;
}

/* a + b if `bit` is 1, else a. Without a branch: the bits are random, so half of the predictions would be wrong. */
static inline wide plus_if(wide a, wide b, uint64_t bit) {
  EACH_PIECE a.at[i] ^= b.at[i] & (0 - bit);
  return a;
}

static inline wide only(wide a, wide mask) {
  EACH_PIECE a.at[i] &= mask.at[i];
  return a;
}

static inline wide column(const uint8_t *columns, uint32_t c) { return ((const wide *)(const void *)columns)[c]; }

/* Sum of the columns of the bits that are set in `value`, the place-th symbol of its block. */
static inline wide columns_of(const uint8_t *columns, uint32_t place, uint32_t symbol_bits, uint32_t value) {
  wide sum;
  memset(&sum, 0, sizeof sum);
  for (uint32_t bit = 0; bit < symbol_bits; bit++)
    sum = plus_if(sum, column(columns, place * symbol_bits + bit), value >> bit & 1);
  return sum;
}

/* Few blocks: bit by bit. */
static void parity_of_block(const uint8_t *columns, const uint32_t *values, uint32_t symbol_bits,
                            const mr_block *block, uint8_t *out) {
  wide sum;
  memset(&sum, 0, sizeof sum);
  for (uint32_t place = 0; place < block->hints; place++)
    sum = plus(sum, columns_of(columns, place, symbol_bits, values[block->first + place]));
  memcpy(out + block->parity_at, &sum, block->parity_bytes);
}

#define SIDE_BY_SIDE 32
#define MAX_NIBBLES 8

/*
 * Many blocks: all use the same columns, so the sums of every four adjacent columns are computed once (method of the
 * four Russians), and each block selects one of 16 for each half byte.
 */
static void parity_of_blocks(const uint8_t *columns, const uint32_t *values, uint32_t symbol_bits,
                             const mr_block *blocks, size_t count, uint8_t *out) {
  const uint32_t nibbles = symbol_bits / 4;
  wide sums[SIDE_BY_SIDE];
  wide of[MAX_NIBBLES][16];
  memset(sums, 0, sizeof sums);
  uint32_t places = 0;
  for (size_t b = 0; b < count; b++)
    if (blocks[b].hints > places) places = blocks[b].hints;
  memset(of, 0, sizeof of);
  for (uint32_t place = 0; place < places; place++) {
    for (uint32_t n = 0; n < nibbles; n++) {
      const uint32_t at = place * symbol_bits + 4 * n;
      const wide c0 = column(columns, at), c1 = column(columns, at + 1);
      const wide c2 = column(columns, at + 2), c3 = column(columns, at + 3);
      of[n][1] = c0;
      of[n][2] = c1;
      of[n][3] = plus(c0, c1);
      for (int i = 0; i < 4; i++) of[n][4 + i] = plus(of[n][i], c2);
      for (int i = 0; i < 8; i++) of[n][8 + i] = plus(of[n][i], c3);
    }
    for (size_t b = 0; b < count; b++) {
      if (place >= blocks[b].hints) continue;
      const uint32_t value = values[blocks[b].first + place];
      wide sum = sums[b];
      for (uint32_t n = 0; n < nibbles; n += 2)
        sum = plus(sum, plus(of[n][value >> 4 * n & 15], of[n + 1][value >> (4 * n + 4) & 15]));
      sums[b] = sum;
    }
  }
  for (size_t b = 0; b < count; b++) memcpy(out + blocks[b].parity_at, &sums[b], blocks[b].parity_bytes);
}

static void parity(const uint8_t *columns, const uint32_t *values, uint32_t symbol_bits, const mr_block *blocks,
                   size_t count, uint8_t *out) {
  while (count > 0) {
    const size_t n = count < SIDE_BY_SIDE ? count : SIDE_BY_SIDE;
    if (n < 4) {
      for (size_t b = 0; b < n; b++) parity_of_block(columns, values, symbol_bits, &blocks[b], out);
    } else {
      parity_of_blocks(columns, values, symbol_bits, blocks, n, out);
    }
    blocks += n;
    count -= n;
  }
}

#define GROUP 8
#define GROUPS (MR_MAX_UNKNOWNS / GROUP)
/* Most dependencies among unknowns that are tried; blocks with more are refused. */
#define MAX_NULLS 8
#define NO_PIVOT 4096

typedef struct {
  wide rows[MR_MAX_UNKNOWNS];             /* one row for each unknown: the change of the parity when it is selected; reduced step by step */
  uint8_t used[MR_MAX_UNKNOWNS][GROUPS];  /* rows of earlier groups that were added to a row */
  uint8_t origin[MR_MAX_UNKNOWNS];        /* rows of its own group of which a row is the sum */
  uint8_t target_used[GROUPS];
  uint32_t value[MR_MAX_UNKNOWNS];
  uint16_t place[MR_MAX_UNKNOWNS];
  uint64_t taken[MR_MAX_UNKNOWNS / 64];             /* one solution of the equations, a bit for each unknown */
  uint64_t nulls[MAX_NULLS][MR_MAX_UNKNOWNS / 64];  /* combinations of parity 0 that may be added to it */
  uint32_t null_count;
  wide sums[1 << GROUP];
} solve_space;

static inline uint64_t word_of(const wide *row, int i) {
  uint64_t word;
  memcpy(&word, (const uint8_t *)row + 8 * i, 8);
  return word;
}

static inline uint64_t bit_of(const wide *row, int at) { return word_of(row, at >> 6) >> (at & 63) & 1; }

/* Index of the lowest set bit, or -1. */
static inline int lowest_bit(const wide *row) {
  for (int i = 0; i < MR_COLUMN_BYTES / 8; i++)
    if (word_of(row, i) != 0) return 64 * i + __builtin_ctzll(word_of(row, i));
  return -1;
}

/* Reads the bits of a row at a group's pivots, which are in ascending order, into one small number. */
typedef struct {
  int count;
  int pivots[GROUP];
  int base; /* byte from which 64 bits hold all pivots, or -1 */
  uint64_t mask;
} pivot_reader;

static void prepare_reader(pivot_reader *reader) {
  const int lowest = reader->pivots[0], highest = reader->pivots[reader->count - 1];
  int base = lowest / 8;
  if (base > MR_COLUMN_BYTES - 8) base = MR_COLUMN_BYTES - 8;
  reader->base = highest < 8 * base + 64 ? base : -1;
  reader->mask = 0;
  if (reader->base >= 0)
    for (int i = 0; i < reader->count; i++) reader->mask |= 1ull << (reader->pivots[i] - 8 * base);
}

static inline uint32_t read_pivots(const pivot_reader *reader, const wide *row) {
  uint32_t index = 0;
#if defined(__BMI2__)
  if (__builtin_expect(reader->count > 0 && reader->base >= 0, 1)) {
    uint64_t bits;
    memcpy(&bits, (const uint8_t *)row + reader->base, 8);
    return (uint32_t)_pext_u64(bits, reader->mask);
  }
#endif
  for (int i = 0; i < reader->count; i++) index |= (uint32_t)bit_of(row, reader->pivots[i]) << i;
  return index;
}

/*
 * Brings rows first … first+count-1 to reduced echelon form, ordered by pivot. Dependent rows become 0 and move to the
 * end; the caller counts the independent ones.
 */
static void reduce_group(solve_space *s, uint32_t first, pivot_reader *reader) {
  const int k = reader->count;
  for (int i = 0; i < k; i++) s->origin[first + i] = (uint8_t)(1u << i);
  for (int i = 0; i < k; i++) {
    const int pivot = lowest_bit(&s->rows[first + i]);
    reader->pivots[i] = pivot < 0 ? NO_PIVOT : pivot;
    for (int j = 0; pivot >= 0 && j < k; j++) {
      const uint64_t bit = j == i ? 0 : bit_of(&s->rows[first + j], pivot);
      s->rows[first + j] = plus_if(s->rows[first + j], s->rows[first + i], bit);
      s->origin[first + j] ^= s->origin[first + i] & (uint8_t)(0 - bit);
    }
  }
  for (int i = 1; i < k; i++) {
    for (int j = i; j > 0 && reader->pivots[j - 1] > reader->pivots[j]; j--) {
      const int pivot = reader->pivots[j];
      const wide row = s->rows[first + j];
      const uint8_t origin = s->origin[first + j];
      reader->pivots[j] = reader->pivots[j - 1];
      s->rows[first + j] = s->rows[first + j - 1];
      s->origin[first + j] = s->origin[first + j - 1];
      reader->pivots[j - 1] = pivot;
      s->rows[first + j - 1] = row;
      s->origin[first + j - 1] = origin;
    }
  }
  while (reader->count > 0 && reader->pivots[reader->count - 1] == NO_PIVOT) reader->count--;
}

/* Selects the unknowns `sum` of a group. The additions to them then have to be selected from earlier groups. */
static void take_from_group(const solve_space *s, uint32_t group, uint32_t sum, uint8_t *used, uint64_t *taken) {
  for (; sum != 0; sum &= sum - 1) {
    const uint32_t row = group * GROUP + (uint32_t)__builtin_ctz(sum);
    taken[row / 64] ^= 1ull << row % 64;
    for (uint32_t earlier = 0; earlier < group; earlier++) used[earlier] ^= s->used[row][earlier];
  }
}

/* Resolves the sums that were added (`used`, which is modified) into the unknowns, last group first. */
static void walk_back(const solve_space *s, uint32_t groups, uint8_t *used, uint64_t *taken) {
  for (uint32_t group = groups; group-- > 0;) {
    uint32_t sum = 0;
    for (uint32_t rest = used[group]; rest != 0; rest &= rest - 1)
      sum ^= s->origin[group * GROUP + (uint32_t)__builtin_ctz(rest)];
    take_from_group(s, group, sum, used, taken);
  }
}

/* Writes the solution if it selects at most one candidate for each hint. */
static int write_if_valid(const solve_space *s, const uint64_t *taken, uint32_t n, uint32_t *out) {
  for (int pass = 0; pass < 2; pass++) {
    uint32_t previous = UINT32_MAX;
    for (uint32_t word = 0; word < (n + 63) / 64; word++) {
      for (uint64_t rest = taken[word]; rest != 0; rest &= rest - 1) {
        const uint32_t i = 64 * word + (uint32_t)__builtin_ctzll(rest);
        if (s->place[i] == previous) return 0;
        previous = s->place[i];
        if (pass == 1) out[previous] = s->value[i];
      }
    }
  }
  return 1;
}

/*
 * Exactly one solution of the equations must select at most one candidate for each hint. Candidates of one hint are
 * only as long as the symbol, so four of them may add up to 0. That adds solutions, but no valid one.
 */
static int pick_valid(solve_space *s, uint32_t n, uint32_t *out) {
  int valid = 0;
  for (uint32_t i = 0; i < 1u << s->null_count; i++) {
    if (i > 0)
      for (uint32_t word = 0; word < MR_MAX_UNKNOWNS / 64; word++)
        s->taken[word] ^= s->nulls[__builtin_ctz(i)][word];
    if (write_if_valid(s, s->taken, n, out) && ++valid > 1) return 0;
  }
  return valid;
}

/*
 * The first candidate of every hint is assumed; every other candidate is an unknown. Rows are eliminated in groups of 8
 * with a table of the 256 sums of a group (method of the four Russians). The additions to each row are recorded, so
 * that back-substitution from the target gives the unknowns.
 */
static int solve_in(solve_space *s, const uint8_t *columns, const uint32_t *starts, const uint32_t *values,
                    uint32_t symbol_bits, const mr_block *block, const uint8_t *parity_bytes, uint32_t *out) {
  wide mask, target;
  memset(&mask, 0, sizeof mask);
  memset(&target, 0, sizeof target);
  memset(&mask, 0xff, block->parity_bytes);
  memcpy(&target, parity_bytes + block->parity_at, block->parity_bytes);
  const uint32_t most = 8 * block->parity_bytes;
  uint32_t n = 0;
  for (uint32_t place = 0; place < block->hints; place++) {
    const uint32_t hint = block->first + place;
    const uint32_t start = starts[hint], end = starts[hint + 1];
    if (start >= end || end - start > most - n + 1) return 0;
    const uint32_t assumed = values[start];
    out[hint] = assumed;
    target = plus(target, columns_of(columns, place, symbol_bits, assumed));
    for (uint32_t at = start + 1; at < end; at++, n++) {
      s->rows[n] = only(columns_of(columns, place, symbol_bits, values[at] ^ assumed), mask);
      s->value[n] = values[at];
      s->place[n] = (uint16_t)place;
    }
  }
  target = only(target, mask);

  for (uint32_t first = 0, group = 0; first < n; first += GROUP, group++) {
    pivot_reader reader;
    reader.count = n - first < GROUP ? (int)(n - first) : GROUP;
    const int rows = reader.count;
    reduce_group(s, first, &reader);
    for (int i = reader.count; i < rows; i++) {
      if (s->null_count == MAX_NULLS) return 0;
      uint64_t *null = s->nulls[s->null_count++];
      uint8_t used[GROUPS] = {0};
      take_from_group(s, group, s->origin[first + (uint32_t)i], used, null);
      walk_back(s, group, used, null);
    }
    if (reader.count > 0) prepare_reader(&reader);
    memset(&s->sums[0], 0, sizeof s->sums[0]);
    for (uint32_t i = 1; i < 1u << reader.count; i++)
      s->sums[i] = plus(s->sums[i & (i - 1)], s->rows[first + (uint32_t)__builtin_ctz(i)]);
    for (uint32_t j = first + GROUP; j < n; j++) {
      const uint32_t index = read_pivots(&reader, &s->rows[j]);
      s->rows[j] = plus(s->rows[j], s->sums[index]);
      s->used[j][group] = (uint8_t)index;
    }
    const uint32_t index = read_pivots(&reader, &target);
    target = plus(target, s->sums[index]);
    s->target_used[group] = (uint8_t)index;
  }
  if (lowest_bit(&target) >= 0) return 0;
  walk_back(s, (n + GROUP - 1) / GROUP, s->target_used, s->taken);
  return pick_valid(s, n, out + block->first);
}

static int solve(const uint8_t *columns, const uint32_t *starts, const uint32_t *values, uint32_t symbol_bits,
                 const mr_block *block, const uint8_t *parity_bytes, uint32_t *out) {
  solve_space space; /* rows, sums and additions are written before they are read */
  memset(space.taken, 0, sizeof space.taken);
  memset(space.nulls, 0, sizeof space.nulls);
  memset(space.target_used, 0, sizeof space.target_used);
  space.null_count = 0;
  return solve_in(&space, columns, starts, values, symbol_bits, block, parity_bytes, out);
}
