// GroupNorm with SiLU by kernels for a GPU (cuda/group_norm.cu).
#pragma once
#include <optional>

#include "autograd.h"

namespace var {

// As group_norm_silu; the result has adjacent channels. Nothing where the kernels do not serve.
std::optional<at::Tensor> gpu_group_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                         int64_t groups, double eps, bool silu);

}  // namespace var
