#ifndef MR_SECRET_H
#define MR_SECRET_H

#include <stddef.h>

/*
 * Keeps the whole pages within `length` bytes at `data` in memory and out of core dumps. Returns how many bytes that are and
 * sets `first` to the offset of the first; 0 when there is none, or the system refuses.
 */
size_t mr_lock_pages(void *data, size_t length, size_t *first);

/* No core dumps of this process, and no other process of the same user may look into it. 0 when that is not possible. */
int mr_forbid_looking(void);

#endif
