// LN(x)·(1 + scale) + shift and x + gate·y on a GPU. Compiled at run time, with
//   WIDTH    channels
//   BRIEF    1: branches are bf16; 0: f32
// The residual stream, statistics, scales, shifts and gates are f32. Blocks have THREADS threads; a thread has the columns
// t, t + THREADS, …
//
// Plain C++ with the built-in names of CUDA: the tests compile it for a processor, with one thread of the system each.

#ifndef THREADS
#define THREADS 256
#endif
#define COLUMNS ((WIDTH + THREADS - 1) / THREADS)

#if BRIEF
typedef unsigned short Branch;
__device__ inline float wide(Branch x) { return __uint_as_float((unsigned)x << 16); }
// To the nearest, halves to even; NaN stays NaN.
__device__ inline Branch brief(float x) {
  const unsigned bits = __float_as_uint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (Branch)((bits >> 16) | 0x40u);
  return (Branch)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
#else
typedef float Branch;
__device__ inline float wide(Branch x) { return x; }
__device__ inline Branch brief(float x) { return x; }
#endif

// The sum of `x` over all threads of the block, in every thread. `room` has THREADS / 32 places that nobody else uses until
// the next __syncthreads.
__device__ inline float block_sum(float x, float* room) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < THREADS / 32; i++) sum += room[i];
  return sum;
}

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
