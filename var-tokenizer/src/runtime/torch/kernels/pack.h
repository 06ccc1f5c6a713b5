// Matrices laid out anew: transposed, and as panels for tile.h. All sizes are multiples of W (of 2·W
// where bfloat16 goes in pairs).
#pragma once
#include "tile.h"

namespace var {
namespace VAR_SET {

// Rows fetched before they are read: they lie far apart, so that the processor does not guess the next one.
constexpr int64_t AHEAD = 16;

template <class T>
VAR_INLINE void fetch(const T* row, int64_t n) {
  for (int64_t j = 0; j < n; j += 64 / (int64_t)sizeof(T)) __builtin_prefetch(row + j);
}

#if defined(__clang__)
#define VAR_SHUFFLE(a, b, mask) shuffle_by_hand(a, b, mask)
VAR_INLINE vu shuffle_by_hand(vu a, vu b, vi mask) {
  vu r;
  for (int i = 0; i < W; i++) r[i] = mask[i] < W ? a[mask[i]] : b[mask[i] - W];
  return r;
}
#else
#define VAR_SHUFFLE(a, b, mask) __builtin_shuffle(a, b, mask)
#endif

// Transposes a W×W square in registers: blocks of growing size change places.
template <int HALF>
VAR_INLINE void swap_blocks(vu* rows) {
  vi low, high;
  for (int j = 0; j < W; j++) {
    low[j] = (j & HALF) ? j - HALF + W : j;
    high[j] = (j & HALF) ? j + W : j + HALF;
  }
  for (int i = 0; i < W; i++) {
    if (i & HALF) continue;
    vu a = rows[i], b = rows[i + HALF];
    rows[i] = VAR_SHUFFLE(a, b, low);
    rows[i + HALF] = VAR_SHUFFLE(a, b, high);
  }
}
VAR_INLINE void transpose_square(vu* rows) {
  swap_blocks<1>(rows);
  swap_blocks<2>(rows);
  if constexpr (W > 4) swap_blocks<4>(rows);
  if constexpr (W > 8) swap_blocks<8>(rows);
}

// [n][k] → [k][n]
template <class From, class To>
static void transpose(const From* rows, int64_t n, int64_t k, To* columns) {
  for (int64_t i = 0; i < n; i += W)
    for (int64_t j = 0; j < k; j += W) {
      vu square[W];
      for (int x = 0; x < W; x++) square[x] = (vu)load(rows + (i + x) * k + j);
      transpose_square(square);
      for (int x = 0; x < W; x++) store(columns + (j + x) * n + i, (vf)square[x]);
    }
}

// Rows [n][k] into panels of `width` vectors whose columns are the rows: B = rowsᵀ, [k, n].
// STEP values of k stand together in 32 bits, for either kind.
template <class E>
static void pack_columns(const E* rows, int64_t n, int64_t k, int width, E* panels) {
  const int64_t wide = width * W, words = k / STEP<E>;
  for (int64_t i = 0; i < n; i += W)
    for (int64_t j = 0; j < words; j += W) {
      vu square[W];
      for (int x = 0; x < W; x++) __builtin_memcpy(&square[x], rows + (i + x) * k + j * STEP<E>, sizeof(vu));
      transpose_square(square);
      E* to = panels + i / wide * wide * k + i % wide * STEP<E>;
      for (int x = 0; x < W; x++) __builtin_memcpy(to + (j + x) * wide * STEP<E>, &square[x], sizeof(vu));
    }
}

// The first `n` of W values, zero behind; `halves` as bfloat16.
template <class T>
VAR_INLINE vf load_some(const T* p, int64_t n) {
  return n >= W ? load(p) : n > 0 ? load_part(p, n) : vf{};
}
VAR_INLINE vh halves(const float* p, int64_t n) { return to_bf16(load_some(p, n)); }
VAR_INLINE vh halves(const bf16* p, int64_t n) {
  if (n < W) return to_bf16(load_some(p, n));
  vh h;
  __builtin_memcpy(&h, p, sizeof h);
  return h;
}

// Two rows of bfloat16 interleaved: the later one in the upper halves.
VAR_INLINE vu weave(vh even, vh odd) {
  return widen(even) | widen(odd) << 16;
}

// Rows [k][n] (their distance `stride`) into panels of `width` vectors with the same columns: B = rows.
template <class From, class E>
static void pack_rows(const From* rows, int64_t stride, int64_t k, int64_t n, int width, E* panels) {
  const int64_t wide = width * W;
  for (int64_t first = 0; first < n; first += wide)
    for (int64_t p = 0; p < k; p += STEP<E>)
      for (int64_t j = 0; j < wide; j += W, panels += STEP<E> * W) {
        const From* at = rows + p * stride + first + j;
        if constexpr (STEP<E> == 2) {
          vu pairs = weave(halves(at, W), halves(at + stride, W));
          __builtin_memcpy(panels, &pairs, sizeof pairs);
        } else {
          store(panels, load(at));
        }
      }
}

}  // namespace VAR_SET
}  // namespace var
