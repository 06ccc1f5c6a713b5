// The only file that uses NCCL. `cargo xtask setup --cuda` builds it into a separate library (libvar_nccl.so), which the
// program opens at run time after libtorch_cuda. Everything else builds and runs without CUDA.
#define USE_C10D_NCCL 1
#include "../cpp/shim.h"

#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

using var::attempt;
using var::Group;
using var::Milliseconds;
using var::Store;

extern "C" {
const char* var_nccl_error() { return var::c10d_error().c_str(); }

// Makes `group` handle tensors of GPU `device` through NCCL. Ranks find each other through `store`, under keys that
// nothing else uses. A collective that takes longer than `timeout` ends the process.
int var_nccl_join(Group* group, Store* store, int rank, int size, int device, int64_t timeout) {
  return attempt([&] {
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = Milliseconds(timeout);
    auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(*store, rank, size, options);
    (*group)->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::NCCL, nccl);
    // After setBackend, which gives the backend the group's device: none.
    nccl->setBoundDeviceId(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(device)));
  });
}
}
