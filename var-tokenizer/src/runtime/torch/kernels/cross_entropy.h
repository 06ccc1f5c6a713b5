// Consecutive rows of logits, as the loops see them.
#pragma once
#include <stdint.h>

namespace var {

struct LogitRows {
  bool brief;
  int64_t rows, classes;
  float smoothing;
  const void* logits;
  const int64_t* targets;
  float *log_sum, *loss, *hit;  // [rows]
  const float* dloss;           // [rows]
  void* dlogits;
};

}  // namespace var
