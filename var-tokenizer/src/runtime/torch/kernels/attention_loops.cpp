// Attention of one head by small matrix products, a block of queries at a time.
//
// The scores of a block against all keys it sees fit into the second-level cache, so softmax runs on
// whole rows; nothing of size [queries, keys] is ever stored. bfloat16 operands are multiplied as they
// are and summed in f32; normalisation of q and k, softmax and all sums are f32.
#include "attention.h"
#include "pack.h"

namespace var {
namespace VAR_SET {

// Queries a block: whole tiles of 6 rows and whole vectors.
constexpr int64_t BLOCK = 48;

// Hands out pieces of one scratch buffer; with a null base it only adds up the bytes.
struct Arena {
  char* base;
  int64_t used = 0;
  template <class T>
  T* take(int64_t n) {
    T* p = base ? (T*)(base + used) : nullptr;
    used += (n * (int64_t)sizeof(T) + 63) / 64 * 64;
    return p;
  }
};

// Sizes rounded up to panels, and the widths of these.
struct Sizes {
  int key_width, dim_width;
  int64_t keys, dim, queries;
  explicit Sizes(const Head& h) {
    key_width = WIDE;
    dim_width = panel_width(h.dim);
    keys = padded<WIDE>(h.keys);
    dim = (h.dim + dim_width * W - 1) / (dim_width * W) * (dim_width * W);
    queries = (h.queries + BLOCK - 1) / BLOCK * BLOCK;
  }
};

VAR_INLINE void put(float* p, float x) { *p = x; }
VAR_INLINE void put(bf16* p, float x) { store_part(p, splat(x), 1); }

// Row of `dim` values as f32, zero up to `to`; returns what it is divided by to become unit length.
template <class T>
VAR_INLINE float read_row(const T* from, int64_t dim, int64_t to, float* row) {
  vf squares = {};
  int64_t i = 0;
  for (; i + W <= dim; i += W) {
    vf x = load(from + i);
    squares += x * x;
    store(row + i, x);
  }
  for (int64_t j = i; j < to; j++) row[j] = j < dim ? value(from[j]) : 0.0f;
  float rest = 0;
  for (; i < dim; i++) rest += row[i] * row[i];
  float length = __builtin_sqrtf(sum(squares) + rest);
  return length > 1e-12f ? length : 1e-12f;
}

// Reads `n` rows, times `scale` over their lengths (if `normalise`), as E row-major [n][dim];
// rows up to `to` become zero. `lengths` [n] may be null.
template <class T, class E>
static void read_rows(const void* from, int64_t stride, int64_t n, int64_t to, int64_t dim, int64_t pad,
                      bool normalise, float scale, E* rows, float* lengths) {
  float row[MAX_DIM];
  for (int64_t i = 0; i < to; i++) {
    E* at = rows + i * pad;
    if (i >= n) {
      for (int64_t j = 0; j < pad; j += W) store(at + j, vf{});
      continue;
    }
    float length = read_row((const T*)from + i * stride, dim, pad, row);
    if (lengths) lengths[i] = length;
    float factor = normalise ? scale / length : scale;
    for (int64_t j = 0; j < pad; j += W) store(at + j, load(row + j) * factor);
  }
}

// e^(score − top) of the first `end` scores, zero up to `seen` (whole vectors); returns their sum and the largest score.
template <class E>
VAR_INLINE float exponentials(float* scores, int64_t end, int64_t seen, E* weights, float* largest_score) {
  for (int64_t j = end; j < seen; j++) scores[j] = -__builtin_inff();
  vf top = load(scores);
  for (int64_t j = W; j < seen; j += W) top = max(top, load(scores + j));
  const float m = *largest_score = largest(top);
  vf total = {};
  for (int64_t j = 0; j < seen; j += W) {
    vf e = exp(load(scores + j) - m);
    total += e;
    store(weights + j, e);
  }
  return sum(total);
}

VAR_INLINE int64_t keys_seen(const Head& h, int64_t first, int64_t rows) {
  int64_t end = 0;
  for (int64_t i = first; i < first + rows; i++) end = h.key_end[i] > end ? h.key_end[i] : end;
  return end;
}

template <class T, class E>
static int64_t forward(const Head& h, char* scratch) {
  const Sizes z(h);
  Arena arena{scratch};
  E* q = arena.take<E>(z.queries * z.dim);
  E* rows = arena.take<E>(z.keys * z.dim);
  E* k = arena.take<E>(z.keys * z.dim);
  E* v = arena.take<E>(z.keys * z.dim);
  float* scores = arena.take<float>(BLOCK * z.keys);
  E* weights = arena.take<E>(BLOCK * z.keys);
  float* mixed = arena.take<float>(BLOCK * z.dim);
  if (!scratch) return arena.used;

  read_rows<T>(h.q, h.q_stride, h.queries, z.queries, h.dim, z.dim, h.normalise_q, h.scale, q, (float*)nullptr);
  read_rows<T>(h.k, h.k_stride, h.keys, z.keys, h.dim, z.dim, h.normalise_k, 1.0f, rows, (float*)nullptr);
  pack_columns(rows, z.keys, z.dim, z.key_width, k);
  read_rows<T>(h.v, h.v_stride, h.keys, z.keys, h.dim, z.dim, false, 1.0f, rows, (float*)nullptr);
  // Panels over keys are cut to the keys a block sees: one panel per column group, all keys inside.
  pack_rows(rows, z.dim, z.keys, z.dim, z.dim_width, v);

  for (int64_t first = 0; first < h.queries; first += BLOCK) {
    const int64_t n = h.queries - first < BLOCK ? h.queries - first : BLOCK;
    const int64_t seen = padded<WIDE>(keys_seen(h, first, n));
    product(z.key_width, q + first * z.dim, z.dim, k, n, seen, z.dim, scores, z.keys, false);
    float sums[BLOCK];
    for (int64_t i = 0; i < n; i++) {
      float* s = scores + i * z.keys;
      E* w = weights + i * z.keys;
      const int64_t end = h.key_end[first + i];
      float top;
      sums[i] = exponentials(s, end, seen, w, &top);
      if (h.log_sum) h.log_sum[first + i] = top + __builtin_logf(sums[i]);
    }
    const int64_t wide = z.dim_width * W;
    for (int64_t j = 0; j < z.dim; j += wide)
      product(z.dim_width, weights, z.keys, v + j * z.keys, n, wide, seen, mixed + j, z.dim, false);
    for (int64_t i = 0; i < n; i++) {
      T* to = (T*)h.out + (first + i) * h.out_stride;
      const float* from = mixed + i * z.dim;
      const float factor = 1.0f / sums[i];
      int64_t j = 0;
      for (; j + W <= h.dim; j += W) store(to + j, load(from + j) * factor);
      if (j < h.dim) store_part(to + j, load(from + j) * factor, h.dim - j);
    }
  }
  return 0;
}

// Most queries for which keys and values are read as they lie.
constexpr int64_t FEW_QUERIES = 4;

// The same for a few queries out of a cache, where packing keys and values would cost more than the products.
template <class T>
static int64_t forward_few(const Head& h, char* scratch) {
  Arena arena{scratch};
  const int64_t dim = (h.dim + W - 1) / W * W;
  float* q = arena.take<float>(dim);
  float* scores = arena.take<float>((h.keys + W - 1) / W * W);
  float* mixed = arena.take<float>(dim);
  if (!scratch) return arena.used;

  const int64_t whole = h.dim / W * W;
  for (int64_t i = 0; i < h.queries; i++) {
    read_rows<T>((const T*)h.q + i * h.q_stride, h.q_stride, 1, 1, h.dim, dim, h.normalise_q, h.scale, q, (float*)nullptr);
    const int64_t end = h.key_end[i], seen = (end + W - 1) / W * W;
    for (int64_t j = 0; j < end; j++) {
      const T* k = (const T*)h.k + j * h.k_stride;
      vf products = {};
      for (int64_t c = 0; c < whole; c += W) products += load(q + c) * load(k + c);
      if (whole < h.dim) products += load(q + whole) * load_part(k + whole, h.dim - whole);
      scores[j] = sum(products);
    }
    float top;
    const float factor = 1.0f / exponentials(scores, end, seen, scores, &top);
    for (int64_t c = 0; c < dim; c += W) store(mixed + c, vf{});
    for (int64_t j = 0; j < end; j++) {
      const T* v = (const T*)h.v + j * h.v_stride;
      const float weight = scores[j] * factor;
      for (int64_t c = 0; c < whole; c += W) store(mixed + c, load(mixed + c) + weight * load(v + c));
      if (whole < h.dim) store(mixed + whole, load(mixed + whole) + weight * load_part(v + whole, h.dim - whole));
    }
    T* to = (T*)h.out + i * h.out_stride;
    for (int64_t c = 0; c < whole; c += W) store(to + c, load(mixed + c));
    if (whole < h.dim) store_part(to + whole, load(mixed + whole), h.dim - whole);
  }
  return 0;
}

// Scores and their gradients of a block, row by row: weights P and dS = P·(dP − delta), both as A
// operand (`ds`, [BLOCK][keys]) and packed over the block's rows.
template <class E>
static void softmax_backward(const Head& h, const float* log_sum, const float* delta, int64_t first, int64_t n,
                             int64_t seen, int64_t stride, float* scores, float* dp, E* ds, E* p_packed,
                             E* ds_packed) {
  for (int64_t i = 0; i < BLOCK; i++) {
    float* s = scores + i * stride;
    float* d = dp + i * stride;
    E* row = ds + i * stride;
    const int64_t end = i < n ? h.key_end[first + i] : 0;
    const float shift = i < n ? log_sum[first + i] : 0, mean = i < n ? delta[i] : 0;
    int64_t j = 0;
    for (; j + W <= end; j += W) {
      vf p = exp(load(s + j) - shift);
      vf g = p * (load(d + j) - mean);
      store(s + j, p);
      store(d + j, g);
      store(row + j, g);
    }
    for (; j < seen; j += W) {
      float valid[W];
      for (int x = 0; x < W; x++) valid[x] = j + x < end ? 1.0f : 0.0f;
      vi inside = load(valid) > 0.5f;
      vf p = choose(inside, exp(load(s + j) - shift), vf{});
      vf g = choose(inside, p * (load(d + j) - mean), vf{});
      store(s + j, p);
      store(d + j, g);
      store(row + j, g);
    }
  }
  pack_rows(scores, stride, BLOCK, seen, WIDE, p_packed);
  pack_rows(dp, stride, BLOCK, seen, WIDE, ds_packed);
}

// Gradient of rows that were normalised and scaled: `unit` points along the row.
// Writes (g − u·(u·g))·scale/length, or g·scale; returns u·g.
template <class T>
VAR_INLINE float write_gradient(const float* g, const T* row, int64_t dim, bool normalise, float scale, float length,
                                T* to) {
  float dot = 0;
  if (normalise) {
    vf dots = {};
    int64_t j = 0;
    for (; j + W <= dim; j += W) dots += load(g + j) * load(row + j);
    for (; j < dim; j++) dot += g[j] * value(row[j]);
    dot = (dot + sum(dots)) / length;
  }
  const float factor = normalise ? scale / length : scale;
  const float along = normalise ? dot / length : 0.0f;
  int64_t j = 0;
  for (; j + W <= dim; j += W) {
    vf x = load(g + j);
    if (normalise) x -= load(row + j) * along;
    store(to + j, x * factor);
  }
  for (; j < dim; j++) put(to + j, (g[j] - (normalise ? value(row[j]) * along : 0.0f)) * factor);
  return dot;
}

template <class T, class E>
static int64_t backward(const Head& h, const HeadGradient& g, char* scratch) {
  const Sizes z(h);
  Arena arena{scratch};
  E* q = arena.take<E>(z.queries * z.dim);
  E* k_rows = arena.take<E>(z.keys * z.dim);
  E* v_rows = arena.take<E>(z.keys * z.dim);
  E* k_scores = arena.take<E>(z.keys * z.dim);
  E* k_mix = arena.take<E>(z.keys * z.dim);
  E* v_scores = arena.take<E>(z.keys * z.dim);
  float* q_lengths = arena.take<float>(z.queries);
  float* k_lengths = arena.take<float>(z.keys);
  float* scores = arena.take<float>(BLOCK * z.keys);
  float* dp = arena.take<float>(BLOCK * z.keys);
  E* ds = arena.take<E>(BLOCK * z.keys);
  E* p_packed = arena.take<E>(BLOCK * z.keys);
  E* ds_packed = arena.take<E>(BLOCK * z.keys);
  E* grad = arena.take<E>(BLOCK * z.dim);
  E* grad_columns = arena.take<E>(BLOCK * z.dim);
  E* q_columns = arena.take<E>(BLOCK * z.dim);
  float* dq = arena.take<float>(BLOCK * z.dim);
  float* dk_columns = arena.take<float>(z.keys * z.dim);
  float* dv_columns = arena.take<float>(z.keys * z.dim);
  float* gathered = arena.take<float>(z.keys * z.dim);
  if (!scratch) return arena.used;

  read_rows<T>(h.q, h.q_stride, h.queries, z.queries, h.dim, z.dim, h.normalise_q, h.scale, q, q_lengths);
  read_rows<T>(h.k, h.k_stride, h.keys, z.keys, h.dim, z.dim, h.normalise_k, 1.0f, k_rows, k_lengths);
  read_rows<T>(h.v, h.v_stride, h.keys, z.keys, h.dim, z.dim, false, 1.0f, v_rows, (float*)nullptr);
  pack_columns(k_rows, z.keys, z.dim, z.key_width, k_scores);
  pack_columns(v_rows, z.keys, z.dim, z.key_width, v_scores);
  pack_rows(k_rows, z.dim, z.keys, z.dim, z.dim_width, k_mix);
  __builtin_memset(dk_columns, 0, z.keys * z.dim * sizeof(float));
  __builtin_memset(dv_columns, 0, z.keys * z.dim * sizeof(float));

  float dscale = 0;
  for (int64_t first = 0; first < h.queries; first += BLOCK) {
    const int64_t n = h.queries - first < BLOCK ? h.queries - first : BLOCK;
    const int64_t seen = padded<WIDE>(keys_seen(h, first, n));
    read_rows<T>((const T*)g.grad_out + first * g.grad_stride, g.grad_stride, n, BLOCK, h.dim, z.dim, false, 1.0f,
                 grad, (float*)nullptr);
    float delta[BLOCK];
    for (int64_t i = 0; i < n; i++) {
      const T* o = (const T*)g.out + (first + i) * h.out_stride;
      const T* d = (const T*)g.grad_out + (first + i) * g.grad_stride;
      vf dots = {};
      int64_t j = 0;
      for (; j + W <= h.dim; j += W) dots += load(o + j) * load(d + j);
      delta[i] = sum(dots);
      for (; j < h.dim; j++) delta[i] += value(o[j]) * value(d[j]);
    }
    transpose(grad, BLOCK, z.dim, grad_columns);
    transpose(q + first * z.dim, BLOCK, z.dim, q_columns);
    product(z.key_width, q + first * z.dim, z.dim, k_scores, BLOCK, seen, z.dim, scores, z.keys, false);
    product(z.key_width, grad, z.dim, v_scores, BLOCK, seen, z.dim, dp, z.keys, false);
    softmax_backward(h, g.log_sum, delta, first, n, seen, z.keys, scores, dp, ds, p_packed, ds_packed);
    product(z.key_width, grad_columns, BLOCK, p_packed, z.dim, seen, BLOCK, dv_columns, z.keys, true);
    product(z.key_width, q_columns, BLOCK, ds_packed, z.dim, seen, BLOCK, dk_columns, z.keys, true);
    const int64_t wide = z.dim_width * W;
    for (int64_t j = 0; j < z.dim; j += wide)
      product(z.dim_width, ds, z.keys, k_mix + j * z.keys, n, wide, seen, dq + j, z.dim, false);
    for (int64_t i = 0; i < n; i++) {
      const T* row = (const T*)h.q + (first + i) * h.q_stride;
      T* to = (T*)g.dq + (first + i) * h.q_stride;
      dscale += write_gradient(dq + i * z.dim, row, h.dim, h.normalise_q, h.scale, q_lengths[first + i], to);
    }
  }
  *g.dscale = dscale;
  transpose(dk_columns, z.dim, z.keys, gathered);
  for (int64_t i = 0; i < h.keys; i++)
    write_gradient(gathered + i * z.dim, (const T*)h.k + i * h.k_stride, h.dim, h.normalise_k, 1.0f, k_lengths[i],
                   (T*)g.dk + i * h.k_stride);
  transpose(dv_columns, z.dim, z.keys, gathered);
  for (int64_t i = 0; i < h.keys; i++)
    write_gradient(gathered + i * z.dim, (const T*)h.v + i * h.v_stride, h.dim, false, 1.0f, 1.0f,
                   (T*)g.dv + i * h.v_stride);
  return 0;
}

// One head forward. With a null scratch: the bytes that it needs go to `bytes`.
void attention_forward(const Head& h, char* scratch, int64_t* bytes) {
  if (h.queries <= FEW_QUERIES && !h.log_sum && !h.normalise_k) {
    *bytes = h.brief ? forward_few<bf16>(h, scratch) : forward_few<float>(h, scratch);
    return;
  }
#if VAR_HAS_BRIEF
  if (h.brief) {
    *bytes = forward<bf16, bf16>(h, scratch);
    return;
  }
#endif
  *bytes = h.brief ? forward<bf16, float>(h, scratch) : forward<float, float>(h, scratch);
}

void attention_backward(const Head& h, const HeadGradient& g, char* scratch, int64_t* bytes) {
#if VAR_HAS_BRIEF
  if (h.brief) {
    *bytes = backward<bf16, bf16>(h, g, scratch);
    return;
  }
#endif
  *bytes = h.brief ? backward<bf16, float>(h, g, scratch) : backward<float, float>(h, g, scratch);
}

// Appends `n` tokens to a cache of one head: keys divided by their lengths where asked for, values as
// they are; `cache_*` point at the first free row.
void attention_append(bool brief, int64_t n, int64_t dim, const void* k, const void* v, int64_t stride, bool normalise,
                      void* cache_k, void* cache_v, int64_t cache_stride) {
  auto copy = [&](auto tag) {
    using T = decltype(tag);
    float row[MAX_DIM];
    for (int64_t i = 0; i < n; i++) {
      const T* from = (const T*)k + i * stride;
      float length = read_row(from, dim, dim, row);
      float factor = normalise ? 1.0f / length : 1.0f;
      T* to = (T*)cache_k + i * cache_stride;
      for (int64_t j = 0; j < dim; j++) put(to + j, row[j] * factor);
      __builtin_memcpy((T*)cache_v + i * cache_stride, (const T*)v + i * stride, dim * sizeof(T));
    }
  };
  if (brief) copy(bf16{});
  else copy(float{});
}

}  // namespace VAR_SET
}  // namespace var
