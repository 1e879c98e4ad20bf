#ifndef MR_SECRET_H
#define MR_SECRET_H

#include <stddef.h>

/*
 * Locks the whole pages within `length` bytes at `data` in memory and excludes them from core dumps. Returns the number
 * of locked bytes and sets `first` to the offset of the first one. Returns 0 if there is no whole page or the system
 * refuses.
 */
size_t mr_lock_pages(void *data, size_t length, size_t *first);

/* Disables core dumps of this process and access to its memory by other processes of the same user. Returns 0 if that is not possible. */
int mr_forbid_looking(void);

#endif
