#define _DEFAULT_SOURCE /* madvise */
#define _DARWIN_C_SOURCE
#include "secret.h"

#if defined(__linux__) || defined(__APPLE__)
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>
#endif
#ifdef __linux__
#include <sys/prctl.h>
#endif

size_t mr_lock_pages(void *data, size_t length, size_t *first) {
#if defined(__linux__) || defined(__APPLE__)
  const long size = sysconf(_SC_PAGESIZE);
  if (size <= 0) return 0;
  const uintptr_t page = (uintptr_t)size, begin = (uintptr_t)data;
  const uintptr_t from = (begin + page - 1) / page * page, to = (begin + length) / page * page;
  if (to <= from) return 0;
  char *const pages = (char *)data + (from - begin);
  if (mlock(pages, to - from) != 0) return 0;
#ifdef MADV_DONTDUMP
  if (madvise(pages, to - from, MADV_DONTDUMP) != 0) {
    munlock(pages, to - from);
    return 0;
  }
#endif
  *first = from - begin;
  return to - from;
#else
  (void)data;
  (void)length;
  (void)first;
  return 0;
#endif
}

int mr_forbid_looking(void) {
#ifdef __linux__
  return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
#else
  return 0;
#endif
}
