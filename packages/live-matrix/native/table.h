/* Building and asking the inverse table; its form is described in src/table/hint-table.ts. */
#ifndef MILLRACE_TABLE_H
#define MILLRACE_TABLE_H

#include "kernel.h"

#define MR_PART_BUCKETS 4096u
/* Numbers that tell where the buckets of a part end: of its groups and of its buckets. */
#define MR_PART_ENDS (MR_PART_BUCKETS + 16u)

#define MR_SUPERBLOCK (1u << 15)

/* Hashes g = first … first+count-1, whole superblocks, and puts each into its part. 0 when a part is full. */
int mr_partition(const mr_kernel *kernel, const mr_key *key, const mr_build *build, uint32_t first, uint32_t count);

/* Sorts one part by bucket, packs it and writes its ends. 0 when memory is short, or the runs are not those of the part. */
int mr_index(const mr_build *build, uint32_t part);

/* Wipes a table that was finished. */
void mr_wipe(const mr_build *table);

/* Wipes a table and gives its memory back to the system; it may be filled again. */
void mr_discard(const mr_build *table);

/*
 * Candidates of `count` codes: starts[i] … starts[i+1] in `found`. Where skip[i] is set the only candidate is 0.
 * Returns how many there are; when that is more than `room`, only the first `room` were written.
 */
uint32_t mr_look_up(const mr_build *table, const uint32_t *codes, const uint8_t *skip, size_t count,
                    uint32_t *starts, uint32_t *found, uint32_t room);

#endif
