// Cross-entropy per token, and whether the target has the largest logit.
#include "cross_entropy.h"

#include "autograd.h"

VAR_KERNEL(cross_entropy_forward, (const var::LogitRows&))
VAR_KERNEL(cross_entropy_backward, (const var::LogitRows&))

namespace var {
namespace {

LogitRows rows_of(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& log_sum, double smoothing,
                  int64_t first, int64_t rows) {
  LogitRows r{};
  r.brief = brief(logits);
  r.rows = rows;
  r.classes = logits.size(1);
  r.smoothing = float(smoothing);
  r.logits = at_offset(logits, first * r.classes);
  r.targets = targets.data_ptr<int64_t>() + first;
  r.log_sum = log_sum.data_ptr<float>() + first;
  return r;
}

struct CrossEntropy : torch::autograd::Function<CrossEntropy> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& in_targets,
                               double smoothing) {
    auto logits = input.contiguous(), targets = in_targets.contiguous();
    const int64_t N = logits.size(0);
    auto loss = at::empty({N}, logits.options().dtype(at::kFloat));
    auto hit = at::empty_like(loss), log_sum = at::empty_like(loss);
    auto run = VAR_PICK(cross_entropy_forward);
    at::parallel_for(0, N, 16, [&](int64_t begin, int64_t end) {
      LogitRows r = rows_of(logits, targets, log_sum, smoothing, begin, end - begin);
      r.loss = loss.data_ptr<float>() + begin;
      r.hit = hit.data_ptr<float>() + begin;
      run(r);
    });
    ctx->save_for_backward({logits, targets, log_sum});
    ctx->saved_data["smoothing"] = smoothing;
    ctx->mark_non_differentiable({hit});
    return {loss, hit};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto logits = saved[0], targets = saved[1], log_sum = saved[2];
    auto dloss = grads[0].to(at::kFloat).contiguous();
    auto dlogits = at::empty_like(logits);
    const double smoothing = ctx->saved_data["smoothing"].toDouble();
    auto run = VAR_PICK(cross_entropy_backward);
    at::parallel_for(0, logits.size(0), 16, [&](int64_t begin, int64_t end) {
      LogitRows r = rows_of(logits, targets, log_sum, smoothing, begin, end - begin);
      r.dloss = dloss.data_ptr<float>() + begin;
      r.dlogits = at_offset(dlogits, begin * r.classes);
      run(r);
    });
    return {dlogits, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

variable_list cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double smoothing) {
  TORCH_CHECK(logits.dim() == 2 && targets.dim() == 1 && logits.size(0) == targets.size(0) &&
                  targets.scalar_type() == at::kLong,
              "cross_entropy: expected logits [N, V] and 64-bit targets [N], got ", logits.sizes(), " and ",
              targets.sizes());
  if (!fusible(logits)) {
    auto plain = logits.to(at::kFloat);
    auto hit = (plain.gather(1, targets.unsqueeze(1)).squeeze(1) >= plain.amax(1)).to(at::kFloat);
    return {at::cross_entropy_loss(plain, targets, {}, at::Reduction::None, -100, smoothing), hit};
  }
  if (targets.numel() > 0)
    TORCH_CHECK(targets.min().item<int64_t>() >= 0 && targets.max().item<int64_t>() < logits.size(1),
                "cross_entropy: a target lies outside 0 to ", logits.size(1) - 1);
  return CrossEntropy::apply(logits, targets, smoothing);
}

}  // namespace var

// Writes two new tensors, losses and hits, to `out`.
extern "C" int var_cross_entropy(const at::Tensor* logits, const at::Tensor* targets, double smoothing,
                                 at::Tensor** out) {
  return var::checked([&] {
    auto made = var::cross_entropy(*logits, *targets, smoothing);
    out[0] = new at::Tensor(made[0]);
    out[1] = new at::Tensor(made[1]);
  });
}
