// The convolution after a nearest-neighbour upsampling.
#include "autograd.h"

namespace var {
namespace {

// Upsampling by two and a 3×3 filter are one transposed convolution of stride 2 with this 4×4 filter:
// every output pixel sees 2×2 input pixels instead of 3×3 copies, 4/9 of the products.
at::Tensor merged(const at::Tensor& weight) {
  auto sum = at::constant_pad_nd(weight, {0, 1, 0, 1}) + at::constant_pad_nd(weight, {1, 0, 0, 1}) +
             at::constant_pad_nd(weight, {0, 1, 1, 0}) + at::constant_pad_nd(weight, {1, 0, 1, 0});
  return sum.flip({2, 3}).transpose(0, 1);
}

}  // namespace

at::Tensor upsample_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  TORCH_CHECK(x.dim() == 4 && weight.dim() == 4 && x.size(1) == weight.size(1) && bias.numel() == weight.size(0) &&
                  weight.size(2) == 3 && weight.size(3) == 3,
              "upsample_convolution: input ", x.sizes(), " does not fit the 3×3 filter ", weight.sizes(),
              " and bias ", bias.sizes());
  const auto kind = x.scalar_type();
  // With few pixels the larger filter costs more than it saves.
  if (fusible(x) && x.size(0) * x.size(2) * x.size(3) >= 512)
    // The bias apart: oneDNN sums its gradient by reference code.
    return at::conv_transpose2d(x, merged(weight).to(kind), {}, /*stride=*/2, /*padding=*/1)
        .add_(bias.to(kind).view({1, -1, 1, 1}));
  return at::conv2d(at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}), weight.to(kind), bias.to(kind), 1, 1);
}

}  // namespace var

extern "C" {
at::Tensor* var_upsample_convolution(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias) {
  return var::guarded([&] { return var::upsample_convolution(*x, *weight, *bias); });
}
}
