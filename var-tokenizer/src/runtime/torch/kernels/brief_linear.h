// Products of bfloat16 matrices with many rows, with f32 sums: faster than libtorch's, and the result may be f32.
#pragma once
#include "autograd.h"

namespace var {

// Whether the loops should multiply a [m, depth] by a matrix with `columns` columns. `kind` is that of the result: libtorch
// gives no f32, and bfloat16 faster where there are few rows or the processor has matrix units (AMX).
bool brief_applies(const at::Tensor& a, int64_t columns, at::ScalarType kind);

// a [m, k] · wᵀ + bias [n] in `kind`, with w [n, k] in f32 or bfloat16.
at::Tensor brief_linear(const at::Tensor& a, const at::Tensor& w, const at::Tensor& bias, at::ScalarType kind);
// dy [m, n] · w in bfloat16.
at::Tensor brief_input_gradient(const at::Tensor& dy, const at::Tensor& w);
// dyᵀ · x in f32, with dy [m, n], x [m, k].
at::Tensor brief_weight_gradient(const at::Tensor& dy, const at::Tensor& x);

}  // namespace var
