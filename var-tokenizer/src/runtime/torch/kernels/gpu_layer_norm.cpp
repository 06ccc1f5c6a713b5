// The autograd functions around cuda/layer_norm.cu.
#include "gpu_layer_norm.h"

#include "common_cu.h"  // COMMON_CU, LAYER_NORM_CU: the texts in cuda/; the build script writes them
#include "gpu.h"
#include "layer_norm_cu.h"

namespace var {
namespace {

constexpr int THREADS = 256;
// Rows of an image that one block of a backward pass takes.
constexpr int ROWS = 16;
// Channels whose values fit the registers of a block.
constexpr int64_t MOST_WIDTH = 16 * THREADS;
// Images that a grid takes.
constexpr int64_t MOST_IMAGES = 65535;

const gpu::Module* kernels(const at::Tensor& x, at::ScalarType kind) {
  const bool brief = kind == at::kBFloat16;
  const bool fits = x.is_cuda() && x.dim() == 3 && x.numel() > 0 && x.scalar_type() == at::kFloat &&
                    (brief || kind == at::kFloat) && x.size(2) <= MOST_WIDTH && x.size(0) <= MOST_IMAGES;
  if (!fits) return nullptr;
  static const std::string source = std::string(COMMON_CU) + LAYER_NORM_CU;
  const auto macros = "WIDTH=" + std::to_string(x.size(2)) + " THREADS=" + std::to_string(THREADS) +
                      " BRIEF=" + (brief ? "1" : "0");
  return gpu::Module::of(source, macros, x.device());
}

int64_t chunks(int64_t length) { return (length + ROWS - 1) / ROWS; }

at::Tensor sums(const at::Tensor& x) {
  return at::empty({x.size(0), chunks(x.size(1)), x.size(2)}, x.options().dtype(at::kFloat));
}

struct Norm : torch::autograd::Function<Norm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& in_scale,
                            const at::Tensor& in_shift, double eps, at::ScalarType kind) {
    c10::DeviceGuard here(input.device());
    auto x = input.contiguous(), scale = in_scale.contiguous(), shift = in_shift.contiguous();
    auto y = at::empty(x.sizes(), x.options().dtype(kind));
    auto mean = at::empty({x.size(0), x.size(1)}, x.options()), inverse = at::empty_like(mean);
    kernels(x, kind)->launch("norm_forward", x.size(1), x.size(0), THREADS, x.data_ptr(), scale.data_ptr(), shift.data_ptr(),
                             y.data_ptr(), mean.data_ptr(), inverse.data_ptr(), float(eps));
    ctx->save_for_backward({x, scale, mean, inverse});
    ctx->saved_data["kind"] = int64_t(kind);
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto x = saved[0], scale = saved[1], mean = saved[2], inverse = saved[3];
    c10::DeviceGuard here(x.device());
    const auto kind = at::ScalarType(ctx->saved_data["kind"].toInt());
    auto dy = grads[0].to(kind).contiguous();
    auto dx = at::empty_like(x), dscale = sums(x), dshift = sums(x);
    kernels(x, kind)->launch("norm_backward", chunks(x.size(1)), x.size(0), THREADS, x.data_ptr(), scale.data_ptr(),
                             mean.data_ptr(), inverse.data_ptr(), dy.data_ptr(), dx.data_ptr(), dscale.data_ptr(),
                             dshift.data_ptr(), int(x.size(1)), ROWS);
    return {dx, dscale.sum(1, true), dshift.sum(1, true), at::Tensor(), at::Tensor()};
  }
};

struct Gate : torch::autograd::Function<Gate> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& branch,
                            const at::Tensor& in_gate) {
    c10::DeviceGuard here(input.device());
    auto x = input.contiguous(), y = branch.contiguous(), gate = in_gate.contiguous();
    auto out = at::empty_like(x);
    kernels(x, y.scalar_type())
        ->launch("gate_forward", x.size(1), x.size(0), THREADS, x.data_ptr(), y.data_ptr(), gate.data_ptr(), out.data_ptr());
    ctx->save_for_backward({y, gate});
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto y = saved[0], gate = saved[1];
    c10::DeviceGuard here(y.device());
    auto dout = grads[0].to(at::kFloat).contiguous();
    auto dy = at::empty_like(y), dgate = sums(y);
    kernels(dout, y.scalar_type())
        ->launch("gate_backward", chunks(y.size(1)), y.size(0), THREADS, dout.data_ptr(), y.data_ptr(), gate.data_ptr(),
                 dy.data_ptr(), dgate.data_ptr(), int(y.size(1)), ROWS);
    return {grads[0], dy, dgate.sum(1, true)};
  }
};

}  // namespace

std::optional<at::Tensor> gpu_layer_norm(const at::Tensor& x, const at::Tensor& scale, const at::Tensor& shift, double eps,
                                         at::ScalarType kind) {
  if (kernels(x, kind) == nullptr) return std::nullopt;
  return Norm::apply(x, scale, shift, eps, kind);
}

std::optional<at::Tensor> gpu_gated_add(const at::Tensor& x, const at::Tensor& y, const at::Tensor& gate) {
  if (!y.is_cuda() || kernels(x, y.scalar_type()) == nullptr) return std::nullopt;
  return Gate::apply(x, y, gate);
}

}  // namespace var
