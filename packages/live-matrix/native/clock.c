#include "clock.h"

#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

double mr_estimate_clock(void) {
#if defined(__x86_64__) || defined(__aarch64__)
  double best = 0;
  for (int run = 0; run < 5; run++) {
    const long steps = 4000000;
    unsigned long sum = 1;
    const double start = now();
    for (long i = 0; i < steps; i++) {
#if defined(__x86_64__)
      __asm__ volatile("add $1, %0" : "+r"(sum));
#else
      __asm__ volatile("add %0, %0, #1" : "+r"(sum));
#endif
    }
    const double rate = (double)steps / (now() - start);
    if (rate > best) best = rate;
  }
  return best;
#else
  return 0;
#endif
}
