#ifdef __linux__
#define _DEFAULT_SOURCE /* madvise */
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "table.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PARTS 256u
/* Entry while a part is filled: the low bits of g, then the code's 16 bits within the part, 12 of which are its bucket. */
#define LOW_BITS 15
#define WITHIN_PART 0xffffu
#define PART_CODES 65536u
#define BUCKET_CODES 16u
#define VALUE_BYTES 3u
/* Most values of a bucket whose bits fit one word. About one table in 30,000 has a larger bucket. */
#define WORD_VALUES 48u
/* Limit that no random function approaches, so that the indices of a bucket's values fit a byte. */
#define MAX_VALUES 255u
/* Number of buckets whose ends are relative to one base, and the alignment of such bases, bytes. */
#define GROUP_BUCKETS 256u
#define GROUPS (MR_PART_BUCKETS / GROUP_BUCKETS)
#define GROUP_UNIT 8u

/* Bucket of a code among all parts; the upper bits are the part. */
static inline uint32_t bucket_of(uint32_t code, uint32_t order) { return (code & ((1u << order) - 1)) >> 4; }

static inline uint32_t part_of(uint32_t code, uint32_t order) { return (code & ((1u << order) - 1)) >> 16; }

/* Bytes. */
static inline uint32_t part_start(const mr_build *build, uint32_t part) {
  return part * build->capacity * (uint32_t)sizeof *build->entries;
}

static inline uint16_t *ends_of(const mr_build *build, uint32_t part) {
  return build->ends + (size_t)part * MR_PART_ENDS;
}

/* Offset from the start of the part, bytes; 0 in a part that was not packed. */
static inline uint32_t end_in_part(const uint16_t *ends, uint32_t bucket) {
  const uint32_t end = ends[GROUPS + bucket];
  return end == 0 ? 0 : ends[bucket / GROUP_BUCKETS] * GROUP_UNIT + end;
}

/* Wipes the memory and returns whole pages to the system. They are zero when they are used again. */
static void discard(uint8_t *at, size_t length) {
  memset(at, 0, length);
#ifdef __linux__
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const size_t skip = (page - (uintptr_t)at % page) % page;
  if (length >= skip + page) madvise(at + skip, (length - skip) / page * page, MADV_DONTNEED);
#endif
}

static inline uint32_t *run_of(const mr_build *build, uint32_t superblock, uint32_t part) {
  return build->runs + 2 * ((size_t)superblock * build->parts + part);
}

int mr_partition(const mr_kernel *kernel, const mr_key *key, const mr_build *build, uint32_t first, uint32_t count) {
  uint32_t *codes = malloc(MR_SUPERBLOCK * sizeof *codes);
  if (codes == NULL) return 0;
  int fits = 1;
  for (; count > 0 && fits; first += MR_SUPERBLOCK, count -= MR_SUPERBLOCK) {
    uint32_t next[MAX_PARTS] = {0};
    kernel->range(key, first, MR_SUPERBLOCK, codes);
    for (uint32_t i = 0; i < MR_SUPERBLOCK; i++) next[part_of(codes[i], build->order)]++;
    for (uint32_t part = 0; part < build->parts; part++) {
      uint32_t *run = run_of(build, first / MR_SUPERBLOCK, part);
      run[0] = __atomic_fetch_add(&build->cursors[part], next[part], __ATOMIC_RELAXED);
      run[1] = next[part];
      if (run[0] > build->capacity || run[1] > build->capacity - run[0]) fits = 0;
      next[part] = part * build->capacity + run[0];
    }
    for (uint32_t i = 0; fits && i < MR_SUPERBLOCK; i++)
      build->entries[next[part_of(codes[i], build->order)]++] = i | (codes[i] & WITHIN_PART) << LOW_BITS;
  }
  memset(codes, 0, MR_SUPERBLOCK * sizeof *codes);
  free(codes);
  return fits;
}

/* Replaces the number of values of each code in a bucket by the index of its first value; returns the total. */
static uint32_t number_codes(uint8_t *codes) {
  uint32_t n = 0;
  for (uint32_t code = 0; code < BUCKET_CODES; code++) {
    const uint32_t count = codes[code];
    codes[code] = (uint8_t)n;
    n += count;
  }
  return n;
}

/* Writes the bits of a bucket: a one for each value, and a zero after the last value of each code. */
static void write_bits(uint8_t *to, uint32_t bytes, const uint8_t *codes, uint32_t n) {
  if (n <= WORD_VALUES) {
    uint64_t bits = n + BUCKET_CODES == 64 ? ~0ull : (1ull << (n + BUCKET_CODES)) - 1;
    for (uint32_t code = 1; code < BUCKET_CODES; code++) bits ^= 1ull << (codes[code] + code - 1);
    bits ^= 1ull << (n + BUCKET_CODES - 1);
    for (uint32_t i = 0; i < bytes; i++) to[i] = (uint8_t)(bits >> 8 * i);
    return;
  }
  memset(to, 0, bytes);
  for (uint32_t code = 0; code < BUCKET_CODES; code++) {
    const uint32_t end = code + 1 < BUCKET_CODES ? codes[code + 1] : n;
    for (uint32_t i = codes[code]; i < end; i++) to[(i + code) / 8] |= (uint8_t)(1u << (i + code) % 8);
  }
}

/* Working memory to sort one part. */
typedef struct {
  uint8_t numbers[PART_CODES]; /* for each code: its number of values, later the index of its next value in the bucket */
  uint32_t copy[];
} sorting;

static int pack_part(const mr_build *build, uint32_t part, sorting *s, uint32_t n) {
  uint8_t *bytes = (uint8_t *)(build->entries + (size_t)part * build->capacity);
  uint16_t *ends = ends_of(build, part);
  memcpy(s->copy, bytes, n * sizeof *s->copy);
  memset(s->numbers, 0, sizeof s->numbers);
  for (uint32_t i = 0; i < n; i++)
    if (++s->numbers[s->copy[i] >> LOW_BITS & WITHIN_PART] == 0) return 0;
  uint32_t size = 0, group = 0;
  for (uint32_t bucket = 0; bucket < MR_PART_BUCKETS; bucket++) {
    if (bucket % GROUP_BUCKETS == 0) {
      while (size % GROUP_UNIT != 0) bytes[size++] = 0;
      group = size;
      ends[bucket / GROUP_BUCKETS] = (uint16_t)(group / GROUP_UNIT);
    }
    uint8_t *codes = s->numbers + bucket * BUCKET_CODES;
    const uint32_t count = number_codes(codes);
    if (count > MAX_VALUES) return 0;
    const uint32_t bits = (BUCKET_CODES + count + 7) / 8;
    write_bits(bytes + size, bits, codes, count);
    size += bits + VALUE_BYTES * count;
    if (size - group > UINT16_MAX) return 0;
    ends[GROUPS + bucket] = (uint16_t)(size - group);
  }
  uint32_t seen = 0;
  for (uint32_t superblock = 0; superblock < (1u << build->order) / MR_SUPERBLOCK; superblock++) {
    const uint32_t *run = run_of(build, superblock, part);
    seen += run[1];
    if (run[0] > n || run[1] > n - run[0] || seen > n) return 0;
    for (uint32_t i = run[0]; i < run[0] + run[1]; i++) {
      const uint32_t code = s->copy[i] >> LOW_BITS & WITHIN_PART;
      const uint32_t value = superblock * MR_SUPERBLOCK | (s->copy[i] & (MR_SUPERBLOCK - 1));
      const uint32_t back = VALUE_BYTES * (s->numbers[code]++ + 1);
      const uint32_t end = end_in_part(ends, code / BUCKET_CODES);
      if (back > end) return 0; /* overlapping runs: only invalid input has them */
      bytes[end - back] = (uint8_t)value;
      bytes[end - back + 1] = (uint8_t)(value >> 8);
      bytes[end - back + 2] = (uint8_t)(value >> 16);
    }
  }
  discard(bytes + size, (size_t)build->capacity * sizeof *build->entries - size);
  return seen == n;
}

int mr_index(const mr_build *build, uint32_t part) {
  const uint32_t n = build->cursors[part];
  if (n > build->capacity) return 0;
  const size_t size = sizeof(sorting) + n * sizeof(uint32_t);
  sorting *s = malloc(size);
  if (s == NULL) return 0;
  const int good = pack_part(build, part, s, n);
  memset(s, 0, size);
  free(s);
  return good;
}

void mr_wipe(const mr_build *table) {
  const uint32_t room = table->capacity * (uint32_t)sizeof *table->entries;
  for (uint32_t part = 0; part < table->parts; part++) {
    const uint32_t end = end_in_part(ends_of(table, part), MR_PART_BUCKETS - 1);
    /* Skip zeros: writing to them would allocate pages. */
    memset((uint8_t *)table->entries + part_start(table, part), 0, end > 0 && end < room ? end : room);
  }
  memset(table->ends, 0, (size_t)table->parts * MR_PART_ENDS * sizeof *table->ends);
}

void mr_discard(const mr_build *table) {
  discard((uint8_t *)table->entries, (size_t)table->parts * table->capacity * sizeof *table->entries);
  discard((uint8_t *)table->ends, (size_t)table->parts * MR_PART_ENDS * sizeof *table->ends);
}

#define AHEAD 12
/* Longest bucket whose bits fit one word. */
#define WORD_BUCKET (8u + VALUE_BYTES * WORD_VALUES)

static inline uint32_t end_of(const mr_build *table, uint32_t bucket) {
  const uint32_t part = bucket / MR_PART_BUCKETS;
  return part_start(table, part) + end_in_part(ends_of(table, part), bucket % MR_PART_BUCKETS);
}

static inline uint32_t start_of(const mr_build *table, uint32_t bucket) {
  if (bucket % GROUP_BUCKETS != 0) return end_of(table, bucket - 1);
  const uint32_t part = bucket / MR_PART_BUCKETS, group = bucket % MR_PART_BUCKETS / GROUP_BUCKETS;
  return part_start(table, part) + ends_of(table, part)[group] * GROUP_UNIT;
}

static inline void prefetch_end(const mr_build *table, uint32_t bucket) {
  __builtin_prefetch(ends_of(table, bucket / MR_PART_BUCKETS) + GROUPS + bucket % MR_PART_BUCKETS);
}

/* Values of a bucket that have the code: index of the first, and their number. */
static inline uint32_t find_in_word(const uint8_t *bucket, uint32_t code, uint32_t *count) {
  uint64_t bits;
  memcpy(&bits, bucket, sizeof bits);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  bits = __builtin_bswap64(bits);
#endif
  uint64_t zeros = ~bits;
  for (uint32_t i = 0; i < code; i++) zeros &= zeros - 1;
  const uint32_t end = zeros == 0 ? 64 : (uint32_t)__builtin_ctzll(zeros);
  const uint64_t before = ~bits & ((end == 64 ? 0 : 1ull << end) - 1);
  const uint32_t start = before == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(before);
  *count = end - start;
  return start - code;
}

/* Same, for a bucket of any length. */
static uint32_t find_in_bits(const uint8_t *bucket, uint32_t size, uint32_t code, uint32_t *count) {
  uint32_t first = 0, bit = 0;
  for (uint32_t zeros = 0; zeros < code && bit < 8 * size; bit++) {
    if (bucket[bit / 8] >> bit % 8 & 1) first++;
    else zeros++;
  }
  for (*count = 0; bit < 8 * size && bucket[bit / 8] >> bit % 8 & 1; bit++) ++*count;
  return first;
}

uint32_t mr_look_up(const mr_build *table, const uint32_t *codes, const uint8_t *skip, size_t count,
                    uint32_t *starts, uint32_t *found, uint32_t room) {
  const uint32_t order = table->order;
  const uint8_t *bytes = (const uint8_t *)table->entries;
  const uint32_t size = table->parts * table->capacity * (uint32_t)sizeof *table->entries;
  uint32_t to = 0;
  for (size_t i = 0; i < count; i++) {
    /* Prefetch the line of `ends` far ahead, and those of the bucket less far. */
    if (i + 2 * AHEAD < count) prefetch_end(table, bucket_of(codes[i + 2 * AHEAD], order));
    if (i + AHEAD < count) {
      const uint32_t next = start_of(table, bucket_of(codes[i + AHEAD], order));
      if (next < size) {
        __builtin_prefetch(bytes + next);
        __builtin_prefetch(bytes + (next + 47 < size ? next + 47 : next));
      }
    }
    starts[i] = to;
    if (skip[i]) {
      if (to < room) found[to] = 0;
      to++;
      continue;
    }
    const uint32_t bucket = bucket_of(codes[i], order);
    const uint32_t code = codes[i] & (BUCKET_CODES - 1);
    const uint32_t start = start_of(table, bucket), end = end_of(table, bucket);
    /* A table that was wiped concurrently has no buckets. */
    if (end > size || start >= end || size - start < sizeof(uint64_t)) continue;
    uint32_t matches;
    const uint32_t first = end - start <= WORD_BUCKET ? find_in_word(bytes + start, code, &matches)
                                                      : find_in_bits(bytes + start, end - start, code, &matches);
    if (VALUE_BYTES * (uint64_t)(first + matches) > end - start) continue;
    const uint8_t *value = bytes + end - VALUE_BYTES * first;
    for (; matches > 0; matches--, to++) {
      value -= VALUE_BYTES;
      if (to < room) found[to] = value[0] | (uint32_t)value[1] << 8 | (uint32_t)value[2] << 16;
    }
  }
  starts[count] = to;
  return to;
}
