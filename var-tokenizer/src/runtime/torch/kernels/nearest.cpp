// Nearest codes: the lookup of the quantizer.
#include "autograd.h"

VAR_KERNEL(nearest, (const float*, int64_t, int64_t, const float*, const float*, int64_t, bool, int64_t*))
VAR_KERNEL(nearest_pack, (const float*, int64_t, int64_t, bool, float*, float*, int64_t*))

namespace var {

at::Tensor nearest_code(const at::Tensor& in_vectors, const at::Tensor& in_codes, bool lengths) {
  TORCH_CHECK(in_vectors.dim() == 2 && in_codes.dim() == 2 && in_vectors.size(1) == in_codes.size(1) &&
                  in_codes.size(0) > 0,
              "nearest_code: expected vectors [N, c] and codes [V, c], got ", in_vectors.sizes(), " and ",
              in_codes.sizes());
  c10::NoGradGuard off;
  auto vectors = in_vectors.to(at::kFloat).contiguous(), codes = in_codes.to(at::kFloat).contiguous();
  if (!fusible(vectors)) {
    if (!lengths) return at::mm(vectors, codes.t()).argmax(1);
    auto distances = vectors.square().sum(1, true) + codes.square().sum(1);
    return distances.addmm_(vectors, codes.t(), 1, -2).argmin(1);
  }
  const int64_t n = vectors.size(0), k = vectors.size(1), count = codes.size(0);
  int64_t padded = 0;
  auto pack = VAR_PICK(nearest_pack);
  pack(nullptr, count, k, lengths, nullptr, nullptr, &padded);
  auto panels = at::empty({padded * k}, codes.options()), norms = at::empty({padded}, codes.options());
  pack(codes.data_ptr<float>(), count, k, lengths, panels.data_ptr<float>(), norms.data_ptr<float>(), &padded);
  auto ids = at::empty({n}, codes.options().dtype(at::kLong));
  auto run = VAR_PICK(nearest);
  at::parallel_for(0, n, 12, [&](int64_t begin, int64_t end) {
    run(vectors.data_ptr<float>() + begin * k, end - begin, k, panels.data_ptr<float>(), norms.data_ptr<float>(), padded,
        lengths, ids.data_ptr<int64_t>() + begin);
  });
  return ids;
}

}  // namespace var

extern "C" at::Tensor* var_nearest_code(const at::Tensor* vectors, const at::Tensor* codes, int lengths) {
  return var::guarded([&] { return var::nearest_code(*vectors, *codes, lengths != 0); });
}
