// Products of bfloat16 matrices with f32 sums: matrices are packed in cache, shortly before their products.
//
// Every element is one sum in the order of the depth, whatever the blocks and threads.
#include "brief_product.h"
#include "pack.h"

namespace var {
namespace VAR_SET {

#if VAR_HAS_BRIEF
static_assert(PANEL == BRIEF_PANEL, "panels of 64 columns");
// Rows of `a` that pass a panel while they are in the second-level cache.
constexpr int64_t BLOCK = 192;
// Rows of dy and x that are packed at a time.
constexpr int64_t CHUNK = 256;
// Columns of a panel of dy: whole tiles and whole vectors.
constexpr int64_t TALL = 96;

// Rows [0, rows) and columns [0, columns) of `from` as pairs of rows, [rows / 2][wide][2]; zero outside.
template <class T>
static void pack_pairs(const T* from, int64_t stride, int64_t rows, int64_t columns, int64_t wide, bf16* to) {
  for (int64_t p = 0; p < rows; p += 2) {
    fetch(from + (p + AHEAD) * stride, wide);
    fetch(from + (p + AHEAD + 1) * stride, wide);
    for (int64_t j = 0; j < wide; j += W, to += 2 * W) {
      const T* at = from + p * stride + j;
      vu pairs = weave(halves(at, columns - j), p + 1 < rows ? halves(at + stride, columns - j) : vh{});
      __builtin_memcpy(to, &pairs, sizeof pairs);
    }
  }
}

// Rows [0, columns) of `from`, `depth` values each, become the columns of a panel.
template <class T>
static void pack_turned(const T* from, int64_t depth, int64_t columns, bf16* to) {
  for (int64_t i = 0; i < PANEL; i += W)
    for (int64_t j = 0; j < depth; j += 2 * W) {
      vu square[W];
      for (int64_t r = 0; r < W; r++) {
        const T* at = from + (i + r) * depth + j;
        vh row[2] = {};
        if (i + r < columns) {
          row[0] = halves(at, depth - j);
          if (depth - j > W) row[1] = halves(at + W, depth - j - W);
        }
        __builtin_memcpy(&square[r], row, sizeof row);
      }
      transpose_square(square);
      for (int64_t r = 0; r < W && j + 2 * r < depth; r++)
        __builtin_memcpy(to + ((j / 2 + r) * PANEL + i) * 2, &square[r], sizeof(vu));
    }
}

template <class T>
static void pack(const BriefPanels& p, int64_t begin, int64_t end) {
  const T* from = (const T*)p.from;
  for (int64_t j = begin * PANEL; j < lower(end * PANEL, p.columns); j += PANEL) {
    bf16* to = (bf16*)p.to + j * p.depth;
    const int64_t columns = lower(p.columns - j, PANEL);
    if (p.turned) pack_turned(from + j * p.depth, p.depth, columns, to);
    else pack_pairs(from + j, p.columns, p.depth, columns, PANEL, to);
  }
}

template <class T>
static void multiply(const BriefProduct& p, int64_t begin, int64_t end) {
  float tile[ROWS * PANEL];
  for (int64_t block = begin; block < end; block += BLOCK)
    for (int64_t j = 0; j < p.n; j += PANEL) {
      const int64_t columns = lower(p.n - j, PANEL), last = lower(block + BLOCK, end);
      const bf16* panel = (const bf16*)p.panels + j * p.depth;
      for (int64_t i = block; i < last; i += ROWS) {
        const int64_t rows = lower(last - i, ROWS);
        panel_product(vectors(columns), (const bf16*)p.a + i * p.depth, p.depth, panel, rows, p.depth, tile, PANEL,
                      false);
        for (int64_t c = 0; c < columns; c += W) {
          const vf bias = p.bias ? load_some(p.bias + j + c, columns - c) : vf{};
          for (int64_t r = 0; r < rows; r++) {
            T* y = (T*)p.y + (i + r) * p.n + j + c;
            const vf sum = load(tile + r * PANEL + c) + bias;
            if (columns - c >= W) store(y, sum);
            else store_part(y, sum, columns - c);
          }
        }
      }
    }
}

// One part of dw: its sums stay in cache while the rows pass.
static int64_t gradient(const BriefGradient& g, char* scratch) {
  const int64_t tall = rounded(g.n_end - g.n_begin, TALL), wide = rounded(g.k_end - g.k_begin, PANEL);
  bf16* dy = (bf16*)scratch;
  bf16* x = dy + CHUNK * tall;
  float* sums = (float*)(x + CHUNK * wide);
  if (!scratch) return CHUNK * (tall + wide) * (int64_t)sizeof(bf16) + tall * wide * (int64_t)sizeof(float);
  for (int64_t first = 0; first < g.m; first += CHUNK) {
    const int64_t rows = lower(g.m - first, CHUNK), depth = rounded(rows, 2);
    for (int64_t i = g.n_begin; i < g.n_end; i += TALL)
      pack_pairs((const bf16*)g.dy + first * g.n + i, g.n, rows, g.n_end - i, TALL, dy + (i - g.n_begin) * CHUNK);
    for (int64_t j = g.k_begin; j < g.k_end; j += PANEL)
      pack_pairs((const bf16*)g.x + first * g.k + j, g.k, rows, g.k_end - j, PANEL, x + (j - g.k_begin) * CHUNK);
    for (int64_t j = 0; j < wide; j += PANEL)
      for (int64_t i = 0; i < g.n_end - g.n_begin; i += ROWS)
        tile<ROWS, WIDE, WIDE>(dy + i / TALL * TALL * CHUNK + i % TALL * 2, 2, x + j * CHUNK, depth,
                               sums + i * wide + j, wide, first > 0, 2 * TALL);
  }
  for (int64_t i = g.n_begin; i < g.n_end; i++)
    __builtin_memcpy(g.dw + i * g.k + g.k_begin, sums + (i - g.n_begin) * wide, (g.k_end - g.k_begin) * sizeof(float));
  return 0;
}
#endif

// Panels [begin, end). Only for the instruction set that multiplies bfloat16, as all functions here.
void brief_pack(const BriefPanels& p, int64_t begin, int64_t end) {
#if VAR_HAS_BRIEF
  if (p.brief) pack<bf16>(p, begin, end);
  else pack<float>(p, begin, end);
#endif
}

// Rows [begin, end) of y.
void brief_multiply(const BriefProduct& p, int64_t begin, int64_t end) {
#if VAR_HAS_BRIEF
  if (p.y_brief) multiply<bf16>(p, begin, end);
  else multiply<float>(p, begin, end);
#endif
}

// With a null scratch: the bytes that it needs go to `bytes`.
void brief_gradient(const BriefGradient& g, char* scratch, int64_t* bytes) {
#if VAR_HAS_BRIEF
  *bytes = gradient(g, scratch);
#endif
}

}  // namespace VAR_SET
}  // namespace var
