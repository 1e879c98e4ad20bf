/* AVX2: four hashes in parallel. The state does not fit into sixteen registers; the compiler spills it to the stack. */
#include <immintrin.h>

typedef __m256i V;
#define LANES 4
#define XOR(a, b) _mm256_xor_si256(a, b)
#define XOR5(a, b, c, d, e) XOR(XOR(XOR(a, b), XOR(c, d)), e)
#define CHI(a, b, c) XOR(a, _mm256_andnot_si256(b, c))
#define ROL(a, n) rotate(a, n)
#define SPLAT(x) _mm256_set1_epi64x((long long)(x))
#define WIDEN(p) _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)(p)))
#define STORE(p, v) _mm256_storeu_si256((__m256i *)(p), v)
#define STORE_LOW(p, v) _mm_storeu_si128((__m128i *)(p), low_words(v))

/* A rotation by whole bytes is one shuffle, any other two shifts. */
static inline __attribute__((always_inline)) V rotate(V a, int n) {
  if (n == 8)
    return _mm256_shuffle_epi8(a, _mm256_setr_epi8(7, 0, 1, 2, 3, 4, 5, 6, 15, 8, 9, 10, 11, 12, 13, 14, 7, 0, 1, 2, 3,
                                                   4, 5, 6, 15, 8, 9, 10, 11, 12, 13, 14));
  if (n == 56)
    return _mm256_shuffle_epi8(a, _mm256_setr_epi8(1, 2, 3, 4, 5, 6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 8, 1, 2, 3, 4, 5,
                                                   6, 7, 0, 9, 10, 11, 12, 13, 14, 15, 8));
  return _mm256_or_si256(_mm256_slli_epi64(a, n), _mm256_srli_epi64(a, 64 - n));
}

static inline __m128i low_words(V v) {
  return _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6)));
}

#include "keccak.inc.h"

#include "code.inc.h"

const mr_kernel mr_kernel_avx2 = {"avx2", "AVX2, 4 hashes side by side", batch, range, parity, solve};
