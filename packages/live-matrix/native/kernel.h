/*
 * Interface between the kernels and the addon. The translation unit of each instruction set defines one `mr_kernel`;
 * addon.c selects one at run time.
 */
#ifndef MILLRACE_KERNEL_H
#define MILLRACE_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* The one block of H for g = 0 (spec/live-matrix.md, section 3): 25 lanes, padding included; and its rounds, 24 or 12. */
typedef struct {
  const uint64_t *block;
  int rounds;
} mr_key;

/* A table, finished or under construction; src/table/hint-table.ts describes its layout. */
typedef struct {
  uint32_t *entries; /* parts × capacity */
  uint16_t *ends;    /* parts × MR_PART_ENDS */
  uint32_t *runs;    /* while building: start and length for each superblock and part */
  uint32_t *cursors; /* while building: entries so far in each part; incremented atomically */
  uint32_t order;
  uint32_t parts;
  uint32_t capacity;
} mr_build;

/* A block of the parity code: first hint, number of hints, offset and length of its parity. */
typedef struct {
  uint32_t first, hints, parity_at, parity_bytes;
} mr_block;

#define MR_COLUMN_BYTES 64
#define MR_MAX_UNKNOWNS 512

typedef struct {
  const char *name;
  const char *detail;
  /* Lane 0 of H for g = high·2^32 + values[i]. */
  void (*batch)(const mr_key *key, uint32_t high, const uint32_t *values, size_t count, uint64_t *out);
  /* Low words of H for first, first + 1, … (below 2^32). */
  void (*range)(const mr_key *key, uint32_t first, size_t count, uint32_t *out);
  /* Parity of all blocks; `columns` is the generator, aligned to 64 bytes. */
  void (*parity)(const uint8_t *columns, const uint32_t *values, uint32_t symbol_bits, const mr_block *blocks,
                 size_t block_count, uint8_t *out);
  /* Returns 1 if the block has exactly one solution, and writes it to `out`; otherwise 0. */
  int (*solve)(const uint8_t *columns, const uint32_t *starts, const uint32_t *values, uint32_t symbol_bits,
               const mr_block *block, const uint8_t *parity, uint32_t *out);
} mr_kernel;

extern const mr_kernel mr_kernel_portable;
#if defined(__x86_64__)
extern const mr_kernel mr_kernel_avx2;
extern const mr_kernel mr_kernel_avx512;
#elif defined(__aarch64__)
extern const mr_kernel mr_kernel_neon;
#endif

/* Round constants (FIPS 202). */
extern const uint64_t mr_round_constants[24];

#endif
