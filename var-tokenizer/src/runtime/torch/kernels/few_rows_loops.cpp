// The product of a few rows with a matrix, y = x·wᵀ + bias: bound by reading w, so w is read once, as it lies.
#include "simd.h"

namespace var {
namespace VAR_SET {

// Rows of w read side by side, and rows of x that meet them in registers.
constexpr int TOGETHER = 4, MOST = 4;

#if defined(__AVX512BF16__)
// Sums of 32 products at a time, without widening. The next rows of w are fetched meanwhile.
template <int R, int M>
VAR_INLINE int64_t dots(const bf16* x, const bf16* w, int64_t k, vf (*sums)[M]) {
  __m512 s[R][M];
  for (int r = 0; r < R; r++)
    for (int m = 0; m < M; m++) s[r][m] = _mm512_setzero_ps();
  int64_t p = 0;
#pragma GCC unroll 2
  for (; p + 32 <= k; p += 32) {
    __m512bh rows[M];
    for (int m = 0; m < M; m++) rows[m] = (__m512bh)_mm512_loadu_si512(x + m * k + p);
    for (int r = 0; r < R; r++) {
      __builtin_prefetch(w + (R + r) * k + p);
      __m512bh column = (__m512bh)_mm512_loadu_si512(w + r * k + p);
      for (int m = 0; m < M; m++) s[r][m] = _mm512_dpbf16_ps(s[r][m], rows[m], column);
    }
  }
  for (int r = 0; r < R; r++)
    for (int m = 0; m < M; m++) sums[r][m] = (vf)s[r][m];
  return p;
}
#endif

template <int R, int M, class T>
VAR_INLINE int64_t dots(const T* x, const T* w, int64_t k, vf (*sums)[M]) {
  for (int r = 0; r < R; r++)
    for (int m = 0; m < M; m++) sums[r][m] = vf{};
  int64_t p = 0;
  for (; p + W <= k; p += W) {
    vf rows[M];
    for (int m = 0; m < M; m++) rows[m] = load(x + m * k + p);
    for (int r = 0; r < R; r++) {
      __builtin_prefetch(w + (R + r) * k + p);
      vf column = load(w + r * k + p);
      for (int m = 0; m < M; m++) sums[r][m] += rows[m] * column;
    }
  }
  return p;
}

// R columns of y for M rows.
template <int R, int M, class T>
static void tile(const T* x, const T* w, const float* bias, T* y, int64_t n, int64_t k) {
  vf sums[R][M];
  const int64_t done = dots<R, M>(x, w, k, sums);
  for (int r = 0; r < R; r++)
    for (int m = 0; m < M; m++) {
      float s = sum(sums[r][m]);
      for (int64_t p = done; p < k; p++) s += value(x[m * k + p]) * value(w[r * k + p]);
      if (bias) s += bias[r];
      vf one = splat(s);
      store_part(y + m * n + r, one, 1);
    }
}

template <int R, class T>
static void rows(const T* x, const T* w, const float* bias, T* y, int64_t m, int64_t n, int64_t k) {
  for (; m >= MOST; m -= MOST, x += MOST * k, y += MOST * n) tile<R, MOST>(x, w, bias, y, n, k);
  switch (m) {
    case 1: tile<R, 1>(x, w, bias, y, n, k); break;
    case 2: tile<R, 2>(x, w, bias, y, n, k); break;
    case 3: tile<R, 3>(x, w, bias, y, n, k); break;
    default: break;
  }
}

template <class T>
static void columns(const T* x, const T* w, const float* bias, T* y, int64_t m, int64_t begin, int64_t end, int64_t n,
                    int64_t k) {
  int64_t j = begin;
  for (; j + TOGETHER <= end; j += TOGETHER) rows<TOGETHER>(x, w + j * k, bias ? bias + j : nullptr, y + j, m, n, k);
  for (; j < end; j++) rows<1>(x, w + j * k, bias ? bias + j : nullptr, y + j, m, n, k);
}

// Columns begin to end of y [m, n], from x [m, k], w [n, k] and bias [n] (or none).
void few_rows(bool brief, const void* x, const void* w, const float* bias, void* y, int64_t m, int64_t begin, int64_t end,
              int64_t n, int64_t k) {
  if (brief) columns((const bf16*)x, (const bf16*)w, bias, (bf16*)y, m, begin, end, n, k);
  else columns((const float*)x, (const float*)w, bias, (float*)y, m, begin, end, n, k);
}

}  // namespace VAR_SET
}  // namespace var
