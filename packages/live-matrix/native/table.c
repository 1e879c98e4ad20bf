#include "table.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PARTS 256u
/* While a part is filled: the low bits of g, above them the code's 16 bits within the part, 12 of them its bucket. */
#define LOW_BITS 15
#define WITHIN_PART 0xffffu
#define BUCKET_SHIFT (LOW_BITS + 4)

/* Bucket of a code among all; the upper bits are the part. */
static inline uint32_t bucket_of(uint32_t code, uint32_t order) { return (code & ((1u << order) - 1)) >> 4; }

static inline uint32_t part_of(uint32_t code, uint32_t order) { return (code & ((1u << order) - 1)) >> 16; }

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

int mr_index(const mr_build *build, uint32_t part) {
  uint32_t *entries = build->entries + (size_t)part * build->capacity;
  uint32_t *ends = build->ends + (size_t)part * MR_PART_BUCKETS;
  const uint32_t n = build->cursors[part];
  if (n > build->capacity) return 0;
  uint32_t *copy = malloc((n + 1) * sizeof *copy);
  if (copy == NULL) return 0;
  memcpy(copy, entries, n * sizeof *copy);
  memset(ends, 0, MR_PART_BUCKETS * sizeof *ends);
  for (uint32_t i = 0; i < n; i++) ends[copy[i] >> BUCKET_SHIFT & (MR_PART_BUCKETS - 1)]++;
  uint32_t at = 0;
  for (uint32_t bucket = 0; bucket < MR_PART_BUCKETS; bucket++) {
    const uint32_t count = ends[bucket];
    ends[bucket] = at;
    at += count;
  }
  uint32_t seen = 0;
  int good = 1;
  for (uint32_t superblock = 0; good && superblock < (1u << build->order) / MR_SUPERBLOCK; superblock++) {
    const uint32_t *run = run_of(build, superblock, part);
    seen += run[1];
    good = run[0] <= n && run[1] <= n - run[0] && seen <= n;
    for (uint32_t i = run[0]; good && i < run[0] + run[1]; i++) {
      const uint32_t to = ends[copy[i] >> BUCKET_SHIFT & (MR_PART_BUCKETS - 1)]++;
      good = to < n;
      if (good)
        entries[to] = superblock * MR_SUPERBLOCK | (copy[i] & (MR_SUPERBLOCK - 1)) | (copy[i] >> LOW_BITS & 15) << build->order;
    }
  }
  for (uint32_t bucket = 0; bucket < MR_PART_BUCKETS; bucket++) ends[bucket] += part * build->capacity;
  memset(copy, 0, n * sizeof *copy);
  free(copy);
  return good;
}

#define AHEAD 12

static inline uint32_t start_of(const mr_build *table, uint32_t bucket) {
  return bucket % MR_PART_BUCKETS == 0 ? bucket / MR_PART_BUCKETS * table->capacity : table->ends[bucket - 1];
}

uint32_t mr_look_up(const mr_build *table, const uint32_t *codes, const uint8_t *skip, size_t count,
                    uint32_t *starts, uint32_t *found, uint32_t room) {
  const uint32_t order = table->order;
  const uint32_t value_mask = (1u << order) - 1;
  const uint32_t size = table->parts * table->capacity;
  uint32_t to = 0;
  for (size_t i = 0; i < count; i++) {
    /* The line of `ends` is asked for well ahead, that of the entries somewhat less. */
    if (i + 2 * AHEAD < count) __builtin_prefetch(&table->ends[bucket_of(codes[i + 2 * AHEAD], order)]);
    if (i + AHEAD < count) {
      const uint32_t next = start_of(table, bucket_of(codes[i + AHEAD], order));
      if (next < size) {
        __builtin_prefetch(&table->entries[next]);
        __builtin_prefetch(&table->entries[next + 15 < size ? next + 15 : next]);
      }
    }
    starts[i] = to;
    if (skip[i]) {
      if (to < room) found[to] = 0;
      to++;
      continue;
    }
    const uint32_t bucket = bucket_of(codes[i], order);
    const uint32_t tag = codes[i] & 15;
    uint32_t end = table->ends[bucket];
    if (end > size) end = size;
    for (uint32_t at = start_of(table, bucket); at < end; at++) {
      if (table->entries[at] >> order != tag) continue;
      if (to < room) found[to] = table->entries[at] & value_mask;
      to++;
    }
  }
  starts[count] = to;
  return to;
}
