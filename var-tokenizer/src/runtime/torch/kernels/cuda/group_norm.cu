// GroupNorm with SiLU on images with adjacent channels, [B, P, C] for P pixels. A block has `rows` pixels of an image: grid
// (chunks, B). Tables [B, C] and sums [B, chunks, 2, C] are f32.

__device__ inline float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

// The gradient of z = x·factor + offset before SiLU.
__device__ inline float before_silu(float dy, float z, int silu) {
  if (!silu) return dy;
  const float s = sigmoid(z);
  return dy * s * (1.0f + z * (1.0f - s));
}

// Sums of x − pivot and of its square: near the mean, squares stay small.
extern "C" __global__ void group_sums(const Branch* x, const float* pivot, float* sums, int pixels, int rows) {
  const int first = blockIdx.x * rows, last = min(first + rows, pixels);
  const long chunk = (long)blockIdx.y * gridDim.x + blockIdx.x;
  for (int c = threadIdx.x; c < WIDTH; c += THREADS) {
    const float center = pivot[(long)blockIdx.y * WIDTH + c];
    float sum = 0, square = 0;
    for (int r = first; r < last; r++) {
      const float d = wide(x[((long)blockIdx.y * pixels + r) * WIDTH + c]) - center;
      sum += d;
      square += d * d;
    }
    sums[2 * chunk * WIDTH + c] = sum;
    sums[(2 * chunk + 1) * WIDTH + c] = square;
  }
}

// y = silu(x·factor + offset), or without SiLU.
extern "C" __global__ void group_apply(const Branch* x, const float* factor, const float* offset, Branch* y, int pixels,
                                       int rows, int silu) {
  const int first = blockIdx.x * rows, last = min(first + rows, pixels);
  for (int c = threadIdx.x; c < WIDTH; c += THREADS) {
    const float by = factor[(long)blockIdx.y * WIDTH + c], plus = offset[(long)blockIdx.y * WIDTH + c];
    for (int r = first; r < last; r++) {
      const long i = ((long)blockIdx.y * pixels + r) * WIDTH + c;
      const float z = wide(x[i]) * by + plus;
      y[i] = brief(silu ? z * sigmoid(z) : z);
    }
  }
}

// Sums of dz and of dz·(x − mean)·inverse.
extern "C" __global__ void group_gradient_sums(const Branch* x, const Branch* dy, const float* mean, const float* inverse,
                                               const float* factor, const float* offset, float* sums, int pixels, int rows,
                                               int silu) {
  const int first = blockIdx.x * rows, last = min(first + rows, pixels);
  const long chunk = (long)blockIdx.y * gridDim.x + blockIdx.x;
  for (int c = threadIdx.x; c < WIDTH; c += THREADS) {
    const long t = (long)blockIdx.y * WIDTH + c;
    float plain = 0, along = 0;
    for (int r = first; r < last; r++) {
      const long i = ((long)blockIdx.y * pixels + r) * WIDTH + c;
      const float value = wide(x[i]);
      const float dz = before_silu(wide(dy[i]), value * factor[t] + offset[t], silu);
      plain += dz;
      along += dz * (value - mean[t]) * inverse[t];
    }
    sums[2 * chunk * WIDTH + c] = plain;
    sums[(2 * chunk + 1) * WIDTH + c] = along;
  }
}

// dx = factor·dz + by_x·x + constant.
extern "C" __global__ void group_gradient(const Branch* x, const Branch* dy, const float* factor, const float* offset,
                                          const float* by_x, const float* constant, Branch* dx, int pixels, int rows,
                                          int silu) {
  const int first = blockIdx.x * rows, last = min(first + rows, pixels);
  for (int c = threadIdx.x; c < WIDTH; c += THREADS) {
    const long t = (long)blockIdx.y * WIDTH + c;
    for (int r = first; r < last; r++) {
      const long i = ((long)blockIdx.y * pixels + r) * WIDTH + c;
      const float value = wide(x[i]);
      const float dz = before_silu(wide(dy[i]), value * factor[t] + offset[t], silu);
      dx[i] = brief(factor[t] * dz + by_x[t] * value + constant[t]);
    }
  }
}
