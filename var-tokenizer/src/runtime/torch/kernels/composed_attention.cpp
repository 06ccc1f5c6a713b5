// Block-causal attention as one autograd function of libtorch's attention kernels, one call for each scale.
//
// Queries and keys are normalised into the kind of the products, with norms and factors in f32. Gradients of keys and
// values, to which every later scale adds, are summed in f32.
#include "composed_attention.h"

#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_efficient_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_backward.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>

namespace var {
namespace {

// A vector of this length or shorter is divided by it instead of its length.
constexpr double LEAST_NORM = 1e-12;
// Channels of a head that flash attention takes at most; its tensors start at multiples of 16 bytes.
constexpr int64_t FLASH_DIM = 256, ALIGNED_DIM = 8;

// What the backward pass of one call needs. On the CPU without the last two.
struct Attended {
  at::Tensor out, log_sum, seed, offset;
};

enum class Kernel { CPU, FLASH, EFFICIENT };

Kernel kernel_for(const at::Tensor& q) {
  if (q.device().is_cpu()) return Kernel::CPU;
  const int64_t d = q.size(-1);
  TORCH_CHECK(d % ALIGNED_DIM == 0, "attention: on ", q.device(), ", heads need a multiple of ", ALIGNED_DIM,
              " channels, but have ", d);
  return q.scalar_type() != at::kFloat && d <= FLASH_DIM ? Kernel::FLASH : Kernel::EFFICIENT;
}

// q [B, H, l, d], k and v [B, H, m, d]. With `causal`, query i sees the keys up to i.
Attended attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal) {
  switch (kernel_for(q)) {
    case Kernel::CPU: {
      auto [out, log_sum] = at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, {}, 1.0);
      return {out, log_sum, {}, {}};
    }
    case Kernel::FLASH: {
      auto all = at::_scaled_dot_product_flash_attention(q, k, v, 0.0, causal, false, 1.0);
      return {std::get<0>(all), std::get<1>(all), std::get<6>(all), std::get<7>(all)};
    }
    default: {
      auto [out, log_sum, seed, offset] =
          at::_scaled_dot_product_efficient_attention(q, k, v, {}, /*compute_log_sumexp=*/true, 0.0, causal, 1.0);
      return {out, log_sum, seed, offset};
    }
  }
}

// Gradients of q, k and v.
std::array<at::Tensor, 3> attend_backward(const at::Tensor& grad, const at::Tensor& q, const at::Tensor& k,
                                          const at::Tensor& v, const Attended& from, bool causal) {
  switch (kernel_for(q)) {
    case Kernel::CPU: {
      auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, from.out, from.log_sum,
                                                                                   0.0, causal, {}, 1.0);
      return {dq, dk, dv};
    }
    case Kernel::FLASH: {
      auto [dq, dk, dv] = at::_scaled_dot_product_flash_attention_backward(
          grad, q, k, v, from.out, from.log_sum, {}, {}, q.size(2), k.size(2), 0.0, causal, from.seed, from.offset, 1.0);
      return {dq, dk, dv};
    }
    default: {
      auto all = at::_scaled_dot_product_efficient_attention_backward(
          grad, q, k, v, {}, from.out, from.log_sum, from.seed, from.offset, 0.0, {true, true, true, false}, causal, 1.0);
      return {std::get<0>(all), std::get<1>(all), std::get<2>(all)};
    }
  }
}

// Queries (0), keys (1) or values (2) in qkv [B, L, 3·H·d] as [B, L, H, d].
at::Tensor part(const at::Tensor& qkv, int64_t heads, int64_t which) {
  return qkv.view({qkv.size(0), qkv.size(1), 3, heads, qkv.size(2) / 3 / heads}).select(2, which);
}

// [B, L, H, d] ↔ [B, H, L, d]
at::Tensor swapped(const at::Tensor& x) { return x.transpose(1, 2); }

at::Tensor joined(const at::Tensor& x) { return x.reshape({x.size(0), x.size(1), x.size(2) * x.size(3)}); }

// Factors in f32 that make queries and keys of what the projection gives: [B, L, H, 1] or, for all the same, [1, 1, H, 1].
// Undefined: one.
struct Factors {
  at::Tensor q, k;
};

Factors factors_of(const at::Tensor& qkv, const at::Tensor& scale, int64_t heads, bool normalise) {
  auto by_head = scale.view({1, 1, heads, 1});
  if (!normalise) return {by_head, {}};
  auto norm = [&](int64_t which) {
    return at::linalg_vector_norm(part(qkv, heads, which), 2, {-1}, true, at::kFloat).clamp_min_(LEAST_NORM);
  };
  return {by_head / norm(0), norm(1).reciprocal_()};
}

// x · factor, rounded once to the kind of x.
at::Tensor scaled(const at::Tensor& x, const at::Tensor& factor) {
  if (!factor.defined()) return x;
  auto out = at::empty(x.sizes(), x.options());
  at::mul_out(out, x, factor);
  return out;
}

// Ranges of the queries and keys of each call: one call for each scale, or one for all with one token per scale.
struct Call {
  int64_t begin, end;
  bool causal;
};

std::vector<Call> calls(const std::vector<int64_t>& ends, int64_t length) {
  if (int64_t(ends.size()) == length) return {{0, length, true}};
  std::vector<Call> all;
  int64_t begin = 0;
  for (int64_t end : ends) {
    all.push_back({begin, end, false});
    begin = end;
  }
  return all;
}

// The gradient of x from that of unit = x · factor, into `to`; the length of `unit` is `by_head` [1, 1, H, 1], undefined:
// 1. Returns Σ unit · grad of each vector [B, L, H, 1].
at::Tensor through_norm(const at::Tensor& grad, const at::Tensor& unit, const at::Tensor& factor,
                        const at::Tensor& by_head, at::Tensor to) {
  auto room = at::empty(unit.sizes(), unit.options().dtype(at::kFloat));
  at::mul_out(room, unit, grad);
  auto along = room.sum(-1, true);
  auto share = by_head.defined() ? along / by_head.square() : along;
  at::addcmul_out(room, grad, unit, share, -1);
  at::mul_out(to, room, factor);
  return along;
}

struct Composed : torch::autograd::Function<Composed> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& scale, int64_t heads,
                            std::vector<int64_t> ends, bool normalise) {
    auto qkv = input.contiguous();
    auto by = factors_of(qkv, scale, heads, normalise);
    auto unit_q = scaled(part(qkv, heads, 0), by.q), unit_k = scaled(part(qkv, heads, 1), by.k);
    auto q = swapped(unit_q), k = swapped(unit_k), v = swapped(part(qkv, heads, 2));
    variable_list kept{qkv, scale, unit_q, unit_k, by.q, by.k};
    std::vector<at::Tensor> mixed;
    for (const Call& call : calls(ends, qkv.size(1))) {
      auto one = attend(q.slice(2, call.begin, call.end), k.slice(2, 0, call.end), v.slice(2, 0, call.end), call.causal);
      mixed.push_back(swapped(one.out));
      kept.insert(kept.end(), {one.log_sum, one.seed, one.offset});
    }
    auto out = at::cat(mixed, 1);
    kept.push_back(out);
    ctx->save_for_backward(kept);
    ctx->saved_data["heads"] = heads;
    ctx->saved_data["ends"] = ends;
    ctx->saved_data["normalise"] = normalise;
    return joined(out);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto kept = ctx->get_saved_variables();
    auto qkv = kept[0], scale = kept[1], unit_q = kept[2], unit_k = kept[3], out = kept.back();
    const Factors by{kept[4], kept[5]};
    const int64_t heads = ctx->saved_data["heads"].toInt();
    const bool normalise = ctx->saved_data["normalise"].toBool();
    auto grad = swapped(grads[0].to(qkv.scalar_type()).view(out.sizes()));
    auto q = swapped(unit_q), k = swapped(unit_k), v = swapped(part(qkv, heads, 2)), mixed = swapped(out);
    auto dq = at::empty(unit_q.sizes(), unit_q.options());
    // The last scale sees all keys and values: its gradients are the first terms of the sums.
    at::Tensor dk, dv;
    auto all = calls(ctx->saved_data["ends"].toIntVector(), qkv.size(1));
    for (size_t i = all.size(); i-- > 0;) {
      const Call& call = all[i];
      const Attended from{mixed.slice(2, call.begin, call.end), kept[6 + 3 * i], kept[7 + 3 * i], kept[8 + 3 * i]};
      auto one = attend_backward(grad.slice(2, call.begin, call.end), q.slice(2, call.begin, call.end),
                                 k.slice(2, 0, call.end), v.slice(2, 0, call.end), from, call.causal);
      swapped(dq).slice(2, call.begin, call.end).copy_(one[0]);
      if (!dk.defined()) {
        dk = one[1].to(at::kFloat), dv = one[2].to(at::kFloat);
      } else {
        dk.slice(2, 0, call.end).add_(one[1]);
        dv.slice(2, 0, call.end).add_(one[2]);
      }
    }
    auto dqkv = at::empty(qkv.sizes(), qkv.options());
    auto to = [&](int64_t which) { return part(dqkv, heads, which); };
    to(2).copy_(swapped(dv));
    if (!normalise) {
      auto to_q = to(0);
      at::mul_out(to_q, dq, by.q);
      to(1).copy_(swapped(dk));
      return {dqkv, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
    }
    auto by_head = scale.view({1, 1, heads, 1});
    auto along = through_norm(dq, unit_q, by.q, by_head, to(0));
    through_norm(swapped(dk), unit_k, by.k, {}, to(1));
    return {dqkv, along.sum({0, 1, 3}) / scale, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor composed_block_causal(const at::Tensor& qkv, const at::Tensor& scale, int64_t heads,
                                 const std::vector<int64_t>& ends, bool normalise) {
  return Composed::apply(qkv, scale, heads, ends, normalise);
}

at::Tensor composed_cached(const at::Tensor& input, const at::Tensor& scale, int64_t heads, const at::Tensor& cache_k,
                           const at::Tensor& cache_v, int64_t start, bool normalise) {
  auto qkv = input.contiguous();
  const int64_t length = qkv.size(1);
  auto by = factors_of(qkv, scale, heads, normalise);
  auto keys = cache_k.narrow(2, start, length);
  if (normalise) {
    at::mul_out(keys, swapped(part(qkv, heads, 1)), swapped(by.k));
  } else {
    keys.copy_(swapped(part(qkv, heads, 1)));
  }
  cache_v.narrow(2, start, length).copy_(swapped(part(qkv, heads, 2)));
  auto q = swapped(scaled(part(qkv, heads, 0), by.q));
  auto out = attend(q, cache_k.narrow(2, 0, start + length), cache_v.narrow(2, 0, start + length), false).out;
  return joined(swapped(out));
}

}  // namespace var
