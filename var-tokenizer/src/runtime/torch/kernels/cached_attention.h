// Attention from new tokens to everything in a cache and to themselves, head by head.
#pragma once
#include <vector>

#include "attention.h"
#include "autograd.h"

namespace var {

// The heads of one call. Each adds its keys and values to the caches [B, H, Lmax, d] from row `start` on.
class CachedAttention {
 public:
  // qkv [B, L, 3·H·d] and out [B, L, H·d] are contiguous, `factors` [H] f32.
  CachedAttention(const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& factors, int64_t heads,
                  const at::Tensor& keys, const at::Tensor& values, int64_t start, bool normalise);
  int64_t count() const { return qkv_.size(0) * heads_; }
  // Bytes of scratch that one head needs.
  int64_t bytes() const;
  void run(int64_t i, char* scratch) const;

 private:
  Head describe(int64_t i) const;
  at::Tensor qkv_, out_, factors_, keys_, values_;
  int64_t heads_, start_;
  bool normalise_;
  std::vector<int32_t> seen_;
};

}  // namespace var
