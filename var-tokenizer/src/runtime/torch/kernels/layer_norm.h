// Consecutive rows (tokens) of one image, as the loops see them.
#pragma once
#include <stdint.h>

namespace var {

// y = LN(x)·(1 + scale) + shift; `scale` and `shift` [width] hold for all rows.
struct NormRows {
  bool x_brief, y_brief;
  int64_t rows, width;
  float eps;
  const void* x;
  const float *scale, *shift;
  void* y;
  float *mean, *inverse;  // [rows], written forwards, read backwards
  const void* dy;         // kind of y
  void* dx;               // kind of x
  float *dscale, *dshift; // [width], summed over the rows
};

// out = x + gate·y; the gradient of x is that of out.
struct GatedRows {
  bool x_brief, y_brief;
  int64_t rows, width;
  const void *x, *y;
  const float* gate;
  void* out;
  const void* dout;  // kind of x
  void* dy;          // kind of y
  float* dgate;      // [width], summed over the rows
};

}  // namespace var
