// The autograd function around cuda/group_norm.cu. Sums of groups are made of those of channels in f64.
#include "gpu_group_norm.h"

#include "common_cu.h"  // COMMON_CU, GROUP_NORM_CU: the texts in cuda/; the build script writes them
#include "gpu.h"
#include "group_norm_cu.h"

namespace var {
namespace {

// Pixels of an image that one block takes.
constexpr int ROWS = 64;
constexpr int64_t MOST_THREADS = 256, MOST_IMAGES = 65535;

int threads(int64_t channels) { return int(std::min((channels + 31) / 32 * 32, MOST_THREADS)); }

const gpu::Module* kernels(const at::Tensor& x) {
  const bool brief = x.scalar_type() == at::kBFloat16;
  const bool fits = x.is_cuda() && x.numel() > 0 && (brief || x.scalar_type() == at::kFloat) && x.size(0) <= MOST_IMAGES;
  if (!fits) return nullptr;
  static const std::string source = std::string(COMMON_CU) + GROUP_NORM_CU;
  const auto macros = "WIDTH=" + std::to_string(x.size(1)) + " THREADS=" + std::to_string(threads(x.size(1))) +
                      " BRIEF=" + (brief ? "1" : "0");
  return gpu::Module::of(source, macros, x.device());
}

// Pixels and blocks of an image.
struct Shape {
  int64_t images, channels, pixels, chunks;
  explicit Shape(const at::Tensor& x)
      : images(x.size(0)), channels(x.size(1)), pixels(x.size(2) * x.size(3)), chunks((pixels + ROWS - 1) / ROWS) {}
  at::Tensor sums(const at::Tensor& x) const {
    return at::empty({images, chunks, 2, channels}, x.options().dtype(at::kFloat).memory_format(at::MemoryFormat::Contiguous));
  }
};

struct GroupNorm : torch::autograd::Function<GroupNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                            int64_t groups, double eps, bool silu) {
    c10::DeviceGuard here(input.device());
    auto x = channels_last(input);
    const Shape s(x);
    const auto* module = kernels(x);
    auto pivot = at::as_strided(x, {s.images, s.channels}, {s.pixels * s.channels, 1}).to(at::kFloat).contiguous();
    auto partial = s.sums(x);
    module->launch("group_sums", s.chunks, s.images, threads(s.channels), x.data_ptr(), pivot.data_ptr(), partial.data_ptr(),
                   int(s.pixels), ROWS);
    auto total = partial.sum(1, false, at::kDouble).view({s.images, 2, groups, -1});
    auto sum = total.select(1, 0), square = total.select(1, 1);
    auto start = pivot.to(at::kDouble).view(sum.sizes());
    const double members = double(s.channels / groups), n = members * double(s.pixels);
    auto center = (sum + start * double(s.pixels)).sum(-1, true) / n;
    // Around the group's mean instead of the channel's pivot.
    auto shift = start - center;
    auto spread = (square + shift * sum * 2 + shift * shift * double(s.pixels)).sum(-1, true) / n;
    auto rate = (spread.clamp_min(0) + eps).rsqrt();
    auto table = [&](const at::Tensor& t) { return t.expand_as(sum).reshape({s.images, s.channels}); };
    auto mean = table(center), inverse = table(rate);
    auto factor = inverse * weight.to(at::kDouble), offset = bias.to(at::kDouble) - mean * factor;
    auto plain = [](const at::Tensor& t) { return t.to(at::kFloat).contiguous(); };
    mean = plain(mean), inverse = plain(inverse), factor = plain(factor), offset = plain(offset);
    auto y = at::empty_like(x);
    module->launch("group_apply", s.chunks, s.images, threads(s.channels), x.data_ptr(), factor.data_ptr(),
                   offset.data_ptr(), y.data_ptr(), int(s.pixels), ROWS, int(silu));
    ctx->save_for_backward({x, mean, inverse, factor, offset});
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["silu"] = silu;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto x = saved[0], mean = saved[1], inverse = saved[2], factor = saved[3], offset = saved[4];
    c10::DeviceGuard here(x.device());
    const int64_t groups = ctx->saved_data["groups"].toInt();
    const int silu = ctx->saved_data["silu"].toBool();
    const Shape s(x);
    const auto* module = kernels(x);
    auto dy = channels_last(grads[0].to(x.scalar_type()));
    auto partial = s.sums(x);
    module->launch("group_gradient_sums", s.chunks, s.images, threads(s.channels), x.data_ptr(), dy.data_ptr(),
                   mean.data_ptr(), inverse.data_ptr(), factor.data_ptr(), offset.data_ptr(), partial.data_ptr(),
                   int(s.pixels), ROWS, silu);
    auto total = partial.sum(1, false, at::kDouble);
    auto dz = total.select(1, 0), along_x = total.select(1, 1);
    const double n = double(s.channels / groups) * double(s.pixels);
    // dx = factor·dz − inverse·(mean(w·dz) + x̂·mean(w·dz·x̂)); w·inverse is `factor`.
    auto of_group = [&](const at::Tensor& t) {
      auto by_group = (t * factor).view({s.images, groups, -1});
      return (by_group.sum(-1, true) / n).expand_as(by_group).reshape({s.images, s.channels});
    };
    auto along = of_group(along_x) * inverse;
    auto by_x = (-along).to(at::kFloat).contiguous();
    auto constant = (along * mean - of_group(dz)).to(at::kFloat).contiguous();
    auto dx = at::empty_like(x);
    module->launch("group_gradient", s.chunks, s.images, threads(s.channels), x.data_ptr(), dy.data_ptr(), factor.data_ptr(),
                   offset.data_ptr(), by_x.data_ptr(), constant.data_ptr(), dx.data_ptr(), int(s.pixels), ROWS, silu);
    auto sum = [](const at::Tensor& t) { return t.sum(0).to(at::kFloat); };
    return {dx, sum(along_x), sum(dz), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

std::optional<at::Tensor> gpu_group_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                         int64_t groups, double eps, bool silu) {
  if (kernels(x) == nullptr) return std::nullopt;
  return GroupNorm::apply(x, weight, bias, groups, eps, silu);
}

}  // namespace var
