// Winograd's F(2×2, 3×3): 16 products per 2×2 pixels instead of 36.
//
// A block of tiles goes through all steps while it is in the second-level cache. Source: Lavin and Gray,
// "Fast algorithms for convolutional neural networks" (2015), equations 8 to 12.
#include "tile.h"
#include "winograd.h"

namespace var {
namespace VAR_SET {

// Bytes of a panel of the filter that stays in the first-level cache, and of transformed patches in the second-level one.
constexpr int64_t PANEL_BYTES = 20 << 10, PATCH_BYTES = 512 << 10;

// Vectors of the panel that starts at output `j`.
VAR_INLINE int panel_at(int64_t outputs, int64_t j) { return outputs - j >= WIDE * W ? WIDE : 2; }

template <class E>
VAR_INLINE int64_t tiles_per_block(int64_t inputs) {
  const int64_t fit = PATCH_BYTES / (PRODUCTS * inputs * (int64_t)sizeof(E)) / ROWS * ROWS;
  return fit < 2 * ROWS ? 2 * ROWS : fit > 8 * ROWS ? 8 * ROWS : fit;
}

// Bᵀ d B of one vector of channels; the pixels of the patch are at `from`.
template <class E>
VAR_INLINE void transform_patch(const E* const* from, int64_t j, E* to, int64_t stride) {
  vf rows[PATCH][PATCH];
  for (int c = 0; c < PATCH; c++) {
    vf d0 = load(from[c] + j), d1 = load(from[4 + c] + j), d2 = load(from[8 + c] + j), d3 = load(from[12 + c] + j);
    rows[0][c] = d0 - d2;
    rows[1][c] = d1 + d2;
    rows[2][c] = d2 - d1;
    rows[3][c] = d1 - d3;
  }
  for (int r = 0; r < PATCH; r++) {
    E* at = to + r * PATCH * stride;
    store(at, rows[r][0] - rows[r][2]);
    store(at + stride, rows[r][1] + rows[r][2]);
    store(at + 2 * stride, rows[r][2] - rows[r][1]);
    store(at + 3 * stride, rows[r][1] - rows[r][3]);
  }
}

// Aᵀ m A of one vector of channels: 2×2 pixels.
VAR_INLINE void transform_products(const float* m, int64_t stride, vf out[4]) {
  vf rows[2][PATCH];
  for (int c = 0; c < PATCH; c++) {
    vf m0 = load(m + c * stride), m1 = load(m + (4 + c) * stride);
    vf m2 = load(m + (8 + c) * stride), m3 = load(m + (12 + c) * stride);
    rows[0][c] = m0 + m1 + m2;
    rows[1][c] = m1 - m2 - m3;
  }
  for (int r = 0; r < 2; r++) {
    out[2 * r] = rows[r][0] + rows[r][1] + rows[r][2];
    out[2 * r + 1] = rows[r][1] - rows[r][2] - rows[r][3];
  }
}

// Where a tile lies: the pixel at its upper left corner.
struct Corner {
  int64_t image, row, column;
  Corner(const WinogradPass& p, int64_t tile) {
    const int64_t across = (p.width + 1) / 2, each = (p.height + 1) / 2 * across;
    image = tile / each;
    row = tile % each / across * 2;
    column = tile % across * 2;
  }
};

template <class E>
static void read_tiles(const WinogradPass& p, int64_t first, int64_t count, int64_t block, const E* zeros, E* patches) {
  for (int64_t t = 0; t < count; t++) {
    const Corner at(p, first + t);
    const E* from[PRODUCTS];
    for (int64_t r = 0; r < PATCH; r++)
      for (int64_t c = 0; c < PATCH; c++) {
        const int64_t y = at.row + r - 1, x = at.column + c - 1;
        const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
        from[r * PATCH + c] =
            inside ? (const E*)p.x + ((at.image * p.height + y) * p.width + x) * p.inputs : zeros;
      }
    for (int64_t j = 0; j < p.inputs; j += W)
      transform_patch(from, j, patches + t * p.inputs + j, block * p.inputs);
  }
}

template <class T>
VAR_INLINE void write_vector(const WinogradPass& p, int64_t at, vf v) {
  if (p.residual) v += p.residual_brief ? load((const bf16*)p.residual + at) : load((const float*)p.residual + at);
  store((T*)p.y + at, v);
}

template <class T>
static void write_tiles(const WinogradPass& p, int64_t first, int64_t count, int64_t block, int64_t j, int64_t columns,
                        const float* products) {
  for (int64_t t = 0; t < count; t++) {
    const Corner at(p, first + t);
    for (int64_t v = 0; v < columns; v += W) {
      vf out[4];
      transform_products(products + t * columns + v, block * columns, out);
      const vf bias = load(p.bias + j + v);
      for (int64_t i = 0; i < 4; i++) {
        const int64_t y = at.row + i / 2, x = at.column + i % 2;
        if (y < p.height && x < p.width)
          write_vector<T>(p, ((at.image * p.height + y) * p.width + x) * p.outputs + j + v, out[i] + bias);
      }
    }
  }
}

template <int NV, class E>
static void multiply(const E* patches, const E* filter, int64_t inputs, int64_t count, int64_t block, float* products) {
  constexpr int64_t deep = PANEL_BYTES / (NV * W * (int64_t)sizeof(E));
  for (int64_t i = 0; i < PRODUCTS; i++)
    for (int64_t k = 0; k < inputs; k += deep) {
      const int64_t some = inputs - k < deep ? inputs - k : deep;
      product<NV>(patches + i * block * inputs + k, inputs, filter + (i * inputs + k) * NV * W, count, NV * W, some,
                  products + i * block * NV * W, NV * W, k > 0);
    }
}

template <class E>
static int64_t pass(const WinogradPass& p, char* scratch) {
  const int64_t block = tiles_per_block<E>(p.inputs);
  const int64_t patch_bytes = rounded(PRODUCTS * block * p.inputs * (int64_t)sizeof(E), 64);
  const int64_t product_bytes = rounded(PRODUCTS * block * WIDE * W * (int64_t)sizeof(float), 64);
  if (!scratch) return patch_bytes + product_bytes + rounded(p.inputs * (int64_t)sizeof(E), 64);
  E* patches = (E*)scratch;
  float* products = (float*)(scratch + patch_bytes);
  E* zeros = (E*)(scratch + patch_bytes + product_bytes);
  __builtin_memset(zeros, 0, p.inputs * sizeof(E));
  for (int64_t done = 0; done < p.count; done += block) {
    const int64_t first = p.first + done, count = p.count - done < block ? p.count - done : block;
    read_tiles(p, first, count, block, zeros, patches);
    const E* filter = (const E*)p.filter;
    for (int64_t j = 0; j < p.outputs;) {
      const int wide = panel_at(p.outputs, j);
      if (wide == WIDE) multiply<WIDE>(patches, filter, p.inputs, count, block, products);
      else multiply<2>(patches, filter, p.inputs, count, block, products);
      if (p.y_brief) write_tiles<bf16>(p, first, count, block, j, wide * W, products);
      else write_tiles<float>(p, first, count, block, j, wide * W, products);
      filter += PRODUCTS * p.inputs * wide * W;
      j += wide * W;
    }
  }
  return 0;
}

// G g Gᵀ of one vector of outputs.
VAR_INLINE void transform_filter(const WinogradFilter& f, int64_t input, int64_t output, vf out[PRODUCTS]) {
  vf rows[PATCH][3];
  for (int c = 0; c < 3; c++) {
    vf g[3];
    for (int r = 0; r < 3; r++) g[r] = load(f.weight + ((r * 3 + c) * f.inputs + input) * f.outputs + output);
    rows[0][c] = g[0];
    rows[1][c] = (g[0] + g[1] + g[2]) * 0.5f;
    rows[2][c] = (g[0] - g[1] + g[2]) * 0.5f;
    rows[3][c] = g[2];
  }
  for (int r = 0; r < PATCH; r++) {
    const vf *g = rows[r];
    out[r * PATCH] = g[0];
    out[r * PATCH + 1] = (g[0] + g[1] + g[2]) * 0.5f;
    out[r * PATCH + 2] = (g[0] - g[1] + g[2]) * 0.5f;
    out[r * PATCH + 3] = g[2];
  }
}

template <class E>
static void filter(const WinogradFilter& f, int64_t begin, int64_t end) {
  constexpr int64_t step = STEP<E>;
  for (int64_t j = begin; j < end;) {
    const int64_t columns = panel_at(f.outputs, j) * W;
    E* panel = (E*)f.to + PRODUCTS * f.inputs * j;
    for (int64_t i = 0; i < f.inputs; i++)
      for (int64_t v = 0; v < columns; v += W) {
        vf values[PRODUCTS];
        transform_filter(f, i, j + v, values);
        for (int64_t k = 0; k < PRODUCTS; k++) {
          E row[W];
          store(row, values[k]);
          E* to = panel + k * f.inputs * columns + (i / step * columns + v) * step + i % step;
          for (int64_t c = 0; c < W; c++) to[c * step] = row[c];
        }
      }
    j += columns;
  }
}

// Computes a convolution for some tiles. With a null scratch: the bytes that it needs go to `bytes`.
void winograd_pass(const WinogradPass& p, char* scratch, int64_t* bytes) {
#if VAR_HAS_BRIEF
  if (p.brief) {
    *bytes = pass<bf16>(p, scratch);
    return;
  }
#endif
  *bytes = pass<float>(p, scratch);
}

// Transforms the filter for outputs [begin, end), whole panels of 64.
void winograd_filter(const WinogradFilter& f, int64_t begin, int64_t end) {
#if VAR_HAS_BRIEF
  if (f.brief) return filter<bf16>(f, begin, end);
#endif
  filter<float>(f, begin, end);
}

}  // namespace VAR_SET
}  // namespace var
