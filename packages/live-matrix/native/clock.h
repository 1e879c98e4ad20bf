#ifndef MILLRACE_CLOCK_H
#define MILLRACE_CLOCK_H

/*
 * Core cycles per second, estimated from the duration of a chain of dependent additions (one cycle each); 0 if unknown.
 * For machines whose cycle counter cannot be read, such as most virtual machines. Takes about 5 ms.
 */
double mr_estimate_clock(void);

#endif
