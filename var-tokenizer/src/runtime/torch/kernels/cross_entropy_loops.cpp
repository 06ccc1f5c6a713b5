// Softmax cross-entropy of rows of logits with label smoothing, f32 sums.
#include "cross_entropy.h"
#include "simd.h"

namespace var {
namespace VAR_SET {

template <class T>
static void forward(const LogitRows& r) {
  const int64_t V = r.classes;
  for (int64_t i = 0; i < r.rows; i++) {
    const T* x = (const T*)r.logits + i * V;
    const int64_t whole = V / W * W;
    vf top = splat(-__builtin_inff());
    for (int64_t j = 0; j < whole; j += W) top = max(top, load(x + j));
    float m = largest(top);
    for (int64_t j = whole; j < V; j++) m = value(x[j]) > m ? value(x[j]) : m;
    vf sums = {}, plain = {};
    for (int64_t j = 0; j < whole; j += W) {
      vf v = load(x + j);
      sums += exp(v - m);
      plain += v;
    }
    float total = sum(sums), all = sum(plain);
    for (int64_t j = whole; j < V; j++) {
      vf one = splat(value(x[j]) - m);
      total += exp(one)[0];
      all += value(x[j]);
    }
    const float log_sum = m + __builtin_logf(total), aimed = value(x[r.targets[i]]);
    r.log_sum[i] = log_sum;
    r.loss[i] = log_sum - (1.0f - r.smoothing) * aimed - r.smoothing * (all / V);
    r.hit[i] = aimed >= m ? 1.0f : 0.0f;
  }
}

template <class T>
static void backward(const LogitRows& r) {
  const int64_t V = r.classes;
  for (int64_t i = 0; i < r.rows; i++) {
    const T* x = (const T*)r.logits + i * V;
    T* dx = (T*)r.dlogits + i * V;
    const float g = r.dloss[i], shift = r.log_sum[i], even = r.smoothing / V;
    auto slope = [&](vf v) { return (exp(v - shift) - even) * g; };
    int64_t j = 0;
    for (; j + W <= V; j += W) store(dx + j, slope(load(x + j)));
    if (j < V) store_part(dx + j, slope(load_part(x + j, V - j)), V - j);
    const int64_t t = r.targets[i];
    vf aimed = slope(splat(value(x[t]))) - (1.0f - r.smoothing) * g;
    store_part(dx + t, aimed, 1);
  }
}

void cross_entropy_forward(const LogitRows& r) {
  if (r.brief) forward<bf16>(r);
  else forward<float>(r);
}
void cross_entropy_backward(const LogitRows& r) {
  if (r.brief) backward<bf16>(r);
  else backward<float>(r);
}

}  // namespace VAR_SET
}  // namespace var
