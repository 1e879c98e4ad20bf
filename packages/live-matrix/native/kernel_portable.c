/* Plain C on 64-bit words, for processors without a better kernel. */
#include <stdint.h>

typedef uint64_t V;
#define LANES 1
#define XOR(a, b) ((a) ^ (b))
#define XOR5(a, b, c, d, e) ((a) ^ (b) ^ (c) ^ (d) ^ (e))
#define CHI(a, b, c) ((a) ^ (~(b) & (c)))
#define ROL(a, n) rotate(a, n)
#define SPLAT(x) (x)
#define WIDEN(p) ((uint64_t) * (p))
#define STORE(p, v) (*(p) = (v))
#define STORE_LOW(p, v) (*(p) = (uint32_t)(v))

static inline uint64_t rotate(uint64_t a, int n) { return a << n | a >> (64 - n); }

#include "keccak.inc.h"

#include "code.inc.h"

const mr_kernel mr_kernel_portable = {"portable", "portable C, one hash at a time", batch, range, parity, solve};
