// Vectors of floats for the kernels' inner loops.
//
// The *_loops.cpp files are compiled once per instruction set (VAR_SET = baseline, avx2 or avx512,
// see build.rs) into a namespace of that name, and picked at run time (dispatch.h). They include
// nothing of libtorch or of the C++ library: an inline function compiled for AVX-512 must not become
// the copy that the rest of the program uses.
#pragma once
#include <stdint.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define VAR_INLINE static inline __attribute__((always_inline))

namespace var {
namespace VAR_SET {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef uint32_t vu __attribute__((vector_size(W * 4)));
typedef uint16_t vh __attribute__((vector_size(W * 2)));

// A bfloat16 as it lies in memory: the upper half of a float.
struct bf16 {
  uint16_t bits;
};

VAR_INLINE vf splat(float x) { return x - vf{}; }

VAR_INLINE vu widen(vh h) {
#if defined(__AVX512F__)
  return (vu)_mm512_cvtepu16_epi32((__m256i)h);  // the plain conversion goes by halves
#else
  return __builtin_convertvector(h, vu);
#endif
}

VAR_INLINE vf load(const float* p) {
  vf v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
VAR_INLINE vf load(const bf16* p) {
  vh h;
  __builtin_memcpy(&h, p, sizeof h);
  return (vf)(widen(h) << 16);
}
VAR_INLINE void store(float* p, vf v) { __builtin_memcpy(p, &v, sizeof v); }

// Rounds to nearest, ties to even; NaN stays NaN.
VAR_INLINE vh to_bf16(vf v) {
#if defined(__AVX512BF16__)
  return (vh)_mm512_cvtneps_pbh((__m512)v);
#else
  vu u = (vu)v;
  vu rounded = u + 0x7fffu + ((u >> 16) & 1u);
  vi is_nan = v != v;
  rounded = (vu)(((vi)rounded & ~is_nan) | (vi)((vu)is_nan & 0x7fc00000u));
  return __builtin_convertvector(rounded >> 16, vh);
#endif
}
VAR_INLINE void store(bf16* p, vf v) {
  vh h = to_bf16(v);
  __builtin_memcpy(p, &h, sizeof h);
}

// The first `n` < W elements; the others read as zero and are not written.
template <class T>
VAR_INLINE vf load_part(const T* p, int64_t n) {
  T buffer[W] = {};
  for (int64_t i = 0; i < n; i++) buffer[i] = p[i];
  return load(buffer);
}
template <class T>
VAR_INLINE void store_part(T* p, vf v, int64_t n) {
  T buffer[W];
  store(buffer, v);
  for (int64_t i = 0; i < n; i++) p[i] = buffer[i];
}

VAR_INLINE float value(float x) { return x; }
VAR_INLINE float value(bf16 x) {
  uint32_t u = uint32_t(x.bits) << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

VAR_INLINE vf choose(vi mask, vf yes, vf no) { return mask ? yes : no; }
// A NaN gives `b`; so do the processor's instructions.
#if defined(__AVX512F__)
VAR_INLINE vf max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
VAR_INLINE vf min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#else
VAR_INLINE vf max(vf a, vf b) { return a > b ? a : b; }
VAR_INLINE vf min(vf a, vf b) { return a < b ? a : b; }
#endif

// Lane i gets lane i ^ n: halves change places.
template <int N>
VAR_INLINE vf halves_swapped(vf v) {
#if defined(__clang__)
  vf r;
  for (int i = 0; i < W; i++) r[i] = v[i ^ N];
  return r;
#else
  vi lanes;
  for (int i = 0; i < W; i++) lanes[i] = i ^ N;
  return __builtin_shuffle(v, lanes);
#endif
}

// Sums by halving: the order of the additions is fixed.
VAR_INLINE float sum(vf v) {
  if constexpr (W > 8) v += halves_swapped<8>(v);
  if constexpr (W > 4) v += halves_swapped<4>(v);
  v += halves_swapped<2>(v);
  v += halves_swapped<1>(v);
  return v[0];
}
VAR_INLINE float largest(vf v) {
  if constexpr (W > 8) v = max(v, halves_swapped<8>(v));
  if constexpr (W > 4) v = max(v, halves_swapped<4>(v));
  v = max(v, halves_swapped<2>(v));
  v = max(v, halves_swapped<1>(v));
  return v[0];
}

// e^x to 2 units in the last place between −87.3 and 88; held to the ends' values outside. NaN stays NaN.
VAR_INLINE vf exp(vf x) {
  // A NaN passes because it is the second operand.
  vf y = max(splat(-87.3365478515625f), min(splat(88.0f), x));
  // Adding 1.5·2^23 rounds to an integer, which then stands in the low bits.
  vf shifted = y * 1.44269504088896341f + 12582912.0f;
  vf n = shifted - 12582912.0f;
  vf r = y - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  vf p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  vf power = (vf)(((vi)shifted << 23) + 0x3f800000);
  return p * power;
}

// 1/x for x of at least 1, to 2 units in the last place.
VAR_INLINE vf reciprocal(vf x) {
#if defined(__AVX512F__)
  vf guess = (vf)_mm512_rcp14_ps((__m512)x);
  return guess + guess * (1.0f - x * guess);
#else
  return 1.0f / x;
#endif
}

VAR_INLINE vf sigmoid(vf x) { return reciprocal(1.0f + exp(-x)); }

}  // namespace VAR_SET
}  // namespace var
