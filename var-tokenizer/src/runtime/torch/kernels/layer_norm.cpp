// LN(x)·(1 + scale) + shift and x + gate·y as autograd functions.
#include "layer_norm.h"

#include "autograd.h"
#include "dispatch.h"
#include "gpu_layer_norm.h"

VAR_KERNEL(layer_norm_forward, (const var::NormRows&))
VAR_KERNEL(layer_norm_backward, (const var::NormRows&))
VAR_KERNEL(gated_add_forward, (const var::GatedRows&))
VAR_KERNEL(gated_add_backward, (const var::GatedRows&))

namespace var {
namespace {

// Rows one thread does at a time, and whose sums stand alone: the sums do not depend on threads.
constexpr int64_t CHUNK = 128;
// Elements below which another thread does not pay.
constexpr int64_t SHARE = 16384;

// Runs `one(image, first row, rows, chunk index)` over all chunks of [B, L, C].
template <class F>
void each_chunk(int64_t B, int64_t L, int64_t C, const F& one) {
  const int64_t chunks = (L + CHUNK - 1) / CHUNK;
  const int64_t grain = std::max<int64_t>(1, SHARE / std::max<int64_t>(1, std::min(CHUNK, L) * C));
  at::parallel_for(0, B * chunks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t first = i % chunks * CHUNK;
      one(i / chunks, first, std::min(CHUNK, L - first), i);
    }
  });
}

// [B·chunks, C] → [B, 1, C]
at::Tensor over_chunks(const at::Tensor& partial, int64_t B, int64_t C) { return partial.view({B, -1, C}).sum(1, true); }

at::Tensor chunk_sums(int64_t B, int64_t L, int64_t C, const at::Tensor& like) {
  return at::empty({B * ((L + CHUNK - 1) / CHUNK), C}, like.options().dtype(at::kFloat));
}

// Fused code takes [B, L, C] with one f32 row [B, 1, C] an image.
bool by_image(const at::Tensor& x, const at::Tensor& row) {
  return row.dim() == 3 && row.size(0) == x.size(0) && row.size(1) == 1 && row.size(2) == x.size(2) &&
         row.scalar_type() == at::kFloat;
}

struct Norm : torch::autograd::Function<Norm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& in_scale,
                            const at::Tensor& in_shift, double eps, at::ScalarType kind) {
    auto x = input.contiguous(), scale = in_scale.contiguous(), shift = in_shift.contiguous();
    const int64_t B = x.size(0), L = x.size(1), C = x.size(2);
    auto y = at::empty({B, L, C}, x.options().dtype(kind));
    auto statistics = at::empty({2, B, L}, x.options().dtype(at::kFloat));
    auto run = VAR_PICK(layer_norm_forward);
    each_chunk(B, L, C, [&](int64_t b, int64_t first, int64_t rows, int64_t) {
      NormRows r = rows_of(x, scale, y, statistics, b, first, rows);
      r.shift = shift.data_ptr<float>() + b * C;
      r.y = at_offset(y, (b * L + first) * C);
      r.eps = float(eps);
      run(r);
    });
    ctx->save_for_backward({x, scale, statistics});
    ctx->saved_data["kind"] = int64_t(kind);
    return y;
  }

  static NormRows rows_of(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& y, const at::Tensor& statistics,
                          int64_t b, int64_t first, int64_t rows) {
    const int64_t L = x.size(1), C = x.size(2), row = b * L + first;
    NormRows r{};
    r.x_brief = brief(x);
    r.y_brief = brief(y);
    r.rows = rows;
    r.width = C;
    r.x = at_offset(x, row * C);
    r.scale = scale.data_ptr<float>() + b * C;
    r.mean = statistics.data_ptr<float>() + row;
    r.inverse = r.mean + statistics.stride(0);
    return r;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto x = saved[0], scale = saved[1], statistics = saved[2];
    const int64_t B = x.size(0), L = x.size(1), C = x.size(2);
    auto dy = grads[0].to(at::ScalarType(ctx->saved_data["kind"].toInt())).contiguous();
    auto dx = at::empty_like(x);
    auto dscale = chunk_sums(B, L, C, x), dshift = chunk_sums(B, L, C, x);
    auto run = VAR_PICK(layer_norm_backward);
    each_chunk(B, L, C, [&](int64_t b, int64_t first, int64_t rows, int64_t chunk) {
      NormRows r = rows_of(x, scale, dy, statistics, b, first, rows);
      r.dy = at_offset(dy, (b * L + first) * C);
      r.dx = at_offset(dx, (b * L + first) * C);
      r.dscale = dscale.data_ptr<float>() + chunk * C;
      r.dshift = dshift.data_ptr<float>() + chunk * C;
      run(r);
    });
    return {dx, over_chunks(dscale, B, C), over_chunks(dshift, B, C), at::Tensor(), at::Tensor()};
  }
};

struct GatedAdd : torch::autograd::Function<GatedAdd> {
  static GatedRows rows_of(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate, int64_t b, int64_t first,
                           int64_t rows) {
    const int64_t L = x.size(1), C = x.size(2), at = (b * L + first) * C;
    GatedRows r{};
    r.x_brief = brief(x);
    r.y_brief = brief(y);
    r.rows = rows;
    r.width = C;
    r.x = at_offset(x, at);
    r.y = at_offset(y, at);
    r.gate = gate.data_ptr<float>() + b * C;
    return r;
  }

  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& branch,
                            const at::Tensor& in_gate) {
    auto x = input.contiguous(), y = branch.contiguous(), gate = in_gate.contiguous();
    const int64_t B = x.size(0), L = x.size(1), C = x.size(2);
    auto out = at::empty_like(x);
    auto run = VAR_PICK(gated_add_forward);
    each_chunk(B, L, C, [&](int64_t b, int64_t first, int64_t rows, int64_t) {
      GatedRows r = rows_of(x, y, gate, b, first, rows);
      r.out = at_offset(out, (b * L + first) * C);
      run(r);
    });
    ctx->save_for_backward({y, gate});
    ctx->saved_data["kind"] = int64_t(x.scalar_type());
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto y = saved[0], gate = saved[1];
    const int64_t B = y.size(0), L = y.size(1), C = y.size(2);
    auto dout = grads[0].to(at::ScalarType(ctx->saved_data["kind"].toInt())).contiguous();
    auto dy = at::empty_like(y);
    auto dgate = chunk_sums(B, L, C, y);
    auto run = VAR_PICK(gated_add_backward);
    each_chunk(B, L, C, [&](int64_t b, int64_t first, int64_t rows, int64_t chunk) {
      GatedRows r = rows_of(dout, y, gate, b, first, rows);
      r.dout = r.x;
      r.dy = at_offset(dy, (b * L + first) * C);
      r.dgate = dgate.data_ptr<float>() + chunk * C;
      run(r);
    });
    return {grads[0], dy, over_chunks(dgate, B, C)};
  }
};

}  // namespace

at::Tensor layer_norm_modulate(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps,
                               at::ScalarType kind) {
  TORCH_CHECK(x.dim() == 3, "layer_norm_modulate: expected [B, L, C], got ", x.sizes());
  const bool kinds = kind == at::kFloat || kind == at::kBFloat16;
  const bool rows = by_image(x, scale) && by_image(x, shift);
  if (fusible(x) && kinds && rows) return Norm::apply(x, scale, shift, eps, kind);
  if (rows)
    if (auto y = gpu_layer_norm(x, scale, shift, eps, kind)) return *y;
  auto unit = at::layer_norm(x.to(at::kFloat), {x.size(2)}, {}, {}, eps);
  return (unit * (scale + 1) + shift).to(kind);
}

at::Tensor gated_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate) {
  TORCH_CHECK(x.sizes() == y.sizes(), "gated_add: ", x.sizes(), " and ", y.sizes(), " differ");
  const bool row = x.dim() == 3 && by_image(x, gate);
  if (row && fusible(x) && fusible(y)) return GatedAdd::apply(x, y, gate);
  if (row)
    if (auto out = gpu_gated_add(x, y, gate)) return *out;
  return (x.to(at::kFloat) + gate * y).to(x.scalar_type());
}

}  // namespace var

extern "C" {
// `kind`: 0 f32, 1 bf16, 2 fp16.
at::Tensor* var_layer_norm_modulate(const at::Tensor* x, const at::Tensor* scale, const at::Tensor* shift, double eps,
                                    int kind) {
  const auto as = kind == 1 ? at::kBFloat16 : kind == 2 ? at::kHalf : at::kFloat;
  return var::guarded([&] { return var::layer_norm_modulate(*x, *scale, *shift, eps, as); });
}
at::Tensor* var_gated_add(const at::Tensor* x, const at::Tensor* y, const at::Tensor* gate) {
  return var::guarded([&] { return var::gated_add(*x, *y, *gate); });
}
}
