/* Building the inverse table and looking codes up; src/table/hint-table.ts describes its layout. */
#ifndef MILLRACE_TABLE_H
#define MILLRACE_TABLE_H

#include "kernel.h"

#define MR_PART_BUCKETS 4096u
/* Number of words that hold the ends of a part's groups and buckets. */
#define MR_PART_ENDS (MR_PART_BUCKETS + 16u)

#define MR_SUPERBLOCK (1u << 15)

/* Hashes g = first … first+count-1 (whole superblocks) and adds each to its part. Returns 0 if a part is full. */
int mr_partition(const mr_kernel *kernel, const mr_key *key, const mr_build *build, uint32_t first, uint32_t count);

/* Sorts one part by bucket, packs it and writes its ends. Returns 0 if memory is short or the runs do not match the part. */
int mr_index(const mr_build *build, uint32_t part);

/* Wipes a finished table. */
void mr_wipe(const mr_build *table);

/* Wipes a table and returns its memory to the system. It may be filled again. */
void mr_discard(const mr_build *table);

/*
 * Candidates of `count` codes: starts[i] … starts[i+1] in `found`. If skip[i] is set, the only candidate is 0. Returns
 * the number of candidates; if it exceeds `room`, only the first `room` are written.
 */
uint32_t mr_look_up(const mr_build *table, const uint32_t *codes, const uint8_t *skip, size_t count,
                    uint32_t *starts, uint32_t *found, uint32_t room);

#endif
