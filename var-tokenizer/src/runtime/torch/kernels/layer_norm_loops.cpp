// Rows of tokens: LN(x)·(1 + scale) + shift, and x + gate·y, forwards and backwards.
#include "layer_norm.h"
#include "simd.h"

namespace var {
namespace VAR_SET {

// Calls f.template run<X, Y>() for the kinds of the two tensors.
#define VAR_BY_KIND(x_brief, y_brief, call)                     \
  do {                                                          \
    if (x_brief) {                                              \
      using X = bf16;                                           \
      if (y_brief) { using Y = bf16; call; }                    \
      else { using Y = float; call; }                           \
    } else {                                                    \
      using X = float;                                          \
      if (y_brief) { using Y = bf16; call; }                    \
      else { using Y = float; call; }                           \
    }                                                           \
  } while (0)

// Elements i…i+W of a row, or what is left of it.
template <class T>
VAR_INLINE vf take(const T* p, int64_t left) { return left >= W ? load(p) : load_part(p, left); }
template <class T>
VAR_INLINE void give(T* p, vf v, int64_t left) {
  if (left >= W) store(p, v);
  else store_part(p, v, left);
}
// 1 inside the row, 0 behind it.
VAR_INLINE vf inside(int64_t left) {
  float x[W];
  for (int i = 0; i < W; i++) x[i] = i < left ? 1.0f : 0.0f;
  return load(x);
}

template <class X, class Y>
static void norm_rows(const NormRows& r) {
  const int64_t C = r.width;
  for (int64_t i = 0; i < r.rows; i++) {
    const X* x = (const X*)r.x + i * C;
    Y* y = (Y*)r.y + i * C;
    vf total = {};
    for (int64_t j = 0; j < C; j += W) total += take(x + j, C - j);
    const float mean = sum(total) / C;
    vf squares = {};
    int64_t j = 0;
    for (; j + W <= C; j += W) {
      vf d = load(x + j) - mean;
      squares += d * d;
    }
    if (j < C) {
      vf d = (take(x + j, C - j) - mean) * inside(C - j);
      squares += d * d;
    }
    const float inverse = 1.0f / __builtin_sqrtf(sum(squares) / C + r.eps);
    r.mean[i] = mean;
    r.inverse[i] = inverse;
    for (j = 0; j < C; j += W) {
      vf unit = (take(x + j, C - j) - mean) * inverse;
      vf out = unit * (1.0f + take(r.scale + j, C - j)) + take(r.shift + j, C - j);
      give(y + j, out, C - j);
    }
  }
}

template <class X, class Y>
static void norm_rows_backward(const NormRows& r) {
  const int64_t C = r.width;
  for (int64_t j = 0; j < C; j++) r.dscale[j] = r.dshift[j] = 0;
  for (int64_t i = 0; i < r.rows; i++) {
    const X* x = (const X*)r.x + i * C;
    const Y* dy = (const Y*)r.dy + i * C;
    X* dx = (X*)r.dx + i * C;
    const float mean = r.mean[i], inverse = r.inverse[i];
    vf sum_g = {}, sum_gu = {};
    for (int64_t j = 0; j < C; j += W) {
      const int64_t left = C - j;
      vf d = take(dy + j, left);
      vf unit = (take(x + j, left) - mean) * inverse;
      vf g = d * (1.0f + take(r.scale + j, left));  // zero behind the row because d is
      sum_g += g;
      sum_gu += g * unit;
      give(r.dscale + j, take(r.dscale + j, left) + d * unit, left);
      give(r.dshift + j, take(r.dshift + j, left) + d, left);
    }
    const float mean_g = sum(sum_g) / C, mean_gu = sum(sum_gu) / C;
    for (int64_t j = 0; j < C; j += W) {
      const int64_t left = C - j;
      vf unit = (take(x + j, left) - mean) * inverse;
      vf g = take(dy + j, left) * (1.0f + take(r.scale + j, left));
      give(dx + j, (g - mean_g - unit * mean_gu) * inverse, left);
    }
  }
}

void layer_norm_forward(const NormRows& r) { VAR_BY_KIND(r.x_brief, r.y_brief, (norm_rows<X, Y>(r))); }
void layer_norm_backward(const NormRows& r) { VAR_BY_KIND(r.x_brief, r.y_brief, (norm_rows_backward<X, Y>(r))); }

template <class X, class Y>
static void add_rows(const GatedRows& r) {
  const int64_t C = r.width;
  for (int64_t i = 0; i < r.rows; i++)
    for (int64_t j = 0; j < C; j += W) {
      const int64_t left = C - j, at = i * C + j;
      vf sum = take((const X*)r.x + at, left) + take(r.gate + j, left) * take((const Y*)r.y + at, left);
      give((X*)r.out + at, sum, left);
    }
}

template <class X, class Y>
static void add_rows_backward(const GatedRows& r) {
  const int64_t C = r.width;
  for (int64_t j = 0; j < C; j++) r.dgate[j] = 0;
  for (int64_t i = 0; i < r.rows; i++)
    for (int64_t j = 0; j < C; j += W) {
      const int64_t left = C - j, at = i * C + j;
      vf d = take((const X*)r.dout + at, left);
      give((Y*)r.dy + at, d * take(r.gate + j, left), left);
      give(r.dgate + j, take(r.dgate + j, left) + d * take((const Y*)r.y + at, left), left);
    }
}

void gated_add_forward(const GatedRows& r) { VAR_BY_KIND(r.x_brief, r.y_brief, (add_rows<X, Y>(r))); }
void gated_add_backward(const GatedRows& r) { VAR_BY_KIND(r.x_brief, r.y_brief, (add_rows_backward<X, Y>(r))); }

}  // namespace VAR_SET
}  // namespace var
