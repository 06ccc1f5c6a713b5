// LayerNorm and gate of the CUDA source against plain sums in f64. Exit status 1 and a line for each quantity that is off.
#define WIDTH 100
#define THREADS 64
#include "emulation.h"

#include SOURCE

int main() {
  const int B = 2, L = 21, C = WIDTH, rows = 8, chunks = (L + rows - 1) / rows;
  const float eps = 1e-6f;
  auto x = noise(B * L * C, 3, 2), scale = noise(B * C), shift = noise(B * C), gate = noise(B * C);
  auto dy = branch(noise(B * L * C)), other = branch(noise(B * L * C));
  auto dout = noise(B * L * C);
  std::vector<Branch> y(B * L * C), dother(B * L * C);
  std::vector<float> mean(B * L), inverse(B * L), dx(B * L * C), out(B * L * C);
  std::vector<float> dscale(B * chunks * C), dshift(B * chunks * C), dgate(B * chunks * C);
  launch(L, B, [&] {
    norm_forward(x.data(), scale.data(), shift.data(), y.data(), mean.data(), inverse.data(), eps);
  });
  launch(chunks, B, [&] {
    norm_backward(x.data(), scale.data(), mean.data(), inverse.data(), dy.data(), dx.data(), dscale.data(), dshift.data(), L,
                  rows);
  });
  launch(L, B, [&] { gate_forward(x.data(), other.data(), gate.data(), out.data()); });
  launch(chunks, B, [&] { gate_backward(dout.data(), other.data(), gate.data(), dother.data(), dgate.data(), L, rows); });

  for (int b = 0; b < B; b++) {
    std::vector<double> by_scale(C), by_shift(C), by_gate(C);
    for (int l = 0; l < L; l++) {
      const int row = b * L + l;
      double center = 0, square = 0, plain = 0, along = 0;
      for (int c = 0; c < C; c++) center += x[row * C + c];
      center /= C;
      for (int c = 0; c < C; c++) square += std::pow(x[row * C + c] - center, 2);
      const double rate = 1 / std::sqrt(square / C + eps);
      std::vector<double> unit(C), grad(C);
      for (int c = 0; c < C; c++) {
        const double d = wide(dy[row * C + c]);
        unit[c] = (x[row * C + c] - center) * rate;
        grad[c] = d * (1 + scale[b * C + c]);
        plain += grad[c] / C, along += grad[c] * unit[c] / C;
        by_scale[c] += d * unit[c], by_shift[c] += d;
        by_gate[c] += double(dout[row * C + c]) * wide(other[row * C + c]);
      }
      compare("mean", mean[row], center, exact);
      compare("inverse", inverse[row], rate, exact);
      for (int c = 0; c < C; c++) {
        const int i = row * C + c;
        compare("y", wide(y[i]), unit[c] * (1 + scale[b * C + c]) + shift[b * C + c], rounded);
        compare("dx", dx[i], rate * (grad[c] - plain - unit[c] * along), exact);
        compare("out", out[i], x[i] + double(gate[b * C + c]) * wide(other[i]), exact);
        compare("dy", wide(dother[i]), double(dout[i]) * gate[b * C + c], rounded);
      }
    }
    for (int c = 0; c < C; c++) {
      double sums[3] = {0, 0, 0};
      for (int k = 0; k < chunks; k++) {
        const int i = (b * chunks + k) * C + c;
        sums[0] += dscale[i], sums[1] += dshift[i], sums[2] += dgate[i];
      }
      compare("dscale", sums[0], by_scale[c], exact);
      compare("dshift", sums[1], by_shift[c], exact);
      compare("dgate", sums[2], by_gate[c], exact);
    }
  }
  compare("NaN stays", std::isnan(wide(brief(NAN))), 1, 0);
  return wrong == 0 ? 0 : 1;
}
