/*
 * Tests the kernels without Node, for sanitizers and emulators; scripts/check-native.mjs builds and runs it. Reads
 * vectors from standard input, one per line: rounds, the block in hex, low word of g, expected lane 0 in hex. Then
 * compares every kernel that this processor can run with the portable one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "secret.h"
#include "table.h"

static uint64_t state = 0x9e3779b97f4a7c15;

static uint32_t random32(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 16);
}

static void fail(const char *kernel, const char *what) {
  fprintf(stderr, "%s: %s\n", kernel, what);
  exit(1);
}

static int runs_here(const mr_kernel *kernel) {
#if defined(__x86_64__)
  if (kernel == &mr_kernel_avx512) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("bmi2");
  if (kernel == &mr_kernel_avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
#endif
  (void)kernel;
  return 1;
}

static const mr_kernel *const all[] = {
    &mr_kernel_portable,
#if defined(__x86_64__)
    &mr_kernel_avx2,
    &mr_kernel_avx512,
#elif defined(__aarch64__)
    &mr_kernel_neon,
#endif
};
#define ALL (sizeof all / sizeof *all)

typedef struct {
  int rounds;
  uint64_t block[25];
  uint32_t low;
  uint64_t expected;
} vector;

static int read_vector(vector *v) {
  char hex[401], lane[17];
  unsigned low;
  if (scanf("%d %400s %u %16s", &v->rounds, hex, &low, lane) != 4) return 0;
  v->low = low;
  for (int i = 0; i < 26; i++) {
    uint64_t word = 0;
    const char *from = i < 25 ? hex + 16 * i : lane;
    for (int j = 7; j >= 0; j--) {
      unsigned byte;
      if (sscanf(from + 2 * j, "%2x", &byte) != 1) return 0;
      word = word << 8 | byte;
    }
    if (i < 25) v->block[i] = word;
    else v->expected = word;
  }
  return 1;
}

static void check_hashes(const mr_kernel *kernel) {
  uint64_t block[25];
  for (int i = 0; i < 25; i++) block[i] = (uint64_t)random32() << 32 | random32();
  block[0] = 0;
  for (int run = 0; run < 12; run++) {
    const mr_key key = {block, run % 2 ? 12 : 24};
    const uint32_t first = run < 4 ? (1u << 15) * (random32() % 1000) - (uint32_t)run : random32() >> (run % 3 * 8);
    const size_t count = (1u << 15) + random32() % 4000;
    uint32_t *out = malloc(count * sizeof *out), *expected = malloc(count * sizeof *expected);
    if ((uint64_t)first + count < 1ull << 32) {
      kernel->range(&key, first, count, out);
      mr_kernel_portable.range(&key, first, count, expected);
      if (memcmp(out, expected, count * sizeof *out) != 0) fail(kernel->name, "ranges differ");
    }
    free(out);
    free(expected);
    for (size_t n = 0; n < 20; n++) {
      /* On the heap with the exact size, so that the sanitizer detects an access beyond the end. */
      uint32_t *values = malloc(n * 4 + 1);
      uint64_t *a = malloc(n * 8 + 1), *b = malloc(n * 8 + 1);
      for (size_t i = 0; i < n; i++) values[i] = random32();
      kernel->batch(&key, 77, values, n, a);
      for (size_t i = 0; i < n; i++) mr_kernel_portable.batch(&key, 77, values + i, 1, b + i);
      if (memcmp(a, b, n * 8) != 0) fail(kernel->name, "batches differ");
      free(values);
      free(a);
      free(b);
    }
  }
}

static void check_code(const mr_kernel *kernel, const uint8_t *columns) {
  for (int run = 0; run < 60; run++) {
    const uint32_t bits = run % 2 ? 16 : 24, hints = 1 + random32() % 342, count = 1 + (uint32_t)run % 7;
    const uint32_t bytes = run % 5 == 4 ? hints / 8 + 1 : hints / 8 + 15 > 64 ? 64 : hints / 8 + 15;
    uint32_t *values = malloc(count * hints * 4), *starts = malloc((count * hints + 1) * 4);
    uint32_t *candidates = malloc(count * hints * 16), *out = malloc(count * hints * 4);
    uint8_t *a = malloc(count * bytes), *b = malloc(count * bytes);
    mr_block blocks[7];
    uint32_t at = 0;
    for (uint32_t i = 0; i < count * hints; i++) {
      values[i] = random32() >> (32 - bits);
      starts[i] = at;
      for (uint32_t wrong = random32() % 3; wrong > 0; wrong--) candidates[at++] = random32() >> (32 - bits);
      candidates[at++] = values[i];
    }
    starts[count * hints] = at;
    for (uint32_t i = 0; i < count; i++) blocks[i] = (mr_block){i * hints, hints, i * bytes, bytes};
    kernel->parity(columns, values, bits, blocks, count, a);
    mr_kernel_portable.parity(columns, values, bits, blocks, count, b);
    if (memcmp(a, b, count * bytes) != 0) fail(kernel->name, "parities differ");
    for (uint32_t i = 0; i < count; i++) {
      if (run % 6 == 5) a[i * bytes + bytes / 2] ^= 1;
      const int solved = kernel->solve(columns, starts, candidates, bits, &blocks[i], a, out);
      if (solved != mr_kernel_portable.solve(columns, starts, candidates, bits, &blocks[i], a, out))
        fail(kernel->name, "one solves what the other does not");
      if (solved && run % 6 != 5 && memcmp(out + i * hints, values + i * hints, hints * 4) != 0)
        fail(kernel->name, "a wrong solution");
    }
    free(values);
    free(starts);
    free(candidates);
    free(out);
    free(a);
    free(b);
  }
}

static void check_table(const mr_kernel *kernel) {
  uint64_t block[25];
  for (int i = 0; i < 25; i++) block[i] = i == 0 ? 0 : (uint64_t)random32() << 32 | random32();
  const mr_key key = {block, 12};
  mr_build build = {.order = 16, .parts = 1, .capacity = 65536};
  build.entries = malloc(65536 * 4);
  build.runs = calloc(4, 4);
  build.cursors = calloc(1, 4);
  build.ends = calloc(MR_PART_ENDS, sizeof *build.ends);
  if (!mr_partition(kernel, &key, &build, 32768, 32768) || !mr_partition(kernel, &key, &build, 0, 32768))
    fail(kernel->name, "a part is full");
  if (!mr_index(&build, 0)) fail(kernel->name, "no index");
  uint32_t codes[500], starts[501], found[4000];
  uint8_t skip[500] = {0};
  kernel->range(&key, 1000, 500, codes);
  const uint32_t n = mr_look_up(&build, codes, skip, 500, starts, found, 4000);
  if (mr_look_up(&build, codes, skip, 500, starts, found, 7) != n) fail(kernel->name, "too little room is not told");
  mr_look_up(&build, codes, skip, 500, starts, found, 4000);
  for (uint32_t i = 0; i < 500; i++) {
    int holds = 0;
    for (uint32_t at = starts[i]; at < starts[i + 1]; at++) holds |= found[at] == 1000 + i;
    if (!holds) fail(kernel->name, "a value is not in the table");
  }
  build.capacity = 1000;
  build.cursors[0] = 0;
  if (mr_partition(kernel, &key, &build, 0, 32768)) fail(kernel->name, "a full part is not told");
  free(build.entries);
  free(build.runs);
  free(build.cursors);
  free(build.ends);
}

/* Whole pages within the given range, which stay usable; or none if the system locks none. */
static void check_locking(void) {
  const size_t length = 3 * 65536 + 5;
  unsigned char *room = malloc(length);
  size_t first = 0;
  const size_t locked = mr_lock_pages(room + 1, length - 1, &first);
  if (locked != 0 && (first + locked > length - 1 || ((uintptr_t)room + 1 + first) % 4096 != 0))
    fail("secret", "pages beyond what was given");
  memset(room + 1 + first, 1, locked);
  size_t none = 7;
  if (mr_lock_pages(room, 1, &none) != 0 || none != 7) fail("secret", "a page within one byte");
  free(room);
}

int main(void) {
  check_locking();
  uint8_t *columns = aligned_alloc(MR_COLUMN_BYTES, 342 * 24 * MR_COLUMN_BYTES);
  for (size_t i = 0; i < 342 * 24 * MR_COLUMN_BYTES; i++) columns[i] = (uint8_t)random32();
  int vectors = 0;
  for (vector v; read_vector(&v); vectors++) {
    const mr_key key = {v.block, v.rounds};
    for (size_t i = 0; i < ALL; i++) {
      uint64_t lane;
      if (!runs_here(all[i])) continue;
      all[i]->batch(&key, 0, &v.low, 1, &lane);
      if (lane != v.expected) fail(all[i]->name, "a vector does not hold");
    }
  }
  if (vectors == 0) fail("selftest", "no vectors");
  printf("%d vectors;", vectors);
  for (size_t i = 0; i < ALL; i++) {
    if (!runs_here(all[i])) continue;
    check_hashes(all[i]);
    check_code(all[i], columns);
    check_table(all[i]);
    printf(" %s", all[i]->name);
  }
  printf("\n");
  free(columns);
  return 0;
}
