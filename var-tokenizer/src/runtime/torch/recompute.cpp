// A stretch of a computation whose activations are not kept: computed without a graph, and once more, with one,
// when its gradient is asked for.
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>

#include "shim.h"

namespace var {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Borrows `n` inputs and returns a tensor on the heap; on a failure null, after var_leave_error.
using Call = at::Tensor* (*)(void* captured, const at::Tensor* const* inputs, size_t n);
using Drop = void (*)(void* captured);

// A Rust closure, owned: the graph's node holds it until the graph goes.
struct Stretch final : torch::CustomClassHolder {
  Call call;
  Drop drop;
  void* captured;

  Stretch(Call call, Drop drop, void* captured) : call(call), drop(drop), captured(captured) {}
  ~Stretch() override { drop(captured); }

  at::Tensor run(const variable_list& inputs) const {
    std::vector<const at::Tensor*> handles;
    handles.reserve(inputs.size());
    for (const auto& input : inputs) handles.push_back(&input);
    std::unique_ptr<at::Tensor> output(call(captured, handles.data(), handles.size()));
    TORCH_CHECK(output != nullptr, last_error());
    return *output;
  }
};

struct Recomputed : torch::autograd::Function<Recomputed> {
  // The last input is the anchor: without a value, but with a gradient, so that there is a node even where
  // only what the closure captured has gradients.
  // Gradients are off here.
  static at::Tensor forward(AutogradContext* ctx, at::TensorList inputs, c10::intrusive_ptr<Stretch> stretch) {
    ctx->save_for_backward(inputs.vec());
    ctx->saved_data["stretch"] = c10::IValue::make_capsule(stretch);
    return stretch->run({inputs.begin(), inputs.end() - 1});
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto stretch = c10::static_intrusive_pointer_cast<Stretch>(ctx->saved_data["stretch"].toCapsule());
    auto inputs = ctx->get_saved_variables();
    const size_t anchor = inputs.size() - 1;
    inputs.pop_back();
    for (size_t i = 0; i < anchor; i++) {
      inputs[i] = inputs[i].detach();
      inputs[i].set_requires_grad(ctx->needs_input_grad(i));
    }
    {
      c10::AutoGradMode on(true);
      auto output = stretch->run(inputs);
      // What was captured gets its gradients here, as in any other backward pass: added to those it has.
      if (output.requires_grad()) torch::autograd::backward({output}, {grads[0]});
    }
    variable_list all;
    for (const auto& input : inputs) all.push_back(input.grad());
    // For the anchor and the closure.
    all.resize(anchor + 2);
    return all;
  }
};

}  // namespace
}  // namespace var

extern "C" {
// What a Rust function called from here leaves behind when it fails.
void var_leave_error(const char* text, size_t length) { var::last_error().assign(text, length); }

// Runs `call` on the inputs without keeping its activations. `captured` is let go by `drop`, once, also when
// this fails.
at::Tensor* var_recomputed(at::Tensor* const* inputs, size_t n, var::Call call, var::Drop drop, void* captured) {
  return var::guarded([&] {
    auto stretch = c10::make_intrusive<var::Stretch>(call, drop, captured);
    auto all = var::list(inputs, n);
    all.push_back(at::empty({0}).set_requires_grad(true));
    return var::Recomputed::apply(at::TensorList(all), stretch);
  });
}
}
