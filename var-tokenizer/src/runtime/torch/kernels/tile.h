// Small matrix products C [m, n] (+)= A [m, k] · B [k, n] with B packed into panels, f32 accumulation.
//
// A panel holds NV·W columns: [k / STEP][NV·W][STEP], so that one vector load brings STEP consecutive
// values of k for W columns: STEP is 2 for bfloat16 (what vdpbf16ps multiplies), 1 for float.
#pragma once
#include "simd.h"

namespace var {
namespace VAR_SET {

// Vectors a tile is wide at most; 6 rows of them fill the registers.
#if defined(__AVX512F__)
constexpr int WIDE = 4;
#else
constexpr int WIDE = 2;
#endif
constexpr int ROWS = 6;
// Columns of the widest panel.
constexpr int64_t PANEL = WIDE * W;

VAR_INLINE int64_t lower(int64_t a, int64_t b) { return a < b ? a : b; }
VAR_INLINE int64_t rounded(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
VAR_INLINE int64_t vectors(int64_t n) { return (n + W - 1) / W; }

// bfloat16 products only where the processor has them; elsewhere bfloat16 inputs are computed in float.
#if defined(__AVX512BF16__)
#define VAR_HAS_BRIEF 1
#else
#define VAR_HAS_BRIEF 0
#endif

template <class E>
constexpr int STEP = sizeof(E) == 2 ? 2 : 1;

// Columns rounded up to whole panels of NV vectors.
template <int NV>
VAR_INLINE int64_t padded(int64_t n) {
  return (n + NV * W - 1) / (NV * W) * (NV * W);
}

// NV vectors of a panel that is OF wide.
template <int M, int NV, int OF>
VAR_INLINE void tile(const float* a, int64_t lda, const float* b, int64_t k, float* c, int64_t ldc, bool add) {
  vf sums[M][NV];
  for (int i = 0; i < M; i++)
    for (int j = 0; j < NV; j++) sums[i][j] = add ? load(c + i * ldc + j * W) : vf{};
  for (int64_t p = 0; p < k; p++, b += OF * W) {
    vf columns[NV];
    for (int j = 0; j < NV; j++) columns[j] = load(b + j * W);
    for (int i = 0; i < M; i++) {
      vf x = splat(a[i * lda + p]);
      for (int j = 0; j < NV; j++) sums[i][j] += x * columns[j];
    }
  }
  for (int i = 0; i < M; i++)
    for (int j = 0; j < NV; j++) store(c + i * ldc + j * W, sums[i][j]);
}

#if VAR_HAS_BRIEF
// Pairs of k lie `step` apart in a row of A.
template <int M, int NV, int OF>
VAR_INLINE void tile(const bf16* a, int64_t lda, const bf16* b, int64_t k, float* c, int64_t ldc, bool add,
                     int64_t step = 2) {
  __m512 sums[M][NV];
  for (int i = 0; i < M; i++)
    for (int j = 0; j < NV; j++) sums[i][j] = add ? _mm512_loadu_ps(c + i * ldc + j * W) : _mm512_setzero_ps();
  for (int64_t p = 0; p < k; p += 2, a += step, b += 2 * OF * W) {
    __m512bh columns[NV];
    for (int j = 0; j < NV; j++) columns[j] = (__m512bh)_mm512_loadu_si512(b + 2 * j * W);
    for (int i = 0; i < M; i++) {
      int32_t pair;
      __builtin_memcpy(&pair, a + i * lda, 4);
      __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
      for (int j = 0; j < NV; j++) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], x, columns[j]);
    }
  }
  for (int i = 0; i < M; i++)
    for (int j = 0; j < NV; j++) _mm512_storeu_ps(c + i * ldc + j * W, sums[i][j]);
}
#endif

// C [m, NV·W] = or += A [m, k] · the first NV vectors of a panel that is OF wide.
template <int NV, int OF, class E>
static void panel_product(const E* a, int64_t lda, const E* b, int64_t m, int64_t k, float* c, int64_t ldc, bool add) {
  int64_t i = 0;
  for (; i + ROWS <= m; i += ROWS) tile<ROWS, NV, OF>(a + i * lda, lda, b, k, c + i * ldc, ldc, add);
  const E* rest = a + i * lda;
  float* to = c + i * ldc;
  switch (m - i) {
    case 1: tile<1, NV, OF>(rest, lda, b, k, to, ldc, add); break;
    case 2: tile<2, NV, OF>(rest, lda, b, k, to, ldc, add); break;
    case 3: tile<3, NV, OF>(rest, lda, b, k, to, ldc, add); break;
    case 4: tile<4, NV, OF>(rest, lda, b, k, to, ldc, add); break;
    case 5: tile<5, NV, OF>(rest, lda, b, k, to, ldc, add); break;
    default: break;
  }
}

// The same with `used` of WIDE vectors, chosen while running.
template <class E>
static void panel_product(int64_t used, const E* a, int64_t lda, const E* b, int64_t m, int64_t k, float* c,
                          int64_t ldc, bool add) {
  switch (used) {
    case 1: return panel_product<1, WIDE>(a, lda, b, m, k, c, ldc, add);
    case 2: return panel_product<2, WIDE>(a, lda, b, m, k, c, ldc, add);
#if defined(__AVX512F__)
    case 3: return panel_product<3, WIDE>(a, lda, b, m, k, c, ldc, add);
#endif
    default: return panel_product<WIDE, WIDE>(a, lda, b, m, k, c, ldc, add);
  }
}

// C [m, n] = or += A [m, k] · B, n and k already padded (n to panels, k to STEP).
template <int NV, class E>
static void product(const E* a, int64_t lda, const E* b, int64_t m, int64_t n, int64_t k, float* c,
                    int64_t ldc, bool add) {
  for (int64_t j = 0; j < n; j += NV * W, b += k * NV * W) panel_product<NV, NV>(a, lda, b, m, k, c + j, ldc, add);
}

}  // namespace VAR_SET
}  // namespace var
