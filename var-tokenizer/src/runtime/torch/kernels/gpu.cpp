// NVRTC and the driver by their C interfaces, which do not change within a major version.
#include "gpu.h"

#include <dlfcn.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

namespace var::gpu {
namespace {

// Numbers of the driver's interface.
constexpr int MAJOR = 75, MINOR = 76;

// A function of a library; throws if the library lacks it.
template <class F>
F* symbol(void* library, const char* name) {
  auto* found = dlsym(library, name);
  TORCH_CHECK(found != nullptr, name, " is missing");
  return reinterpret_cast<F*>(found);
}

void* opened(const char* name) {
  auto* library = dlopen(name, RTLD_NOW);
  TORCH_CHECK(library != nullptr, name, " is not found");
  return library;
}

struct Driver {
  void* library = opened("libcuda.so.1");
  int (*attribute)(int*, int, int) = symbol<int(int*, int, int)>(library, "cuDeviceGetAttribute");
  int (*load)(void**, const void*) = symbol<int(void**, const void*)>(library, "cuModuleLoadData");
  int (*function)(void**, void*, const char*) = symbol<int(void**, void*, const char*)>(library, "cuModuleGetFunction");
  int (*launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**) =
      symbol<int(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**)>(
          library, "cuLaunchKernel");

  static const Driver& get() {
    static const Driver one;
    return one;
  }
};

struct Compiler {
  void* library = opened("libnvrtc.so.13");
  int (*create)(void**, const char*, const char*, int, const char* const*, const char* const*) =
      symbol<int(void**, const char*, const char*, int, const char* const*, const char* const*)>(library,
                                                                                                 "nvrtcCreateProgram");
  int (*compile)(void*, int, const char* const*) = symbol<int(void*, int, const char* const*)>(library, "nvrtcCompileProgram");
  int (*log_size)(void*, size_t*) = symbol<int(void*, size_t*)>(library, "nvrtcGetProgramLogSize");
  int (*log)(void*, char*) = symbol<int(void*, char*)>(library, "nvrtcGetProgramLog");
  int (*size)(void*, size_t*) = symbol<int(void*, size_t*)>(library, "nvrtcGetCUBINSize");
  int (*binary)(void*, char*) = symbol<int(void*, char*)>(library, "nvrtcGetCUBIN");
  int (*destroy)(void**) = symbol<int(void**)>(library, "nvrtcDestroyProgram");

  // The machine code of `source` for an architecture such as sm_90. `macros` are separated by spaces.
  std::vector<char> operator()(const std::string& source, const std::string& macros, const std::string& architecture) const {
    std::vector<std::string> options{"--gpu-architecture=" + architecture};
    for (size_t from = 0; from < macros.size();) {
      const size_t end = std::min(macros.find(' ', from), macros.size());
      options.push_back("-D" + macros.substr(from, end - from));
      from = end + 1;
    }
    std::vector<const char*> pointers;
    for (const auto& option : options) pointers.push_back(option.c_str());
    void* program = nullptr;
    TORCH_CHECK(create(&program, source.c_str(), "var.cu", 0, nullptr, nullptr) == 0, "NVRTC makes no program");
    const int failed = compile(program, int(pointers.size()), pointers.data());
    std::string said;
    std::vector<char> code;
    size_t bytes = 0;
    if (failed != 0 && log_size(program, &bytes) == 0) {
      said.resize(bytes);
      log(program, said.data());
    } else if (failed == 0 && size(program, &bytes) == 0) {
      code.resize(bytes);
      binary(program, code.data());
    }
    destroy(&program);
    TORCH_CHECK(!code.empty(), "NVRTC error ", failed, ": ", said.substr(0, said.find('\n')));
    return code;
  }
};

void* load(const std::string& source, const std::string& macros, at::Device device) {
  c10::DeviceGuard here(device);
  const auto& driver = Driver::get();
  int major = 0, minor = 0;
  TORCH_CHECK(driver.attribute(&major, MAJOR, device.index()) == 0 && driver.attribute(&minor, MINOR, device.index()) == 0,
              "the driver does not know ", device);
  const auto code = Compiler()(source, macros, "sm_" + std::to_string(major) + std::to_string(minor));
  void* module = nullptr;
  const int failed = driver.load(&module, code.data());
  TORCH_CHECK(failed == 0, "the driver does not load the kernels: error ", failed);
  return module;
}

}  // namespace

const Module* Module::of(const std::string& source, const std::string& macros, at::Device device) {
  static std::mutex guard;
  static std::map<std::tuple<const std::string*, std::string, int>, Module> known;
  static bool told = false;
  std::lock_guard<std::mutex> lock(guard);
  auto [place, fresh] = known.try_emplace({&source, macros, device.index()});
  if (fresh) {
    try {
      place->second.module_ = load(source, macros, device);
    } catch (const c10::Error& e) {
      if (!told)
        std::fprintf(stderr, "warning: some operations are composed of several, and slower: %s\n", e.what_without_backtrace());
      told = true;
    }
  }
  return place->second.module_ == nullptr ? nullptr : &place->second;
}

void Module::start(const char* kernel, int64_t across, int64_t down, int threads, void** arguments) const {
  const auto& driver = Driver::get();
  void* function = nullptr;
  TORCH_CHECK(driver.function(&function, module_, kernel) == 0, "the kernel ", kernel, " is missing");
  // Stream 0 is libtorch's default stream, and nobody here chooses another one.
  const int failed = driver.launch(function, unsigned(across), unsigned(down), 1, unsigned(threads), 1, 1, 0, nullptr,
                                   arguments, nullptr);
  TORCH_CHECK(failed == 0, "the kernel ", kernel, " does not start: error ", failed);
}

}  // namespace var::gpu
