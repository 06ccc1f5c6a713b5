// Attention of libtorch's own kernels, for tensors that the fused loops do not take.
#pragma once
#include "autograd.h"

namespace var {

// qkv [B, L, 3·H·d], one f32 factor for the queries of each head → [B, L, H·d]. Scales end at `ends`.
at::Tensor composed_block_causal(const at::Tensor& qkv, const at::Tensor& scale, int64_t heads,
                                 const std::vector<int64_t>& ends, bool normalise);

// The same from the new tokens in qkv to all tokens in the caches [B, H, Lmax, d], which get theirs from row `start` on.
at::Tensor composed_cached(const at::Tensor& qkv, const at::Tensor& scale, int64_t heads, const at::Tensor& cache_k,
                           const at::Tensor& cache_v, int64_t start, bool normalise);

}  // namespace var
