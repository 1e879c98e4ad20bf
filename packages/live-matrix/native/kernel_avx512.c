/* AVX-512: eight hashes in parallel. Chi, the sums of theta and rotations are single instructions. */
#include <immintrin.h>

typedef __m512i V;
#define LANES 8
#define XOR(a, b) _mm512_xor_si512(a, b)
#define XOR3(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0x96)
#define XOR5(a, b, c, d, e) XOR3(XOR3(a, b, c), d, e)
#define CHI(a, b, c) _mm512_ternarylogic_epi64(a, b, c, 0xd2)
#define ROL(a, n) _mm512_rol_epi64(a, n)
#define SPLAT(x) _mm512_set1_epi64((long long)(x))
#define WIDEN(p) _mm512_cvtepu32_epi64(_mm256_loadu_si256((const __m256i *)(p)))
#define STORE(p, v) _mm512_storeu_si512((void *)(p), v)
#define STORE_LOW(p, v) _mm256_storeu_si256((__m256i *)(p), _mm512_cvtepi64_epi32(v))
#include "keccak.inc.h"

#include "code.inc.h"

const mr_kernel mr_kernel_avx512 = {"avx512", "AVX-512, 8 hashes side by side", batch, range, parity, solve};
