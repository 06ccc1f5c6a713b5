// Products of so few rows with a matrix that they only wait for its weights.
#pragma once
#include "autograd.h"

// Columns begin to end of y [m, n] = x [m, k] · wᵀ + bias, w [n, k], bias [n] or null.
VAR_KERNEL(few_rows, (bool brief, const void* x, const void* w, const float* bias, void* y, int64_t m, int64_t begin,
                      int64_t end, int64_t n, int64_t k))

namespace var {

// Up to so many rows the loops beat libtorch's products, which reach a third of what memory can give.
constexpr int64_t FEW = 8;

// Whether x [rows…, k] meets `weight` [n, k] in the loops, as `kind`; they have no gradient.
inline bool is_few(const at::Tensor& x, const at::Tensor& weight, at::ScalarType kind) {
  return x.numel() <= FEW * x.size(-1) && fusible(x) && fusible(weight) && weight.scalar_type() == kind &&
         weight.is_contiguous() && !(at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad()));
}

}  // namespace var
