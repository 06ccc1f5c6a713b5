// Picks the copy of a kernel that this processor runs.
#pragma once
#include <stdint.h>

namespace var {

enum class Set { baseline, avx2, avx512 };

// The best instruction set of this processor that the kernels were compiled for. VAR_KERNELS =
// baseline | avx2 | avx512 holds it lower; "none" turns the fused kernels off.
Set instruction_set();
// False with VAR_KERNELS=none: then everything is composed of libtorch's operations.
bool fused();
// Whether the processor multiplies whole tiles of bfloat16 (AMX).
bool matrix_units();

}  // namespace var

// Declares `void name args` for each instruction set.
#if defined(__x86_64__)
#define VAR_KERNEL(name, args)  \
  namespace var {               \
  namespace baseline {          \
  void name args;               \
  }                             \
  namespace avx2 {              \
  void name args;               \
  }                             \
  namespace avx512 {            \
  void name args;               \
  }                             \
  }
#define VAR_PICK(name)                                                \
  (var::instruction_set() == var::Set::avx512 ? var::avx512::name   \
   : var::instruction_set() == var::Set::avx2 ? var::avx2::name     \
                                              : var::baseline::name)
#else
#define VAR_KERNEL(name, args)  \
  namespace var {               \
  namespace baseline {          \
  void name args;               \
  }                             \
  }
#define VAR_PICK(name) (var::baseline::name)
#endif
