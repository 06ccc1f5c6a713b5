// Runs a CUDA source on a processor: one thread of the system for each thread of a block, blocks one after the other.
// WIDTH, THREADS and BRIEF are defined before; COMMON is the path of the source that all kernels share.
#pragma once
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

struct Index {
  int x, y;
};
thread_local Index threadIdx;
Index blockIdx, gridDim;
std::barrier<> meeting(THREADS);
float exchanged[THREADS];

#define __device__
#define __global__
// Blocks run one after the other.
#define __shared__ static
inline void __syncthreads() { meeting.arrive_and_wait(); }
inline float __shfl_xor_sync(unsigned, float x, int distance) {
  exchanged[threadIdx.x] = x;
  meeting.arrive_and_wait();
  const float other = exchanged[threadIdx.x ^ distance];
  meeting.arrive_and_wait();
  return other;
}
inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline int min(int a, int b) { return a < b ? a : b; }

#include COMMON

// Runs `kernel` for every block of a grid.
void launch(int across, int down, const std::function<void()>& kernel) {
  gridDim = {across, down};
  for (int y = 0; y < down; y++)
    for (int x = 0; x < across; x++) {
      blockIdx = {x, y};
      std::vector<std::thread> threads;
      for (int t = 0; t < THREADS; t++)
        threads.emplace_back([&, t] {
          threadIdx = {t, 0};
          kernel();
        });
      for (auto& thread : threads) thread.join();
    }
}

int wrong = 0;
void compare(const char* name, double found, double expected, double tolerance) {
  if (!(std::abs(found - expected) <= tolerance * (1 + std::abs(expected)))) {
    if (wrong++ < 10) std::printf("%s: %.9g, expected %.9g\n", name, found, expected);
  }
}

// Numbers of a normal distribution.
inline std::vector<float> noise(size_t count, float scale = 1, float center = 0) {
  static std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> all(count);
  for (auto& x : all) x = scale * normal(random) + center;
  return all;
}

inline std::vector<Branch> branch(const std::vector<float>& from) {
  std::vector<Branch> all;
  for (float x : from) all.push_back(brief(x));
  return all;
}

// Tolerance of sums in f32, and of a value that is rounded to eight bits.
const double exact = 2e-5, rounded = sizeof(Branch) == 2 ? 1.0 / 256 : exact;
