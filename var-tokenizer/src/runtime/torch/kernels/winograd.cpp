// 3×3 convolutions without gradient, by Winograd's F(2×2, 3×3).
#include "winograd.h"

#include "autograd.h"

VAR_KERNEL(winograd_pass, (const var::WinogradPass&, char*, int64_t*))
VAR_KERNEL(winograd_filter, (const var::WinogradFilter&, int64_t, int64_t))

namespace var {
namespace {

// Outputs that one thread transforms at a time; whole panels in every instruction set.
constexpr int64_t SHARE = 64;

// bfloat16 needs the processor's products of pairs. With matrix units (AMX), oneDNN's direct convolution is faster.
bool takes(at::ScalarType kind) {
  return kind == at::kFloat || (kind == at::kBFloat16 && instruction_set() == Set::avx512 && !matrix_units());
}

}  // namespace

bool winograd_applies(const at::Tensor& x) { return fusible(x) && takes(x.scalar_type()) && !at::GradMode::is_enabled(); }

at::Tensor winograd_transformed(const at::Tensor& weight, bool brief) {
  TORCH_CHECK(weight.dim() == 4 && weight.size(2) == 3 && weight.size(3) == 3 && weight.size(0) % CHANNELS == 0 &&
                  weight.size(1) % CHANNELS == 0,
              "winograd: expected a filter [O, I, 3, 3] with multiples of ", CHANNELS, " channels, got ", weight.sizes());
  c10::NoGradGuard off;
  auto plain = weight.to(at::kFloat).permute({2, 3, 1, 0}).contiguous();
  WinogradFilter f{};
  f.brief = brief;
  f.inputs = weight.size(1);
  f.outputs = weight.size(0);
  f.weight = plain.data_ptr<float>();
  auto to = at::empty({PRODUCTS * f.inputs * f.outputs}, plain.options().dtype(brief ? at::kBFloat16 : at::kFloat));
  f.to = to.data_ptr();
  auto run = VAR_PICK(winograd_filter);
  const int64_t shares = (f.outputs + SHARE - 1) / SHARE;
  at::parallel_for(0, shares, 1, [&](int64_t begin, int64_t end) {
    run(f, begin * SHARE, std::min(end * SHARE, f.outputs));
  });
  return to;
}

at::Tensor winograd(const at::Tensor& input, const at::Tensor& filter, const at::Tensor& in_bias,
                    const std::optional<at::Tensor>& in_residual) {
  TORCH_CHECK(input.dim() == 4, "winograd: expected [B, I, H, W], got ", input.sizes());
  auto x = channels_last(input);
  auto bias = in_bias.to(at::kFloat).contiguous();
  const int64_t B = x.size(0), I = x.size(1), H = x.size(2), W = x.size(3), O = bias.numel();
  TORCH_CHECK(takes(x.scalar_type()) && filter.scalar_type() == x.scalar_type() &&
                  I % CHANNELS == 0 && O % CHANNELS == 0 && filter.numel() == PRODUCTS * I * O,
              "winograd: input ", x.sizes(), " does not fit the transformed filter of ", filter.numel(), " numbers and ",
              O, " outputs");
  at::Tensor residual = in_residual ? channels_last(*in_residual) : at::Tensor();
  TORCH_CHECK(!residual.defined() || (residual.sizes() == at::IntArrayRef({B, O, H, W}) &&
                                       (brief(residual) || residual.scalar_type() == at::kFloat)),
              "winograd: residual of another shape or kind");
  const auto kind = residual.defined() ? residual.scalar_type() : x.scalar_type();
  auto y = at::empty({B, O, H, W}, x.options().dtype(kind).memory_format(at::MemoryFormat::ChannelsLast));
  WinogradPass p{};
  p.brief = brief(x);
  p.height = H;
  p.width = W;
  p.inputs = I;
  p.outputs = O;
  p.x = x.data_ptr();
  p.filter = filter.data_ptr();
  p.bias = bias.data_ptr<float>();
  p.residual = residual.defined() ? residual.data_ptr() : nullptr;
  p.residual_brief = p.y_brief = kind == at::kBFloat16;
  p.y = y.data_ptr();
  auto run = VAR_PICK(winograd_pass);
  int64_t bytes = 0;
  run(p, nullptr, &bytes);
  const int64_t tiles = B * ((H + 1) / 2) * ((W + 1) / 2), threads = at::get_num_threads();
  auto scratch = at::empty({threads, bytes}, at::kByte);
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) {
      WinogradPass mine = p;
      mine.first = tiles * t / threads;
      mine.count = tiles * (t + 1) / threads - mine.first;
      int64_t unused;
      run(mine, static_cast<char*>(scratch.data_ptr()) + t * bytes, &unused);
    }
  });
  return y;
}

}  // namespace var

extern "C" {
// 1 where a convolution of `x` can go by Winograd, here and now (gradients off).
int var_winograd_applies(const at::Tensor* x) { return var::winograd_applies(*x) ? 1 : 0; }

at::Tensor* var_winograd_filter(const at::Tensor* weight, int brief) {
  return var::guarded([&] { return var::winograd_transformed(*weight, brief != 0); });
}

at::Tensor* var_winograd(const at::Tensor* x, const at::Tensor* filter, const at::Tensor* bias,
                         const at::Tensor* residual) {
  return var::guarded([&] {
    return var::winograd(*x, *filter, *bias, residual ? std::optional<at::Tensor>(*residual) : std::nullopt);
  });
}
}
