// Products of bfloat16 matrices with many rows, with f32 sums.
#include "brief_linear.h"

#include <limits>

#include "brief_product.h"

VAR_KERNEL(brief_pack, (const var::BriefPanels&, int64_t, int64_t))
VAR_KERNEL(brief_multiply, (const var::BriefProduct&, int64_t, int64_t))
VAR_KERNEL(brief_gradient, (const var::BriefGradient&, char*, int64_t*))

namespace var {
namespace {

// From so many rows on, packing the matrix costs less than the loops gain over libtorch's bfloat16 product.
constexpr int64_t MANY = 2048;
// Rows of a product that one thread computes at least.
constexpr int64_t ROWS_AT_ONCE = 48;
// Rows and columns of a weight's gradient whose sums stay in the second-level cache.
constexpr int64_t PART = 384;
// Threads share these rows and columns by multiples.
constexpr int64_t ROW_UNIT = 24, COLUMN_UNIT = BRIEF_PANEL;

int64_t units(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

// a · b (+ bias), where b is `w` or its transpose (`turned`).
at::Tensor multiplied(const at::Tensor& a, const at::Tensor& w, bool turned, const at::Tensor& bias,
                      at::ScalarType kind) {
  auto rows = a.contiguous(), matrix = w.contiguous();
  const int64_t m = a.size(0), depth = a.size(1), n = w.size(turned ? 0 : 1);
  const int64_t count = units(n, BRIEF_PANEL);
  auto packed = at::empty({count * BRIEF_PANEL * depth}, rows.options());
  BriefPanels panels{brief(matrix), turned, depth, n, matrix.data_ptr(), packed.data_ptr()};
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) { VAR_PICK(brief_pack)(panels, begin, end); });
  auto y = at::empty({m, n}, rows.options().dtype(kind));
  auto add = bias.defined() ? bias.to(at::kFloat).contiguous() : at::Tensor();
  BriefProduct product{m, n, depth, rows.data_ptr(), packed.data_ptr(), add.defined() ? add.data_ptr<float>() : nullptr,
                       y.data_ptr(), brief(y)};
  at::parallel_for(0, m, ROWS_AT_ONCE,
                   [&](int64_t begin, int64_t end) { VAR_PICK(brief_multiply)(product, begin, end); });
  return y;
}

// Cuts [0, n) into `parts` at multiples of `unit`; the place of cut `i`.
int64_t cut(int64_t n, int64_t unit, int64_t parts, int64_t i) { return std::min(n, units(n, unit) * i / parts * unit); }

// Into how many strips threads cut the rows and the columns of dw [n, k], so that the largest share is least.
struct Strips {
  int64_t rows, columns;
};
Strips strips(int64_t n, int64_t k, int64_t threads) {
  Strips best{1, 1};
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int64_t rows = 1; rows <= threads; rows++) {
    const int64_t columns = threads / rows;
    const int64_t share = units(units(n, ROW_UNIT), rows) * ROW_UNIT * units(units(k, COLUMN_UNIT), columns) * COLUMN_UNIT;
    if (share >= least) continue;
    least = share;
    best = {rows, columns};
  }
  return best;
}

}  // namespace

bool brief_applies(const at::Tensor& a, int64_t columns, at::ScalarType kind) {
  return instruction_set() == Set::avx512 && fusible(a) && brief(a) && a.size(1) % 2 == 0 && columns % 2 == 0 &&
         (kind == at::kFloat || (a.size(0) >= MANY && !matrix_units()));
}

at::Tensor brief_linear(const at::Tensor& a, const at::Tensor& w, const at::Tensor& bias, at::ScalarType kind) {
  return multiplied(a, w, /*turned=*/true, bias, kind);
}

at::Tensor brief_input_gradient(const at::Tensor& dy, const at::Tensor& w) {
  return multiplied(dy, w, /*turned=*/false, {}, at::kBFloat16);
}

at::Tensor brief_weight_gradient(const at::Tensor& in_dy, const at::Tensor& in_x) {
  auto dy = in_dy.contiguous(), x = in_x.contiguous();
  const int64_t m = dy.size(0), n = dy.size(1), k = x.size(1);
  const Strips by = strips(n, k, at::get_num_threads());
  auto dw = at::empty({n, k}, dy.options().dtype(at::kFloat));
  BriefGradient all{m, n, k, dy.data_ptr(), x.data_ptr(), dw.data_ptr<float>(), 0, std::min(n, PART), 0, std::min(k, PART)};
  auto run = VAR_PICK(brief_gradient);
  int64_t bytes = 0;
  run(all, nullptr, &bytes);
  auto scratch = at::empty({by.rows * by.columns, bytes}, at::kByte);
  at::parallel_for(0, by.rows * by.columns, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t r = t / by.columns, c = t % by.columns;
      const int64_t n_end = cut(n, ROW_UNIT, by.rows, r + 1), k_end = cut(k, COLUMN_UNIT, by.columns, c + 1);
      BriefGradient part = all;
      for (part.n_begin = cut(n, ROW_UNIT, by.rows, r); part.n_begin < n_end; part.n_begin = part.n_end) {
        part.n_end = std::min(n_end, part.n_begin + PART);
        for (part.k_begin = cut(k, COLUMN_UNIT, by.columns, c); part.k_begin < k_end; part.k_begin = part.k_end) {
          part.k_end = std::min(k_end, part.k_begin + PART);
          int64_t unused;
          run(part, static_cast<char*>(scratch.data_ptr()) + t * bytes, &unused);
        }
      }
    }
  });
  return dw;
}

}  // namespace var
