#ifndef MILLRACE_CLOCK_H
#define MILLRACE_CLOCK_H

/*
 * Core cycles a second, from the time that a chain of dependent additions takes (one cycle each); 0 where that is not
 * known. For machines whose cycle counter cannot be read, as in most virtual ones. Takes about 5 ms.
 */
double mr_estimate_clock(void);

#endif
