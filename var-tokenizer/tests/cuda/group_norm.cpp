// GroupNorm with SiLU of the CUDA source against plain sums in f64. Exit status 1 and a line for each quantity that is off.
#define WIDTH 70
#define THREADS 32
#include "emulation.h"

#include SOURCE

int main() {
  const int B = 2, P = 21, C = WIDTH, rows = 8, chunks = (P + rows - 1) / rows;
  auto x = branch(noise(B * P * C, 2, 3)), dy = branch(noise(B * P * C));
  auto pivot = noise(B * C, 1, 3), mean = noise(B * C), inverse = noise(B * C), factor = noise(B * C), offset = noise(B * C);
  auto by_x = noise(B * C), constant = noise(B * C);
  std::vector<float> sums(2 * B * chunks * C), gradient_sums(2 * B * chunks * C);
  std::vector<Branch> y(B * P * C), dx(B * P * C);
  for (int silu = 0; silu < 2; silu++) {
    launch(chunks, B, [&] { group_sums(x.data(), pivot.data(), sums.data(), P, rows); });
    launch(chunks, B, [&] { group_apply(x.data(), factor.data(), offset.data(), y.data(), P, rows, silu); });
    launch(chunks, B, [&] {
      group_gradient_sums(x.data(), dy.data(), mean.data(), inverse.data(), factor.data(), offset.data(),
                          gradient_sums.data(), P, rows, silu);
    });
    launch(chunks, B, [&] {
      group_gradient(x.data(), dy.data(), factor.data(), offset.data(), by_x.data(), constant.data(), dx.data(), P, rows,
                     silu);
    });
    for (int b = 0; b < B; b++)
      for (int c = 0; c < C; c++) {
        const int t = b * C + c;
        double expected[4] = {0, 0, 0, 0}, found[4] = {0, 0, 0, 0};
        for (int p = 0; p < P; p++) {
          const int i = (b * P + p) * C + c;
          const double value = wide(x[i]), d = value - pivot[t], z = value * factor[t] + offset[t];
          const double s = 1 / (1 + std::exp(-z)), dz = wide(dy[i]) * (silu ? s * (1 + z * (1 - s)) : 1);
          expected[0] += d, expected[1] += d * d;
          expected[2] += dz, expected[3] += dz * (value - mean[t]) * inverse[t];
          compare("y", wide(y[i]), silu ? z * s : z, rounded);
          compare("dx", wide(dx[i]), factor[t] * dz + by_x[t] * value + constant[t], rounded);
        }
        for (int k = 0; k < chunks; k++)
          for (int which = 0; which < 2; which++) {
            const int i = (2 * (b * chunks + k) + which) * C + c;
            found[which] += sums[i], found[2 + which] += gradient_sums[i];
          }
        const char* names[4] = {"sum", "square", "dz", "dz along x"};
        for (int which = 0; which < 4; which++) compare(names[which], found[which], expected[which], exact);
      }
  }
  return wrong == 0 ? 0 : 1;
}
