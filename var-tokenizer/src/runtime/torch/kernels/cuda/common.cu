// What all kernels for a GPU share. Compiled at run time in front of the others, with
//   WIDTH    channels
//   THREADS  threads of a block, a multiple of 32
//   BRIEF    1: branches and images are bf16; 0: f32
// A thread has the columns t, t + THREADS, …
//
// Plain C++ with the built-in names of CUDA: the tests compile it for a processor, with one thread of the system each.

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
