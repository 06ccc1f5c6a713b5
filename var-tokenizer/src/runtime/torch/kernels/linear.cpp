// Linear layers: f32 products through oneDNN, many rows of bfloat16 by brief_linear.h, weights cast to the kind of the input.
//
// On AMD processors libtorch's own f32 product (MKL) runs at half the rate of oneDNN's, which libtorch
// has linked in too and reaches through mkldnn::_linear_pointwise.
#include <ATen/core/dispatch/Dispatcher.h>

#include "brief_linear.h"
#include "few_rows.h"

namespace var {
namespace {

// Weights that one thread reads at least.
constexpr int64_t SHARE = 1 << 15;

// x [m, k], weight [n, k], bias [n] of any kind.
at::Tensor few_rows_product(const at::Tensor& in, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  auto x = in.contiguous();
  auto b = bias ? bias->to(at::kFloat).contiguous() : at::Tensor();
  const int64_t m = x.size(0), k = x.size(1), n = weight.size(0);
  auto y = at::empty({m, n}, x.options());
  auto run = VAR_PICK(few_rows);
  const float* add = b.defined() ? b.data_ptr<float>() : nullptr;
  at::parallel_for(0, n, std::max<int64_t>(1, SHARE / std::max<int64_t>(1, k)), [&](int64_t begin, int64_t end) {
    run(brief(x), x.data_ptr(), weight.data_ptr(), add, y.data_ptr(), m, begin, end, n, k);
  });
  return y;
}

// oneDNN pays from about this many multiplications on.
constexpr int64_t WORTH = 1 << 18;

const std::optional<c10::OperatorHandle>& onednn_linear() {
  static const std::optional<c10::OperatorHandle> found =
      at::globalContext().hasMKLDNN()
          ? c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""})
          : std::nullopt;
  return found;
}

// a [m, k] · bᵀ, b [n, k], plus bias [n]; no autograd.
at::Tensor product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  const bool large = a.size(0) * a.size(1) * b.size(0) >= WORTH;
  if (fused() && large && a.device().is_cpu() && a.scalar_type() == at::kFloat && onednn_linear()) {
    torch::jit::Stack stack;
    c10::List<std::optional<at::Scalar>> none;
    torch::jit::push(stack, a, b, bias.defined() ? c10::IValue(bias) : c10::IValue(), "none", none, "");
    onednn_linear()->callBoxed(&stack);
    return stack.back().toTensor();
  }
  if (bias.defined()) return at::addmm(bias, a, b.t());
  return at::mm(a, b.t());
}

// a [m, k] · bᵀ (+ bias), b [n, k], with the sums in f32: a GPU rounds the factors to the kind of `a`.
at::Tensor wide_product(const at::Tensor& a, const at::Tensor& b, const at::Tensor& bias) {
  if (!a.is_cuda()) return product(a.to(at::kFloat), b.to(at::kFloat), bias);
  auto y = at::mm(a, b.to(a.scalar_type()).t(), at::kFloat);
  return bias.defined() ? y.add_(bias) : y;
}

at::Tensor input_gradient(const at::Tensor& dy, const at::Tensor& w) {
  if (brief_applies(dy, w.size(1), dy.scalar_type())) return brief_input_gradient(dy, w);
  return product(dy, w.to(dy.scalar_type()).t(), {});
}

at::Tensor weight_gradient(const at::Tensor& dy, const at::Tensor& x, bool wide) {
  if (brief_applies(dy, x.size(1), wide ? at::kFloat : dy.scalar_type())) return brief_weight_gradient(dy, x);
  return wide ? wide_product(dy.t(), x.t(), {}) : product(dy.t(), x.t(), {});
}

struct Linear : torch::autograd::Function<Linear> {
  // x [m, k] of any kind, weight [n, k] and bias of their own. `wide`: the result and the weight's gradient are f32 sums;
  // the bias, too, is f32 then.
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, bool wide) {
    const auto kind = wide ? at::kFloat : x.scalar_type();
    const bool own = brief_applies(x, weight.size(0), kind);
    auto w = own || wide ? weight : weight.to(x.scalar_type());
    ctx->save_for_backward({x, w});
    ctx->saved_data["weight"] = int64_t(weight.scalar_type());
    ctx->saved_data["bias"] = bias ? int64_t(bias->scalar_type()) : int64_t(-1);
    ctx->saved_data["wide"] = wide;
    if (own) return brief_linear(x, w, bias ? *bias : at::Tensor(), kind);
    if (wide) return wide_product(x, w, *bias);
    return product(x, w, bias ? bias->to(x.scalar_type()) : at::Tensor());
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto x = saved[0], w = saved[1];
    const bool wide = ctx->saved_data["wide"].toBool();
    auto dy = grads[0].to(x.scalar_type()).contiguous();
    at::Tensor dx, dw, db;
    if (ctx->needs_input_grad(0)) dx = input_gradient(dy, w);
    if (ctx->needs_input_grad(1))
      dw = weight_gradient(dy, x, wide).to(at::ScalarType(ctx->saved_data["weight"].toInt()));
    const int64_t kind = ctx->saved_data["bias"].toInt();
    if (kind >= 0 && ctx->needs_input_grad(2)) db = (wide ? grads[0] : dy).sum(0).to(at::ScalarType(kind));
    return {dx, dw, db, at::Tensor()};
  }
};

void check(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  TORCH_CHECK(x.dim() >= 1 && weight.dim() == 2 && x.size(-1) == weight.size(1) &&
                  (!bias || (bias->dim() == 1 && bias->size(0) == weight.size(0))),
              "linear: input ", x.sizes(), " does not fit weight ", weight.sizes());
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  check(x, weight, bias);
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  auto rows = x.reshape({-1, x.size(-1)});
  if (is_few(rows, weight, rows.scalar_type())) return few_rows_product(rows, weight, bias).view(shape);
  return Linear::apply(rows, weight, bias, /*wide=*/false).view(shape);
}

at::Tensor wide_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  check(x, weight, bias);
  TORCH_CHECK(weight.scalar_type() == at::kFloat && bias.scalar_type() == at::kFloat,
              "wide_linear: expected weight and bias in f32, got ", weight.scalar_type(), " and ", bias.scalar_type());
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  auto rows = x.reshape({-1, x.size(-1)});
  if (is_few(rows, weight, at::kFloat)) return few_rows_product(rows.to(at::kFloat), weight, bias).view(shape);
  return Linear::apply(rows, weight, std::optional<at::Tensor>(bias), /*wide=*/true).view(shape);
}

}  // namespace var

extern "C" {
at::Tensor* var_linear(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias) {
  return var::guarded([&] { return var::linear(*x, *weight, bias ? std::optional<at::Tensor>(*bias) : std::nullopt); });
}

at::Tensor* var_wide_linear(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias) {
  return var::guarded([&] { return var::wide_linear(*x, *weight, *bias); });
}
}
