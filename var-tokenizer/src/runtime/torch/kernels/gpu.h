// Kernels for a GPU, compiled when they are first needed. NVRTC and the driver are opened by name: nothing of CUDA is
// linked, and no headers of it are needed.
#pragma once
#include <ATen/ATen.h>

#include <array>
#include <string>

namespace var::gpu {

// A compiled source for one device.
class Module {
 public:
  // The source with `macros` for `device`; null if it cannot be compiled or loaded here, which is told once. Kept for good,
  // under the address of `source`, which stays where it is: this is asked at every call of an operation.
  static const Module* of(const std::string& source, const std::string& macros, at::Device device);

  // Starts `kernel` on a grid of blocks of `threads`, on the stream that libtorch uses. `arguments` are pointers to the
  // values.
  template <class... A>
  void launch(const char* kernel, int64_t across, int64_t down, int threads, A... arguments) const {
    std::array<void*, sizeof...(A)> pointers{static_cast<void*>(&arguments)...};
    start(kernel, across, down, threads, pointers.data());
  }

 private:
  void start(const char* kernel, int64_t across, int64_t down, int threads, void** arguments) const;
  void* module_ = nullptr;
};

}  // namespace var::gpu
