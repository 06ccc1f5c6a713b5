// GELU in its tanh form, ½x(1 + tanh(√(2/π)(x + 0.044715x³))), and its derivative.
#include "simd.h"

namespace var {
namespace VAR_SET {

constexpr float SLOPE = 0.7978845608028654f, CUBE = 0.044715f;

// ½(1 + tanh u) = sigmoid(2u)
VAR_INLINE vf weight(vf x) { return sigmoid(2.0f * SLOPE * (x + CUBE * x * x * x)); }

template <class T>
static void forward(const T* x, T* y, int64_t n) {
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    vf v = load(x + i);
    store(y + i, v * weight(v));
  }
  if (i < n) {
    vf v = load_part(x + i, n - i);
    store_part(y + i, v * weight(v), n - i);
  }
}

VAR_INLINE vf slope(vf x) {
  vf s = weight(x);
  return s + x * s * (1.0f - s) * (2.0f * SLOPE) * (1.0f + 3.0f * CUBE * x * x);
}

template <class T>
static void backward(const T* x, const T* dy, T* dx, int64_t n) {
  int64_t i = 0;
  for (; i + W <= n; i += W) store(dx + i, load(dy + i) * slope(load(x + i)));
  if (i < n) store_part(dx + i, load_part(dy + i, n - i) * slope(load_part(x + i, n - i)), n - i);
}

void gelu_forward(bool brief, const void* x, void* y, int64_t n) {
  if (brief) forward((const bf16*)x, (bf16*)y, n);
  else forward((const float*)x, (float*)y, n);
}
void gelu_backward(bool brief, const void* x, const void* dy, void* dx, int64_t n) {
  if (brief) backward((const bf16*)x, (const bf16*)dy, (bf16*)dx, n);
  else backward((const float*)x, (const float*)dy, (float*)dx, n);
}

}  // namespace VAR_SET
}  // namespace var
