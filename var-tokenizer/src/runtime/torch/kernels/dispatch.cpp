#include "dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <cstdlib>
#include <cstring>

namespace var {
namespace {

struct Choice {
  Set set = Set::baseline;
  bool fused = true;
  Choice() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) set = Set::avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bf16"))
      set = Set::avx512;
#endif
    const char* wish = std::getenv("VAR_KERNELS");
    if (wish == nullptr) return;
    if (std::strcmp(wish, "none") == 0) fused = false;
    if (std::strcmp(wish, "baseline") == 0) set = Set::baseline;
    if (std::strcmp(wish, "avx2") == 0 && set == Set::avx512) set = Set::avx2;
  }
};

const Choice& choice() {
  static const Choice made;
  return made;
}

}  // namespace

Set instruction_set() { return choice().set; }
bool fused() { return choice().fused; }

bool matrix_units() {
#if defined(__x86_64__)
  // Asked once: the instruction leaves a virtual machine.
  static const bool found = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1);
  }();
  return found;
#else
  return false;
#endif
}

}  // namespace var
