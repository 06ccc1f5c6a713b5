// Convolutions in the kind of their input, and the one after a nearest-neighbour upsampling.
#include "autograd.h"

namespace var {
namespace {

void check(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  TORCH_CHECK(x.dim() == 4 && weight.dim() == 4 && x.size(1) == weight.size(1) && bias.numel() == weight.size(0),
              "convolution: input ", x.sizes(), " does not fit weight ", weight.sizes(), " and bias ", bias.sizes());
}

// Upsampling by two and a 3×3 filter are one transposed convolution of stride 2 with this 4×4 filter:
// every output pixel sees 2×2 input pixels instead of 3×3 copies, 4/9 of the products.
at::Tensor merged(const at::Tensor& weight) {
  auto sum = at::constant_pad_nd(weight, {0, 1, 0, 1}) + at::constant_pad_nd(weight, {1, 0, 0, 1}) +
             at::constant_pad_nd(weight, {0, 1, 1, 0}) + at::constant_pad_nd(weight, {1, 0, 1, 0});
  return sum.flip({2, 3}).transpose(0, 1);
}

}  // namespace

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                       int64_t padding) {
  check(x, weight, bias);
  const auto kind = x.scalar_type();
  return at::conv2d(x, cast_weight(weight, kind), cast_weight(bias, kind), stride, padding);
}

at::Tensor upsample_convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  check(x, weight, bias);
  TORCH_CHECK(weight.size(2) == 3 && weight.size(3) == 3, "upsample_convolution: expected a 3×3 filter, got ",
              weight.sizes());
  const auto kind = x.scalar_type();
  // With few pixels the larger filter costs more than it saves.
  if (fusible(x) && x.size(0) * x.size(2) * x.size(3) >= 512)
    return at::conv_transpose2d(x, merged(weight).to(kind), cast_weight(bias, kind), /*stride=*/2, /*padding=*/1);
  return convolution(at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}), weight, bias, 1, 1);
}

}  // namespace var

extern "C" {
at::Tensor* var_convolution(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias, int64_t stride,
                            int64_t padding) {
  return var::guarded([&] { return var::convolution(*x, *weight, *bias, stride, padding); });
}
at::Tensor* var_upsample_convolution(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias) {
  return var::guarded([&] { return var::upsample_convolution(*x, *weight, *bias); });
}
}
