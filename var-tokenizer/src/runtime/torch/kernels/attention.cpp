// Block-causal attention as an autograd function on packed projections.
#include "cached_attention.h"
#include "composed_attention.h"

VAR_KERNEL(attention_forward, (const var::Head&, char*, int64_t*))
VAR_KERNEL(attention_backward, (const var::Head&, const var::HeadGradient&, char*, int64_t*))
VAR_KERNEL(attention_append, (bool, int64_t, int64_t, const void*, const void*, int64_t, bool, void*, void*, int64_t))

namespace var {
namespace {

// Keys that each of `length` queries sees, from the ends of the scales.
std::vector<int32_t> key_ends(at::IntArrayRef ends, int64_t length) {
  TORCH_CHECK(!ends.empty() && ends.back() == length, "attention: scales end at ",
              ends.empty() ? 0 : ends.back(), ", but there are ", length, " tokens");
  std::vector<int32_t> all;
  all.reserve(length);
  for (int64_t end : ends) {
    TORCH_CHECK(end > int64_t(all.size()) && end <= length, "attention: ends of scales must rise, got ", ends);
    all.resize(end, int32_t(end));
  }
  return all;
}

// Runs `one(index, scratch)` for every head of every image on all threads.
template <class F>
void each_head(int64_t count, int64_t bytes, const F& one) {
  const int64_t threads = std::min<int64_t>(count, at::get_num_threads());
  auto scratch = at::empty({threads, (bytes + 63) / 64 * 64}, at::kByte);
  char* base = static_cast<char*>(scratch.data_ptr());
  const int64_t stride = scratch.stride(0);
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++)
      for (int64_t i = count * t / threads; i < count * (t + 1) / threads; i++) one(i, base + t * stride);
  });
}

// Head `h` of image `b` in qkv [B, L, 3·H·d] and out [B, L, H·d].
Head head_of(const at::Tensor& qkv, const at::Tensor& out, int64_t heads, int64_t b, int64_t h) {
  const int64_t L = qkv.size(1), width = qkv.size(2) / 3, d = width / heads;
  Head one{};
  one.brief = brief(qkv);
  one.queries = one.keys = L;
  one.dim = d;
  const int64_t start = b * L * 3 * width + h * d;
  one.q = at_offset(qkv, start);
  one.k = at_offset(qkv, start + width);
  one.v = at_offset(qkv, start + 2 * width);
  one.q_stride = one.k_stride = one.v_stride = 3 * width;
  one.out = at_offset(out, b * L * width + h * d);
  one.out_stride = width;
  return one;
}

struct BlockCausal : torch::autograd::Function<BlockCausal> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& scale, int64_t heads,
                            std::vector<int64_t> ends, bool normalise) {
    auto qkv = input.contiguous();
    auto factors = scale.contiguous();
    const int64_t B = qkv.size(0), L = qkv.size(1), width = qkv.size(2) / 3;
    auto seen = key_ends(ends, L);
    auto out = at::empty({B, L, width}, qkv.options());
    auto log_sum = at::empty({B, heads, L}, qkv.options().dtype(at::kFloat));
    const float* by_head = factors.data_ptr<float>();
    auto describe = [&](int64_t i) {
      Head one = head_of(qkv, out, heads, i / heads, i % heads);
      one.key_end = seen.data();
      one.scale = by_head[i % heads];
      one.normalise_q = one.normalise_k = normalise;
      one.log_sum = log_sum.data_ptr<float>() + i * L;
      return one;
    };
    auto run = VAR_PICK(attention_forward);
    int64_t bytes = 0;
    run(describe(0), nullptr, &bytes);
    each_head(B * heads, bytes, [&](int64_t i, char* scratch) {
      int64_t unused;
      run(describe(i), scratch, &unused);
    });
    ctx->save_for_backward({qkv, factors, out, log_sum});
    ctx->saved_data["heads"] = heads;
    ctx->saved_data["ends"] = ends;
    ctx->saved_data["normalise"] = normalise;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    auto qkv = saved[0], factors = saved[1], out = saved[2], log_sum = saved[3];
    const int64_t heads = ctx->saved_data["heads"].toInt();
    const bool normalise = ctx->saved_data["normalise"].toBool();
    const int64_t B = qkv.size(0), L = qkv.size(1), width = qkv.size(2) / 3, d = width / heads;
    auto seen = key_ends(ctx->saved_data["ends"].toIntVector(), L);
    auto grad = grads[0].to(qkv.scalar_type()).contiguous();
    auto dqkv = at::empty_like(qkv);
    auto dscale = at::empty({B, heads}, factors.options());
    const float* by_head = factors.data_ptr<float>();
    auto run = VAR_PICK(attention_backward);
    auto one = [&](int64_t i, char* scratch, int64_t* bytes) {
      Head head = head_of(qkv, out, heads, i / heads, i % heads);
      head.key_end = seen.data();
      head.scale = by_head[i % heads];
      head.normalise_q = head.normalise_k = normalise;
      Head to = head_of(dqkv, out, heads, i / heads, i % heads);
      HeadGradient g{};
      g.out = head.out;
      g.grad_out = at_offset(grad, i / heads * L * width + i % heads * d);
      g.grad_stride = width;
      g.log_sum = log_sum.data_ptr<float>() + i * L;
      g.dq = const_cast<void*>(to.q);
      g.dk = const_cast<void*>(to.k);
      g.dv = const_cast<void*>(to.v);
      g.dscale = dscale.data_ptr<float>() + i;
      run(head, g, scratch, bytes);
    };
    int64_t bytes = 0;
    one(0, nullptr, &bytes);
    each_head(B * heads, bytes, [&](int64_t i, char* scratch) {
      int64_t unused;
      one(i, scratch, &unused);
    });
    return {dqkv, normalise ? dscale.sum(0) : at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

void check(const at::Tensor& qkv, const at::Tensor& scale, int64_t heads) {
  TORCH_CHECK(qkv.dim() == 3 && heads > 0 && qkv.size(2) % (3 * heads) == 0,
              "attention: expected [B, L, 3·heads·d] with ", heads, " heads, got ", qkv.sizes());
  TORCH_CHECK(scale.numel() == heads && scale.scalar_type() == at::kFloat, "attention: expected one f32 scale for each of ",
              heads, " heads, got ", scale.sizes());
}

}  // namespace

at::Tensor block_causal(const at::Tensor& qkv, const at::Tensor& scale, int64_t heads, at::IntArrayRef ends,
                        bool normalise) {
  check(qkv, scale, heads);
  key_ends(ends, qkv.size(1));
  if (!fusible(qkv) || qkv.size(2) / 3 / heads > MAX_DIM)
    return composed_block_causal(qkv, scale.view({heads}), heads, ends.vec(), normalise);
  return BlockCausal::apply(qkv, scale.view({heads}), heads, ends.vec(), normalise);
}

// Attends from the new tokens in qkv to everything cached and themselves; adds them to the caches
// [B, H, Lmax, d] from row `start` on. Not differentiable.
at::Tensor cached(const at::Tensor& input, const at::Tensor& scale, int64_t heads, const at::Tensor& cache_k,
                  const at::Tensor& cache_v, int64_t start, bool normalise) {
  check(input, scale, heads);
  c10::NoGradGuard off;
  const int64_t B = input.size(0), L = input.size(1), width = input.size(2) / 3, d = width / heads;
  for (const auto& cache : {cache_k, cache_v})
    TORCH_CHECK(cache.dim() == 4 && cache.size(0) == B && cache.size(1) == heads && cache.size(3) == d &&
                    start >= 0 && start + L <= cache.size(2) && cache.is_contiguous() &&
                    cache.scalar_type() == input.scalar_type(),
                "attention: ", L, " tokens at ", start, " do not fit a cache ", cache.sizes());
  if (!fusible(input) || d > MAX_DIM) {
    return composed_cached(input, scale.view({heads}), heads, cache_k, cache_v, start, normalise);
  }
  auto qkv = input.contiguous();
  auto out = at::empty({B, L, width}, qkv.options());
  CachedAttention attention(qkv, out, scale, heads, cache_k, cache_v, start, normalise);
  each_head(attention.count(), attention.bytes(), [&](int64_t i, char* scratch) { attention.run(i, scratch); });
  return out;
}

CachedAttention::CachedAttention(const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& factors, int64_t heads,
                                 const at::Tensor& keys, const at::Tensor& values, int64_t start, bool normalise)
    : qkv_(qkv), out_(out), factors_(factors.contiguous()), keys_(keys), values_(values), heads_(heads), start_(start),
      normalise_(normalise), seen_(qkv.size(1), int32_t(start + qkv.size(1))) {}

Head CachedAttention::describe(int64_t i) const {
  Head one = head_of(qkv_, out_, heads_, i / heads_, i % heads_);
  const int64_t room = keys_.size(2);
  one.key_end = seen_.data();
  one.scale = factors_.data_ptr<float>()[i % heads_];
  one.normalise_q = normalise_;
  one.keys = start_ + one.queries;
  one.k = at_offset(keys_, i * room * one.dim);
  one.v = at_offset(values_, i * room * one.dim);
  one.k_stride = one.v_stride = one.dim;
  return one;
}

int64_t CachedAttention::bytes() const {
  int64_t bytes = 0;
  VAR_PICK(attention_forward)(describe(0), nullptr, &bytes);
  return bytes;
}

void CachedAttention::run(int64_t i, char* scratch) const {
  Head fresh = head_of(qkv_, out_, heads_, i / heads_, i % heads_);
  const int64_t at = (i * keys_.size(2) + start_) * fresh.dim;
  VAR_PICK(attention_append)(fresh.brief, fresh.queries, fresh.dim, fresh.k, fresh.v, fresh.k_stride, normalise_,
                             at_offset(keys_, at), at_offset(values_, at), fresh.dim);
  int64_t unused;
  VAR_PICK(attention_forward)(describe(i), scratch, &unused);
}

}  // namespace var

extern "C" {
at::Tensor* var_block_causal_attention(const at::Tensor* qkv, const at::Tensor* scale, int64_t heads,
                                       const int64_t* ends, size_t n, int normalise) {
  return var::guarded([&] { return var::block_causal(*qkv, *scale, heads, {ends, n}, normalise != 0); });
}

at::Tensor* var_cached_attention(const at::Tensor* qkv, const at::Tensor* scale, int64_t heads,
                                 const at::Tensor* cache_k, const at::Tensor* cache_v, int64_t start, int normalise) {
  return var::guarded([&] { return var::cached(*qkv, *scale, heads, *cache_k, *cache_v, start, normalise != 0); });
}
}
