// The block-causal attention of one head, as the loops see it.
#pragma once
#include <stdint.h>

namespace var {

// Channels a head may have in the fused code.
constexpr int64_t MAX_DIM = 1024;

// One head of one image. Rows are tokens; strides are in elements, channels are adjacent. All
// tensors are of one kind, bfloat16 (`brief`) or float. Query i sees the keys before key_end[i]; these ends
// never fall, and the last query sees all keys.
struct Head {
  bool brief;
  int64_t queries, keys, dim;
  const void *q, *k, *v;
  int64_t q_stride, k_stride, v_stride;
  const int32_t* key_end;
  // q is multiplied by `scale`; before, q and k are divided by their lengths where asked for.
  float scale;
  bool normalise_q, normalise_k;
  void* out;
  int64_t out_stride;
  float* log_sum;  // [queries], may be null
};

// What the backward pass needs besides: where gradients come from and go to.
struct HeadGradient {
  const void* out;       // result of the forward pass, strides as in Head
  const void* grad_out;
  int64_t grad_stride;
  const float* log_sum;
  void *dq, *dk, *dv;    // strides as q, k, v
  float* dscale;         // one number
};

}  // namespace var
