// tanh-GELU as an autograd function.
#include "autograd.h"

VAR_KERNEL(gelu_forward, (bool, const void*, void*, int64_t))
VAR_KERNEL(gelu_backward, (bool, const void*, const void*, void*, int64_t))

namespace var {
namespace {

constexpr int64_t GRAIN = 16384;

struct Gelu : torch::autograd::Function<Gelu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input) {
    auto x = input.contiguous();
    auto y = at::empty_like(x);
    auto run = VAR_PICK(gelu_forward);
    at::parallel_for(0, x.numel(), GRAIN, [&](int64_t begin, int64_t end) {
      run(brief(x), at_offset(x, begin), at_offset(y, begin), end - begin);
    });
    ctx->save_for_backward({x});
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto x = ctx->get_saved_variables()[0];
    auto dy = grads[0].to(x.scalar_type()).contiguous();
    auto dx = at::empty_like(x);
    auto run = VAR_PICK(gelu_backward);
    at::parallel_for(0, x.numel(), GRAIN, [&](int64_t begin, int64_t end) {
      run(brief(x), at_offset(x, begin), at_offset(dy, begin), at_offset(dx, begin), end - begin);
    });
    return {dx};
  }
};

}  // namespace

at::Tensor gelu(const at::Tensor& x) { return fusible(x) ? Gelu::apply(x) : at::gelu(x, "tanh"); }

}  // namespace var

extern "C" at::Tensor* var_gelu(const at::Tensor* x) {
  return var::guarded([&] { return var::gelu(*x); });
}
