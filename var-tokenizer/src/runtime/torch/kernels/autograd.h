// What the autograd functions of this folder share.
#pragma once
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "dispatch.h"
#include "shim.h"

namespace var {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

inline bool brief(const at::Tensor& t) { return t.scalar_type() == at::kBFloat16; }

// Whether the fused loops can take this tensor; if not, the operation is composed.
inline bool fusible(const at::Tensor& t) {
  return fused() && t.device().is_cpu() && t.numel() > 0 &&
         (t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16);
}

// The same values with adjacent channels.
inline at::Tensor channels_last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

// Address of an element of a contiguous tensor.
inline void* at_offset(const at::Tensor& t, int64_t elements) {
  return static_cast<char*>(t.data_ptr()) + elements * int64_t(t.element_size());
}

}  // namespace var
