// A whole transformer block on a few rows, for sampling: one region of threads, no tensor between the parts.
//
// The weights pass through the caches once and drive out everything else, so that each separate operation would
// start cold. The result is that of the separate operations, to the bit.
#ifdef _OPENMP
#include <omp.h>
#endif

#include "cached_attention.h"
#include "few_rows.h"
#include "layer_norm.h"

VAR_KERNEL(layer_norm_forward, (const var::NormRows&))
VAR_KERNEL(gated_add_forward, (const var::GatedRows&))
VAR_KERNEL(gelu_forward, (bool, const void*, void*, int64_t))

namespace var {
namespace {

// A linear layer: weight [n, k], f32 bias [n].
struct Layer {
  at::Tensor weight, bias;
};

// The parameters, in the order in which they come from outside.
struct Parameters {
  at::Tensor gate[2], scale[2], shift[2];  // f32 [B, 1, C], of attention and feed-forward
  Layer qkv, projection, expand, contract;
};

// Columns of the thread `t` of `T`; whole cache lines.
int64_t share(int64_t n, int t, int T) { return t == T ? n : n * t / T / 32 * 32; }

class Step {
 public:
  Step(const Parameters& p, const CachedAttention& attention, const at::Tensor& x, const at::Tensor& packed,
       const at::Tensor& mixed, double eps)
      : p_(p), attention_(attention), x_(x), packed_(packed), mixed_(mixed), eps_(float(eps)),
        m_(x.size(0) * x.size(1)), width_(x.size(2)),
        norm_(at::empty({m_, width_}, packed.options())),
        hidden_(at::empty({m_, p.expand.weight.size(0)}, packed.options())),
        branch_(at::empty({m_, width_}, packed.options())),
        statistics_(at::empty({2, m_}, x.options())) {}

  // Thread `t` of `T`; `wait` waits for the others.
  template <class F>
  void run(int t, int T, char* scratch, const F& wait) const {
    norm(0, t, T);
    wait();
    multiply(p_.qkv, norm_, packed_, t, T);
    wait();
    const int64_t heads = attention_.count();
    for (int64_t i = heads * t / T; i < heads * (t + 1) / T; i++) attention_.run(i, scratch);
    wait();
    multiply(p_.projection, mixed_, branch_, t, T);
    add(0, t, T);
    wait();
    norm(1, t, T);
    wait();
    multiply(p_.expand, norm_, hidden_, t, T);
    const int64_t n = hidden_.size(1), begin = share(n, t, T), end = share(n, t + 1, T);
    for (int64_t i = 0; i < m_; i++) {
      void* part = at_offset(hidden_, i * n + begin);
      VAR_PICK(gelu_forward)(brief(hidden_), part, part, end - begin);
    }
    wait();
    multiply(p_.contract, hidden_, branch_, t, T);
    add(1, t, T);
  }

 private:
  int64_t image(int64_t row) const { return row / x_.size(1); }

  void norm(int branch, int t, int T) const {
    for (int64_t i = t; i < m_; i += T) {
      NormRows r{};
      r.y_brief = brief(norm_);
      r.rows = 1;
      r.width = width_;
      r.eps = eps_;
      r.x = at_offset(x_, i * width_);
      r.scale = p_.scale[branch].data_ptr<float>() + image(i) * width_;
      r.shift = p_.shift[branch].data_ptr<float>() + image(i) * width_;
      r.y = at_offset(norm_, i * width_);
      r.mean = statistics_.data_ptr<float>() + i;
      r.inverse = r.mean + m_;
      VAR_PICK(layer_norm_forward)(r);
    }
  }

  void multiply(const Layer& layer, const at::Tensor& x, const at::Tensor& y, int t, int T) const {
    const int64_t n = layer.weight.size(0);
    VAR_PICK(few_rows)(brief(x), x.data_ptr(), layer.weight.data_ptr(), layer.bias.data_ptr<float>(), y.data_ptr(), m_,
                       share(n, t, T), share(n, t + 1, T), n, layer.weight.size(1));
  }

  // The thread's columns of x += gate·branch.
  void add(int branch, int t, int T) const {
    const int64_t begin = share(width_, t, T), end = share(width_, t + 1, T);
    for (int64_t i = 0; i < m_; i++) {
      GatedRows r{};
      r.y_brief = brief(branch_);
      r.rows = 1;
      r.width = end - begin;
      r.x = r.out = at_offset(x_, i * width_ + begin);
      r.y = at_offset(branch_, i * width_ + begin);
      r.gate = p_.gate[branch].data_ptr<float>() + image(i) * width_ + begin;
      VAR_PICK(gated_add_forward)(r);
    }
  }

  const Parameters& p_;
  const CachedAttention& attention_;
  at::Tensor x_, packed_, mixed_;
  float eps_;
  int64_t m_, width_;
  at::Tensor norm_, hidden_, branch_, statistics_;
};

void check(const Parameters& p, const at::Tensor& x, int64_t heads, const at::Tensor& factors, const at::Tensor& keys,
           const at::Tensor& values, int64_t start) {
  TORCH_CHECK(x.dim() == 3 && x.scalar_type() == at::kFloat && heads > 0 && x.size(2) % heads == 0,
              "block step: expected f32 [B, l, C] for ", heads, " heads, got ", x.sizes());
  const int64_t B = x.size(0), L = x.size(1), C = x.size(2), hidden = p.expand.weight.size(0);
  const auto kind = p.qkv.weight.scalar_type();
  auto layer = [&](const Layer& one, int64_t n, int64_t k) {
    TORCH_CHECK(is_few(x, one.weight, kind) && one.weight.sizes() == at::IntArrayRef({n, k}) && one.bias.numel() == n &&
                    one.bias.scalar_type() == at::kFloat && one.bias.is_contiguous(),
                "block step: weight ", one.weight.sizes(), ", expected ", n, " × ", k);
  };
  layer(p.qkv, 3 * C, C);
  layer(p.projection, C, C);
  layer(p.expand, hidden, C);
  layer(p.contract, C, hidden);
  for (const auto* part : {&p.gate[0], &p.gate[1], &p.scale[0], &p.scale[1], &p.shift[0], &p.shift[1]})
    TORCH_CHECK(part->numel() == B * C && part->scalar_type() == at::kFloat && part->is_contiguous(),
                "block step: modulation ", part->sizes(), " of ", x.sizes());
  for (const auto* cache : {&keys, &values})
    TORCH_CHECK(cache->sizes() == at::IntArrayRef({B, heads, cache->size(2), C / heads}) && start >= 0 &&
                    start + L <= cache->size(2) && cache->is_contiguous() && cache->scalar_type() == kind,
                "block step: ", L, " tokens at ", start, " do not fit a cache ", cache->sizes());
  TORCH_CHECK(factors.numel() == heads && factors.scalar_type() == at::kFloat, "block step: one factor a head");
}

}  // namespace

at::Tensor block_step(const Parameters& p, const at::Tensor& input, int64_t heads, const at::Tensor& factors,
                      const at::Tensor& keys, const at::Tensor& values, int64_t start, bool normalise, double eps) {
  check(p, input, heads, factors, keys, values, start);
  c10::NoGradGuard off;
  auto x = input.clone(at::MemoryFormat::Contiguous);
  const auto options = x.options().dtype(p.qkv.weight.scalar_type());
  auto packed = at::empty({x.size(0), x.size(1), 3 * x.size(2)}, options);
  auto mixed = at::empty({x.size(0), x.size(1), x.size(2)}, options);
  CachedAttention attention(packed, mixed, factors, heads, keys, values, start, normalise);
  Step step(p, attention, x, packed, mixed, eps);
  const int64_t bytes = (attention.bytes() + 63) / 64 * 64;
  const int threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  auto scratch = at::empty({threads, bytes}, at::kByte);
  char* base = static_cast<char*>(scratch.data_ptr());
#ifdef _OPENMP
#pragma omp parallel num_threads(threads)
  {
    const int t = omp_get_thread_num();
    step.run(t, omp_get_num_threads(), base + t * bytes, [] {
#pragma omp barrier
    });
  }
#else
  step.run(0, 1, base, [] {});
#endif
  return x;
}

}  // namespace var

extern "C" {
// Whether `x` [B, l, C] and weights such as `weight`, for `heads` heads, suit var_block_step.
int var_block_step_fits(const at::Tensor* x, const at::Tensor* weight, int64_t heads) {
  return var::is_few(*x, *weight, weight->scalar_type()) && x->size(-1) <= heads * var::MAX_DIM ? 1 : 0;
}

// `tensors`: x; gates, scales, shifts of both branches; weight and bias of the four layers; factors, keys, values.
at::Tensor* var_block_step(const at::Tensor* const* tensors, int64_t heads, int64_t start, int normalise, double eps) {
  return var::guarded([&] {
    const auto at = [&](int i) -> const at::Tensor& { return *tensors[i]; };
    const var::Parameters p{{at(1), at(2)}, {at(3), at(4)}, {at(5), at(6)}, {at(7), at(8)}, {at(9), at(10)},
                            {at(11), at(12)}, {at(13), at(14)}};
    return var::block_step(p, at(0), heads, at(15), at(16), at(17), start, normalise != 0, eps);
  });
}
}
