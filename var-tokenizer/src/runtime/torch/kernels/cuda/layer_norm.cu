// LN(x)·(1 + scale) + shift and x + gate·y. The residual stream, statistics, scales, shifts and gates are f32.

// One row per block: grid (L, B). x and y [B, L, C], scale and shift [B, C], mean and inverse [B, L].
extern "C" __global__ void norm_forward(const float* x, const float* scale, const float* shift, Branch* y, float* mean,
                                        float* inverse, float eps) {
  __shared__ float room[2][THREADS / 32];
  const long row = (long)blockIdx.y * gridDim.x + blockIdx.x;
  const float* from = x + row * WIDTH;
  float value[COLUMNS];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < COLUMNS; i++) {
    const int c = threadIdx.x + i * THREADS;
    value[i] = c < WIDTH ? from[c] : 0.0f;
    sum += value[i];
  }
  const float center = block_sum(sum, room[0]) / WIDTH;
  float square = 0;
#pragma unroll
  for (int i = 0; i < COLUMNS; i++)
    if (threadIdx.x + i * THREADS < WIDTH) square += (value[i] - center) * (value[i] - center);
  const float rate = rsqrtf(block_sum(square, room[1]) / WIDTH + eps);
  if (threadIdx.x == 0) mean[row] = center, inverse[row] = rate;
  const float *factor = scale + (long)blockIdx.y * WIDTH, *offset = shift + (long)blockIdx.y * WIDTH;
#pragma unroll
  for (int i = 0; i < COLUMNS; i++) {
    const int c = threadIdx.x + i * THREADS;
    if (c < WIDTH) y[row * WIDTH + c] = brief((value[i] - center) * rate * (1.0f + factor[c]) + offset[c]);
  }
}

// `rows` rows of an image per block: grid (chunks, B). Sums over a chunk go to dscale and dshift [B, chunks, C].
extern "C" __global__ void norm_backward(const float* x, const float* scale, const float* mean, const float* inverse,
                                         const Branch* dy, float* dx, float* dscale, float* dshift, int length, int rows) {
  // Two sets in turn: a row's sums are read while the next row writes.
  __shared__ float room[2][2][THREADS / 32];
  const int first = blockIdx.x * rows, last = min(first + rows, length);
  const float* factor = scale + (long)blockIdx.y * WIDTH;
  float by_scale[COLUMNS], by_shift[COLUMNS], open[COLUMNS];
#pragma unroll
  for (int i = 0; i < COLUMNS; i++) {
    const int c = threadIdx.x + i * THREADS;
    by_scale[i] = by_shift[i] = 0;
    open[i] = c < WIDTH ? 1.0f + factor[c] : 0.0f;
  }
  for (int r = first; r < last; r++) {
    const long row = (long)blockIdx.y * length + r;
    const float center = mean[row], rate = inverse[row];
    float unit[COLUMNS], grad[COLUMNS];
    float plain = 0, along = 0;
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) {
      const int c = threadIdx.x + i * THREADS;
      const float d = c < WIDTH ? wide(dy[row * WIDTH + c]) : 0.0f;
      unit[i] = c < WIDTH ? (x[row * WIDTH + c] - center) * rate : 0.0f;
      grad[i] = d * open[i];
      by_scale[i] += d * unit[i];
      by_shift[i] += d;
      plain += grad[i];
      along += grad[i] * unit[i];
    }
    plain = block_sum(plain, room[r % 2][0]) / WIDTH;
    along = block_sum(along, room[r % 2][1]) / WIDTH;
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) {
      const int c = threadIdx.x + i * THREADS;
      if (c < WIDTH) dx[row * WIDTH + c] = rate * (grad[i] - plain - unit[i] * along);
    }
  }
  const long chunk = (long)blockIdx.y * gridDim.x + blockIdx.x;
#pragma unroll
  for (int i = 0; i < COLUMNS; i++) {
    const int c = threadIdx.x + i * THREADS;
    if (c < WIDTH) dscale[chunk * WIDTH + c] = by_scale[i], dshift[chunk * WIDTH + c] = by_shift[i];
  }
}

// grid (L, B): out = x + gate·y, gate [B, C].
extern "C" __global__ void gate_forward(const float* x, const Branch* y, const float* gate, float* out) {
  const long row = (long)blockIdx.y * gridDim.x + blockIdx.x;
#pragma unroll
  for (int i = 0; i < COLUMNS; i++) {
    const int c = threadIdx.x + i * THREADS;
    if (c < WIDTH)
      out[row * WIDTH + c] = x[row * WIDTH + c] + gate[(long)blockIdx.y * WIDTH + c] * wide(y[row * WIDTH + c]);
  }
}

// grid (chunks, B): dy = gate·dout; sums of dout·y over a chunk go to dgate [B, chunks, C].
extern "C" __global__ void gate_backward(const float* dout, const Branch* y, const float* gate, Branch* dy, float* dgate,
                                         int length, int rows) {
  const int first = blockIdx.x * rows, last = min(first + rows, length);
  float sum[COLUMNS], open[COLUMNS];
#pragma unroll
  for (int i = 0; i < COLUMNS; i++) {
    const int c = threadIdx.x + i * THREADS;
    sum[i] = 0;
    open[i] = c < WIDTH ? gate[(long)blockIdx.y * WIDTH + c] : 0.0f;
  }
  for (int r = first; r < last; r++) {
    const long row = (long)blockIdx.y * length + r;
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) {
      const int c = threadIdx.x + i * THREADS;
      if (c < WIDTH) {
        const float d = dout[row * WIDTH + c];
        sum[i] += d * wide(y[row * WIDTH + c]);
        dy[row * WIDTH + c] = brief(d * open[i]);
      }
    }
  }
  const long chunk = (long)blockIdx.y * gridDim.x + blockIdx.x;
#pragma unroll
  for (int i = 0; i < COLUMNS; i++) {
    const int c = threadIdx.x + i * THREADS;
    if (c < WIDTH) dgate[chunk * WIDTH + c] = sum[i];
  }
}
