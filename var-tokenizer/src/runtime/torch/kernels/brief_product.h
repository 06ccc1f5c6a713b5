// Products of bfloat16 matrices with f32 sums, as the loops see them. Rows are adjacent.
#pragma once
#include <stdint.h>

namespace var {

// Columns of a packed panel.
constexpr int64_t BRIEF_PANEL = 64;

// Packs a matrix [depth, columns], f32 or bfloat16 (`brief`), into panels; it lies as [columns, depth] where `turned`.
// The depth is even.
struct BriefPanels {
  bool brief, turned;
  int64_t depth, columns;
  const void* from;
  void* to;
};

// y [m, n] (f32 or bfloat16) = a [m, depth] · panels + bias [n].
struct BriefProduct {
  int64_t m, n, depth;
  const void *a, *panels;
  const float* bias;  // may be null
  void* y;
  bool y_brief;
};

// dw [n, k] (f32) = dyᵀ · x with dy [m, n] and x [m, k]: the part of these rows and columns.
struct BriefGradient {
  int64_t m, n, k;
  const void *dy, *x;
  float* dw;
  int64_t n_begin, n_end, k_begin, k_end;
};

}  // namespace var
