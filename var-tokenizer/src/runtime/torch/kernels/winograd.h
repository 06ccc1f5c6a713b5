// A 3×3 convolution of stride 1 and padding 1 by Winograd's F(2×2, 3×3), as its loops see it.
#pragma once
#include <stdint.h>

namespace var {

// Side of the patch of the input that gives 2×2 pixels; its square is the number of products.
constexpr int64_t PATCH = 4, PRODUCTS = PATCH * PATCH;
// Channels in and out are multiples of this.
constexpr int64_t CHANNELS = 32;

// Pixels lie with adjacent channels. A tile is 2×2 pixels of the result; tiles are counted row by row, image by image.
struct WinogradPass {
  bool brief;                     // of x and the filter
  int64_t height, width, inputs, outputs;
  const void* x;
  const void* filter;             // by winograd_filter
  const float* bias;
  bool residual_brief, y_brief;
  const void* residual;           // added to the result, or null
  void* y;
  int64_t first, count;           // tiles
};

// How far the transformed filter has got: panels [first, first + count) of `outputs`.
struct WinogradFilter {
  bool brief;
  int64_t inputs, outputs;
  const float* weight;            // [3][3][inputs][outputs]
  void* to;                       // [panel][16][inputs / step][columns of the panel][step]
};

}  // namespace var
