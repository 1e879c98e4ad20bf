/* NEON: two hashes in parallel, with the baseline instructions of 64-bit ARM. */
#include <arm_neon.h>

typedef uint64x2_t V;
#define LANES 2
#define XOR(a, b) veorq_u64(a, b)
#define XOR5(a, b, c, d, e) XOR(XOR(XOR(a, b), XOR(c, d)), e)
#define CHI(a, b, c) XOR(a, vbicq_u64(c, b))
#define ROL(a, n) vsriq_n_u64(vshlq_n_u64(a, n), a, 64 - (n))
#define SPLAT(x) vdupq_n_u64(x)
#define WIDEN(p) vmovl_u32(vld1_u32(p))
#define STORE(p, v) vst1q_u64(p, v)
#define STORE_LOW(p, v) vst1_u32(p, vmovn_u64(v))
#include "keccak.inc.h"

#include "code.inc.h"

const mr_kernel mr_kernel_neon = {"neon", "NEON, 2 hashes side by side", batch, range, parity, solve};
