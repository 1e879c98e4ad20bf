#include "table.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK (1u << 15)
#define MAX_PARTS 256u

/* Bucket of a code: its low `order` bits without the last four; the part is the bucket's upper bits. */
static inline uint32_t bucket_of(uint32_t code, uint32_t order) { return code >> 4 & ((1u << (order - 4)) - 1); }

/* What an entry holds above its value: the code's low 4 bits, then as many of its higher bits as there is room for. */
static inline uint32_t tag_of(uint32_t code, uint32_t order) {
  return (code & 15) << order | (code >> order) << (order + 4);
}

int mr_partition(const mr_kernel *kernel, const mr_key *key, const mr_build *build, uint32_t first, uint32_t count) {
  uint32_t *codes = malloc(CHUNK * sizeof *codes);
  if (codes == NULL) return 0;
  int fits = 1;
  while (count > 0 && fits) {
    const uint32_t n = count < CHUNK ? count : CHUNK;
    uint32_t place[MAX_PARTS] = {0}, end[MAX_PARTS];
    kernel->range(key, first, n, codes);
    for (uint32_t i = 0; i < n; i++) place[bucket_of(codes[i], build->order) / MR_PART_BUCKETS]++;
    for (uint32_t part = 0; part < build->parts; part++) {
      const uint32_t from = __atomic_fetch_add(&build->cursors[part], place[part], __ATOMIC_RELAXED);
      end[part] = from + place[part];
      if (from > build->capacity || end[part] > build->capacity) fits = 0;
      place[part] = part * build->capacity + from;
    }
    for (uint32_t i = 0; fits && i < n; i++) {
      const uint32_t bucket = bucket_of(codes[i], build->order);
      const uint32_t to = place[bucket / MR_PART_BUCKETS]++;
      build->entries[to] = (first + i) | tag_of(codes[i], build->order);
      build->local[to] = (uint16_t)(bucket % MR_PART_BUCKETS);
    }
    first += n;
    count -= n;
  }
  memset(codes, 0, CHUNK * sizeof *codes);
  free(codes);
  return fits;
}

int mr_index(const mr_build *build, uint32_t part) {
  uint32_t *entries = build->entries + (size_t)part * build->capacity;
  uint16_t *local = build->local + (size_t)part * build->capacity;
  uint32_t *ends = build->ends + (size_t)part * MR_PART_BUCKETS;
  const uint32_t n = build->cursors[part];
  if (n > build->capacity) return 0;
  uint32_t *copy = malloc((n + 1) * sizeof *copy);
  if (copy == NULL) return 0;
  memcpy(copy, entries, n * sizeof *copy);
  memset(ends, 0, MR_PART_BUCKETS * sizeof *ends);
  for (uint32_t i = 0; i < n; i++) ends[local[i] % MR_PART_BUCKETS]++;
  uint32_t at = 0;
  for (uint32_t bucket = 0; bucket < MR_PART_BUCKETS; bucket++) {
    const uint32_t count = ends[bucket];
    ends[bucket] = at;
    at += count;
  }
  for (uint32_t i = 0; i < n; i++) entries[ends[local[i] % MR_PART_BUCKETS]++] = copy[i];
  for (uint32_t bucket = 0; bucket < MR_PART_BUCKETS; bucket++) ends[bucket] += part * build->capacity;
  memset(copy, 0, n * sizeof *copy);
  memset(local, 0, n * sizeof *local);
  free(copy);
  return 1;
}

#define AHEAD 12

static inline uint32_t start_of(const mr_build *table, uint32_t bucket) {
  return bucket % MR_PART_BUCKETS == 0 ? bucket / MR_PART_BUCKETS * table->capacity : table->ends[bucket - 1];
}

uint32_t mr_look_up(const mr_build *table, int sparse, const uint32_t *codes, const uint8_t *skip, size_t count,
                    uint32_t *starts, uint32_t *found, uint32_t room) {
  const uint32_t order = table->order;
  const uint32_t high_bits = !sparse ? 0 : 28 - order < 8 ? 28 - order : 8;
  const uint32_t tag_mask = (15u | ((1u << high_bits) - 1) << 4) << order;
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
    const uint32_t tag = tag_of(codes[i], order) & tag_mask;
    uint32_t end = table->ends[bucket];
    if (end > size) end = size;
    for (uint32_t at = start_of(table, bucket); at < end; at++) {
      if ((table->entries[at] & tag_mask) != tag) continue;
      if (to < room) found[to] = table->entries[at] & value_mask;
      to++;
    }
  }
  starts[count] = to;
  return to;
}
