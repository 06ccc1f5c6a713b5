// The nearest code of each vector, without the table of all distances.
#include "tile.h"

namespace var {
namespace VAR_SET {

// vectors [n, k]; codes packed into panels of WIDE vectors, `padded` of them; norms [padded] are the
// squared lengths of the codes (infinite behind the last). Distances are |z|² + |e|² − 2z·e, or without
// `lengths` −2z·e alone; the first code wins a tie.
void nearest(const float* vectors, int64_t n, int64_t k, const float* panels, const float* norms, int64_t padded,
             bool lengths, int64_t* ids) {
  constexpr int64_t wide = WIDE * W;
  float dots[ROWS * wide];
  for (int64_t first = 0; first < n; first += ROWS) {
    const int64_t rows = n - first < ROWS ? n - first : ROWS;
    vf best[ROWS];
    vi where[ROWS];
    float length[ROWS];
    for (int64_t i = 0; i < rows; i++) {
      const float* z = vectors + (first + i) * k;
      length[i] = 0;
      for (int64_t j = 0; lengths && j < k; j++) length[i] += z[j] * z[j];
      best[i] = splat(__builtin_inff());
      where[i] = vi{};
    }
    for (int64_t j = 0; j < padded; j += wide) {
      product<WIDE>(vectors + first * k, k, panels + j * k, rows, wide, k, dots, wide, false);
      for (int64_t i = 0; i < rows; i++)
        for (int64_t x = 0; x < wide; x += W) {
          vf distance = (length[i] + load(norms + j + x)) - 2.0f * load(dots + i * wide + x);
          vi nearer = distance < best[i];
          best[i] = choose(nearer, distance, best[i]);
          where[i] = (nearer & (vi{} + int32_t(j + x))) | (~nearer & where[i]);
        }
    }
    for (int64_t i = 0; i < rows; i++) {
      float least = best[i][0];
      int64_t id = where[i][0];
      for (int x = 1; x < W; x++) {
        const int64_t other = where[i][x] + x;
        if (best[i][x] < least || (best[i][x] == least && other < id)) least = best[i][x], id = other;
      }
      ids[first + i] = id;
    }
  }
}

// Columns of a panel are handed out once per codebook: [codes, k] → panels.
void nearest_pack(const float* codes, int64_t count, int64_t k, bool lengths, float* panels, float* norms,
                  int64_t* padded_count) {
  constexpr int64_t wide = WIDE * W;
  const int64_t all = (count + wide - 1) / wide * wide;
  *padded_count = all;
  if (!panels) return;
  for (int64_t j = 0; j < all; j++) {
    float* to = panels + j / wide * wide * k + j % wide;
    float length = 0;
    for (int64_t p = 0; p < k; p++) {
      const float x = j < count ? codes[j * k + p] : 0.0f;
      to[p * wide] = x;
      length += x * x;
    }
    norms[j] = j >= count ? __builtin_inff() : lengths ? length : 0.0f;
  }
}

}  // namespace VAR_SET
}  // namespace var
