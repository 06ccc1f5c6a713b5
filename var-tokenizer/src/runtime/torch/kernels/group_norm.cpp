// GroupNorm with SiLU as an autograd function on channels-last images.
//
// Convolutions are quicker with adjacent channels, so the result is always channels-last (inputs of
// another layout are copied first) and the layout spreads through a network by itself.
#include "group_norm.h"

#include "autograd.h"
#include "gpu_group_norm.h"

VAR_KERNEL(group_norm_sums, (const var::Pixels&))
VAR_KERNEL(group_norm_apply, (const var::Pixels&))
VAR_KERNEL(group_norm_gradient_sums, (const var::Pixels&))
VAR_KERNEL(group_norm_gradient, (const var::Pixels&))

namespace var {
namespace {

// Pixels a piece of work has; their sums are added up in a fixed order, in f64.
constexpr int64_t CHUNK = 512;

struct Shape {
  int64_t B, C, pixels, groups, chunks;
  Shape(const at::Tensor& x, int64_t groups)
      : B(x.size(0)), C(x.size(1)), pixels(x.size(2) * x.size(3)), groups(groups), chunks((pixels + CHUNK - 1) / CHUNK) {}
};

// For every image: `first` on each of its chunks, `between` once, `second` on each chunk. A thread
// takes an image through all three while it is in the cache, or, with few images, threads share one.
// first/second(image, first pixel, pixels, chunk index)
template <class First, class Between, class Second>
void each_image(const Shape& s, const First& first, const Between& between, const Second& second) {
  auto call = [&](const auto& f, int64_t i) {
    const int64_t begin = i % s.chunks * CHUNK;
    f(i / s.chunks, begin, std::min(CHUNK, s.pixels - begin), i);
  };
  if (s.B >= at::get_num_threads()) {
    at::parallel_for(0, s.B, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; b++) {
        for (int64_t i = b * s.chunks; i < (b + 1) * s.chunks; i++) call(first, i);
        between(b);
        for (int64_t i = b * s.chunks; i < (b + 1) * s.chunks; i++) call(second, i);
      }
    });
    return;
  }
  auto all = [&](const auto& f) {
    at::parallel_for(0, s.B * s.chunks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) call(f, i);
    });
  };
  all(first);
  for (int64_t b = 0; b < s.B; b++) between(b);
  all(second);
}

// Sums of the chunks of one image in f64: [2, C].
std::vector<double> added(const float* partial, const Shape& s, int64_t b) {
  std::vector<double> total(2 * s.C, 0.0);
  const float* from = partial + b * s.chunks * 2 * s.C;
  for (int64_t i = 0; i < s.chunks; i++, from += 2 * s.C)
    for (int64_t c = 0; c < 2 * s.C; c++) total[c] += from[c];
  return total;
}

struct GroupNorm : torch::autograd::Function<GroupNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& in_weight,
                            const at::Tensor& in_bias, int64_t groups, double eps, bool silu, at::ScalarType kind) {
    auto x = channels_last(input);
    auto weight = in_weight.to(at::kFloat).contiguous(), bias = in_bias.to(at::kFloat).contiguous();
    const Shape s(x, groups);
    const auto floats = x.options().dtype(at::kFloat).memory_format(at::MemoryFormat::Contiguous);
    auto partial = at::empty({s.B * s.chunks, 2, s.C}, floats);
    // Per channel: mean, inverse deviation, factor, offset.
    auto by_channel = at::empty({s.B, 4, s.C}, floats);
    auto y = at::empty_like(x, x.options().dtype(kind));
    float* sums = partial.data_ptr<float>();
    float* table = by_channel.data_ptr<float>();

    // The first pixel of an image is near enough to its mean for the squares to stay small.
    auto pivots = at::as_strided(x, {s.B, s.C}, {s.pixels * s.C, 1}).to(at::kFloat).contiguous();
    const float* pivot = pivots.data_ptr<float>();
    auto gather = VAR_PICK(group_norm_sums);
    auto collect = [&](int64_t b, int64_t first, int64_t count, int64_t chunk) {
      Pixels p = pixels_of(x, s, b, first, count, silu);
      p.pivot = pivot + b * s.C;
      p.sums = sums + chunk * 2 * s.C;
      p.squares = p.sums + s.C;
      gather(p);
    };
    const int64_t members = s.C / groups;
    const double n = double(members) * double(s.pixels);
    auto tabulate = [&](int64_t b) {
      auto total = added(sums, s, b);
      float *mean = table + b * 4 * s.C, *inverse = mean + s.C, *factor = inverse + s.C, *offset = factor + s.C;
      for (int64_t g = 0; g < groups; g++) {
        double sum = 0, square = 0;
        for (int64_t c = g * members; c < (g + 1) * members; c++) sum += total[c] + pivot[b * s.C + c] * double(s.pixels);
        const double center = sum / n;
        for (int64_t c = g * members; c < (g + 1) * members; c++) {
          // Around the group's mean instead of the channel's pivot.
          const double shift = pivot[b * s.C + c] - center;
          square += total[s.C + c] + 2 * shift * total[c] + shift * shift * double(s.pixels);
        }
        const double rate = 1.0 / std::sqrt(std::max(square / n, 0.0) + eps);
        for (int64_t c = g * members; c < (g + 1) * members; c++) {
          mean[c] = float(center);
          inverse[c] = float(rate);
          factor[c] = float(rate * weight.data_ptr<float>()[c]);
          offset[c] = float(bias.data_ptr<float>()[c] - center * rate * weight.data_ptr<float>()[c]);
        }
      }
    };
    auto apply = VAR_PICK(group_norm_apply);
    each_image(s, collect, tabulate, [&](int64_t b, int64_t first, int64_t count, int64_t) {
      Pixels p = pixels_of(x, s, b, first, count, silu);
      p.factor = table + (b * 4 + 2) * s.C;
      p.offset = p.factor + s.C;
      p.y_brief = brief(y);
      p.y = at_offset(y, (b * s.pixels + first) * s.C);
      apply(p);
    });
    ctx->save_for_backward({x, by_channel});
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["silu"] = silu;
    return y;
  }

  static Pixels pixels_of(const at::Tensor& x, const Shape& s, int64_t b, int64_t first, int64_t count, bool silu) {
    Pixels p{};
    p.brief = brief(x);
    p.silu = silu;
    p.count = count;
    p.channels = s.C;
    p.x = at_offset(x, (b * s.pixels + first) * s.C);
    return p;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto x = saved[0], by_channel = saved[1];
    const int64_t groups = ctx->saved_data["groups"].toInt();
    const bool silu = ctx->saved_data["silu"].toBool();
    const Shape s(x, groups);
    auto dy = channels_last(grads[0].to(x.scalar_type()));
    auto dx = at::empty_like(x);
    const auto floats = by_channel.options();
    auto partial = at::empty({s.B * s.chunks, 2, s.C}, floats);
    auto dweight = at::empty({s.C}, floats), dbias = at::empty({s.C}, floats);
    auto terms = at::empty({s.B, 2, s.C}, floats);
    float *sums = partial.data_ptr<float>(), *table = by_channel.data_ptr<float>();
    auto describe = [&](int64_t b, int64_t first, int64_t count) {
      Pixels p = pixels_of(x, s, b, first, count, silu);
      p.mean = table + b * 4 * s.C;
      p.inverse = p.mean + s.C;
      p.factor = p.inverse + s.C;
      p.offset = p.factor + s.C;
      p.dy = at_offset(dy, (b * s.pixels + first) * s.C);
      return p;
    };
    auto gather = VAR_PICK(group_norm_gradient_sums);
    auto collect = [&](int64_t b, int64_t first, int64_t count, int64_t chunk) {
      Pixels p = describe(b, first, count);
      p.sums = sums + chunk * 2 * s.C;
      p.squares = p.sums + s.C;
      gather(p);
    };
    const int64_t members = s.C / groups;
    const double n = double(members) * double(s.pixels);
    auto tabulate = [&](int64_t b) {
      auto total = added(sums, s, b);  // Σ dz, Σ dz·x̂ per channel
      const float *mean = table + b * 4 * s.C, *inverse = mean + s.C, *factor = inverse + s.C;
      float *by_x = terms.data_ptr<float>() + b * 2 * s.C, *constant = by_x + s.C;
      for (int64_t g = 0; g < groups; g++) {
        // dx = factor·dz − inverse·(mean(w·dz) + x̂·mean(w·dz·x̂)); w·inverse is `factor`.
        double plain = 0, along = 0;
        for (int64_t c = g * members; c < (g + 1) * members; c++) {
          plain += total[c] * factor[c];
          along += total[s.C + c] * factor[c];
        }
        plain /= n, along /= n;
        for (int64_t c = g * members; c < (g + 1) * members; c++) {
          by_x[c] = float(-along * inverse[c]);
          constant[c] = float(-plain + along * double(inverse[c]) * mean[c]);
        }
      }
    };
    auto run = VAR_PICK(group_norm_gradient);
    each_image(s, collect, tabulate, [&](int64_t b, int64_t first, int64_t count, int64_t) {
      Pixels p = describe(b, first, count);
      p.by_x = terms.data_ptr<float>() + b * 2 * s.C;
      p.constant = p.by_x + s.C;
      p.dx = at_offset(dx, (b * s.pixels + first) * s.C);
      run(p);
    });
    std::vector<double> weight_total(s.C, 0.0), bias_total(s.C, 0.0);
    for (int64_t b = 0; b < s.B; b++) {
      auto total = added(sums, s, b);
      for (int64_t c = 0; c < s.C; c++) {
        bias_total[c] += total[c];
        weight_total[c] += total[s.C + c];
      }
    }
    for (int64_t c = 0; c < s.C; c++) {
      dbias.data_ptr<float>()[c] = float(bias_total[c]);
      dweight.data_ptr<float>()[c] = float(weight_total[c]);
    }
    return {dx, dweight, dbias, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor group_norm_silu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t groups,
                           double eps, bool silu, at::ScalarType kind) {
  TORCH_CHECK(x.dim() == 4 && groups > 0 && x.size(1) % groups == 0 && weight.numel() == x.size(1) &&
                  bias.numel() == x.size(1),
              "group_norm_silu: expected [B, C, H, W] with C a multiple of ", groups, " and weights [C], got ", x.sizes(),
              ", ", weight.sizes(), " and ", bias.sizes());
  if (fusible(x) && (kind == at::kFloat || kind == at::kBFloat16))
    return GroupNorm::apply(x, weight, bias, groups, eps, silu, kind);
  if (kind == x.scalar_type())
    if (auto y = gpu_group_norm(x, weight, bias, groups, eps, silu)) return *y;
  auto y = at::group_norm(x.to(at::kFloat), groups, weight.to(at::kFloat), bias.to(at::kFloat), eps, false);
  return (silu ? at::silu(y) : y).to(kind);
}

}  // namespace var

extern "C" {
at::Tensor* var_group_norm_silu(const at::Tensor* x, const at::Tensor* weight, const at::Tensor* bias, int64_t groups,
                                double eps, int silu, int kind) {  // −1: that of x; else whether it is bfloat16
  return var::guarded([&] {
    const auto of_result = kind < 0 ? x->scalar_type() : kind ? at::kBFloat16 : at::kFloat;
    return var::group_norm_silu(*x, *weight, *bias, groups, eps, silu != 0, of_result);
  });
}
// The same values with adjacent channels.
at::Tensor* var_channels_last(const at::Tensor* x) {
  return var::guarded([&] { return var::channels_last(*x); });
}
}
