// Pixels of one image with adjacent channels, as the GroupNorm loops see them.
#pragma once
#include <stdint.h>

namespace var {

// x is [pixels, channels]. Everything per channel is f32 and holds for this image.
struct Pixels {
  bool brief, y_brief, silu;   // the kind of x and its gradient, of y
  int64_t count, channels;
  const void* x;
  const float* pivot;           // subtracted before squares are summed: keeps them small
  float *sums, *squares;        // out: sum of x − pivot, of its square; backwards: of dz, of dz·x̂
  const float *factor, *offset; // z = x·factor + offset, before the SiLU
  void* y;
  const void* dy;
  const float *mean, *inverse;       // per channel (that of its group)
  const float *by_x, *constant;      // dx = dz·factor + x·by_x + constant
  void* dx;
};

}  // namespace var
