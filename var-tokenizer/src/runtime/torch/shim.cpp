// Errors, memory, the bf16 probe, and the foreach/fused operations that tch does not generate.
#include "pool.h"
#include "shim.h"

#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <cmath>
#include <csignal>
#ifdef __linux__
#include <malloc.h>
#endif
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>

namespace var {
std::string& last_error() {
  static thread_local std::string message;
  return message;
}
}  // namespace var

using var::checked;
using var::list;

extern "C" {
// Freed memory stays in the process: handing it back to the kernel at every free costs page faults in the middle of a
// step. Call it before the first tensor.
void var_keep_memory() {
  var::use_pool();
#if defined(__GLIBC__)
  // Everything but large tensors: files in memory go back at once, the rest when 2 GiB at the end of the heap are
  // free. A refused number changes nothing.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 0x7fffffff);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

// Computes a few bf16 products and ends the process: 0 when they are right. With `fail` it dies as a processor without
// the instruction would make it.
void var_probe_bf16(int fail) {
  if (fail) {
    std::signal(SIGILL, SIG_DFL);
    std::raise(SIGILL);
  }
  try {
    c10::NoGradGuard off;
    auto a = at::ones({256, 256}, at::kBFloat16);
    auto b = at::matmul(a, a);
    auto q = at::ones({2, 4, 128, 64}, at::kBFloat16);
    auto c = at::scaled_dot_product_attention(q, q, q);
    const bool right = b.sum().item<float>() > 0 && c.sum().item<float>() > 0;
    _exit(right ? 0 : 1);
  } catch (...) {
    _exit(1);
  }
}

// What libtorch rounds or chooses by itself on CUDA. Nothing of it concerns the CPU.
int var_set_cuda_options() {
  return checked([] {
    auto& context = at::globalContext();
    // f32 means f32: convolutions would round to 10 bits (TF32), and ids would differ.
    context.setAllowTF32CuDNN(false);
    // Sums over parts of a long product stay in f32: rounded to bf16 or fp16, gradients of weights would lose bits.
    context.setAllowBF16ReductionCuBLAS(false, /*allow_splitk=*/true);
    context.setAllowFP16ReductionCuBLAS(false, /*allow_splitk=*/true);
    // Flash attention: cuDNN's makes a plan for every new shape, and its gradients differ from run to run.
    context.setSDPUseCuDNN(false);
  });
}

// Most bytes of tensors on CUDA device `index` since the program started.
int var_cuda_peak(int index, int64_t* peak) {
  return checked([&] {
    TORCH_CHECK(at::hasCUDA(), "CUDA is not loaded");
    const auto stats = at::getDeviceAllocator(at::kCUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(index));
    *peak = stats.allocated_bytes[0].peak;
  });
}

// Rises with every change of a tensor in place, and with var_written.
int64_t var_version(const at::Tensor* x) { return x->is_inference() ? 0 : x->_version(); }
void var_written(const at::Tensor* x) {
  if (!x->is_inference()) x->unsafeGetTensorImpl()->bump_version();
}

const char* var_last_error() { return var::last_error().c_str(); }

// One AdamW step on `n` tensors: weights, gradients, first and second moments, step counters.
int var_fused_adamw(at::Tensor* const* p, at::Tensor* const* g, at::Tensor* const* m,
                    at::Tensor* const* v, at::Tensor* const* steps, size_t n, double lr,
                    double beta1, double beta2, double weight_decay, double eps) {
  return checked([&] {
    c10::NoGradGuard off;
    auto P = list(p, n), G = list(g, n), M = list(m, n), V = list(v, n), S = list(steps, n);
    // The fused kernel walks raw memory: shapes and layouts are settled here.
    for (size_t i = 0; i < n; i++) {
      TORCH_CHECK(P[i].scalar_type() == at::kFloat && P[i].is_contiguous(),
                  "AdamW: parameter ", i, " is not a contiguous f32 tensor");
      TORCH_CHECK(M[i].sizes() == P[i].sizes() && V[i].sizes() == P[i].sizes() && G[i].sizes() == P[i].sizes(),
                  "AdamW: moments or gradient of parameter ", i, " do not have its shape ", P[i].sizes());
      TORCH_CHECK(M[i].is_contiguous() && V[i].is_contiguous() && M[i].scalar_type() == at::kFloat &&
                      V[i].scalar_type() == at::kFloat && S[i].scalar_type() == at::kFloat && S[i].numel() == 1,
                  "AdamW: moments or step of parameter ", i, " are not contiguous f32 tensors");
      G[i] = G[i].to(at::kFloat).contiguous();
    }
    at::_foreach_add_(S, 1);
    at::_fused_adamw_(P, G, M, V, {}, S, lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false,
                      /*maximize=*/false);
  });
}

// Norm of all gradients together; scales them in place where it is finite and exceeds `max`.
int var_clip_grad_norm(at::Tensor* const* g, size_t n, double max, double* norm) {
  return checked([&] {
    c10::NoGradGuard off;
    auto G = list(g, n);
    *norm = at::stack(at::_foreach_norm(G, 2)).norm().item<double>();
    if (std::isfinite(*norm) && *norm > max) at::_foreach_mul_(G, max / (*norm + 1e-6));
  });
}

// Multiplies all of them by `factor` in place.
int var_multiply(at::Tensor* const* t, size_t n, double factor) {
  return checked([&] {
    c10::NoGradGuard off;
    at::_foreach_mul_(list(t, n), factor);
  });
}

// Moves every `a` by the share `weight` of the way to its `b`, in place.
int var_approach(at::Tensor* const* a, at::Tensor* const* b, size_t n, double weight) {
  return checked([&] {
    c10::NoGradGuard off;
    at::_foreach_lerp_(list(a, n), list(b, n), weight);
  });
}

// Drops the gradients, so that the next backward pass need not add to them.
int var_clear_gradients(at::Tensor* const* p, size_t n) {
  return checked([&] {
    for (size_t i = 0; i < n; i++) p[i]->mutable_grad().reset();
  });
}
}
