// Layer norm and gate by kernels for a GPU (cuda/layer_norm.cu).
#pragma once
#include <optional>

#include "autograd.h"

namespace var {

// As layer_norm_modulate for x [B, L, C] and rows [B, 1, C] in f32; nothing where the kernels do not serve.
std::optional<at::Tensor> gpu_layer_norm(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps,
                                         at::ScalarType kind);

// As gated_add for x [B, L, C] and gate [B, 1, C] in f32; nothing where the kernels do not serve.
std::optional<at::Tensor> gpu_gated_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate);

}  // namespace var
