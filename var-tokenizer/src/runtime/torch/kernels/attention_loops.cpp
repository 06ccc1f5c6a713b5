// Attention of one head by small matrix products, a block of queries at a time.
//
// The scores of a block against all keys it sees fit into the second-level cache, so softmax runs on
// whole rows; the backward pass knows the sums and takes a panel of keys at a time. Nothing of size
// [queries, keys] is ever stored. Rows compute no panel of keys that they do not see. bfloat16 operands are multiplied as they
// are and summed in f32; normalisation of q and k, softmax and all sums are f32.
#include "attention.h"
#include "pack.h"

namespace var {
namespace VAR_SET {

// Queries a block: whole tiles of 6 rows.
constexpr int64_t BLOCK = 96;

// Hands out pieces of one scratch buffer; with a null base it only adds up the bytes.
struct Arena {
  char* base;
  int64_t used = 0;
  template <class T>
  T* take(int64_t n) {
    T* p = base ? (T*)(base + used) : nullptr;
    used += rounded(n * (int64_t)sizeof(T), 64);
    return p;
  }
};

// Sizes rounded up: to whole panels, queries to whole vectors, and what is multiplied of `dim` to pairs.
struct Sizes {
  int64_t keys, dim, queries, depth;
  explicit Sizes(const Head& h) {
    keys = padded<WIDE>(h.keys);
    dim = padded<WIDE>(h.dim);
    queries = rounded(h.queries, W);
    depth = rounded(h.dim, 2);
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
    fetch((const T*)from + (i + AHEAD) * stride, dim);
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

// The first of the queries from `first` on that sees more than `keys` keys.
VAR_INLINE int64_t first_to_see(const Head& h, int64_t keys, int64_t first) {
  while (first < h.queries && h.key_end[first] <= keys) first++;
  return first;
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

  read_rows<T>(h.q, h.q_stride, h.queries, h.queries, h.dim, z.dim, h.normalise_q, h.scale, q, (float*)nullptr);
  read_rows<T>(h.k, h.k_stride, h.keys, z.keys, h.dim, z.dim, h.normalise_k, 1.0f, rows, (float*)nullptr);
  pack_columns(rows, z.keys, z.dim, WIDE, k);
  read_rows<T>(h.v, h.v_stride, h.keys, z.keys, h.dim, z.dim, false, 1.0f, rows, (float*)nullptr);
  // Panels over keys are cut to the keys a block sees: one panel per column group, all keys inside.
  pack_rows(rows, z.dim, z.keys, z.dim, WIDE, v);

  for (int64_t first = 0; first < h.queries; first += BLOCK) {
    const int64_t n = lower(h.queries - first, BLOCK), seen = h.key_end[first + n - 1];
    for (int64_t j = 0; j < seen; j += PANEL) {
      const int64_t i = first_to_see(h, j, first) - first;
      panel_product(vectors(lower(seen - j, PANEL)), q + (first + i) * z.dim, z.dim, k + j * z.dim, n - i, z.depth,
                    scores + i * z.keys + j, z.keys, false);
    }
    float sums[BLOCK];
    for (int64_t i = 0; i < n; i += ROWS) {
      const int64_t some = lower(n - i, ROWS), all = rounded(h.key_end[first + i + some - 1], W);
      for (int64_t r = i; r < i + some; r++) {
        float top;
        sums[r] = exponentials(scores + r * z.keys, h.key_end[first + r], all, weights + r * z.keys, &top);
        if (h.log_sum) h.log_sum[first + r] = top + __builtin_logf(sums[r]);
      }
      for (int64_t j = 0; j < h.dim; j += PANEL)
        panel_product(vectors(lower(h.dim - j, PANEL)), weights + i * z.keys, z.keys, v + j * z.keys, some, all,
                      mixed + i * z.dim + j, z.dim, false);
    }
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
  const int64_t dim = rounded(h.dim, W);
  float* q = arena.take<float>(dim);
  float* scores = arena.take<float>(rounded(h.keys, W));
  float* mixed = arena.take<float>(dim);
  if (!scratch) return arena.used;

  const int64_t whole = h.dim / W * W;
  for (int64_t i = 0; i < h.queries; i++) {
    read_rows<T>((const T*)h.q + i * h.q_stride, h.q_stride, 1, 1, h.dim, dim, h.normalise_q, h.scale, q, (float*)nullptr);
    const int64_t end = h.key_end[i], seen = rounded(end, W);
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

// Scores S and gradients of weights dP of `n` queries against a panel become weights P = e^(S − log_sum) and
// dS = P·(dP − delta): packed over the queries, in pairs for bfloat16, and dS row by row as well. All [BLOCK][PANEL].
template <class E>
static void softmax_backward(const int32_t* key_end, int64_t begin, const float* log_sum, const float* delta, int64_t n,
                             int64_t used, const float* scores, const float* dp, E* p_packed, E* ds, E* ds_packed) {
  vi lanes;
  for (int x = 0; x < W; x++) lanes[x] = x;
  for (int64_t i = 0; i < n; i += STEP<E>) {
    int64_t end[STEP<E>];
    float shift[STEP<E>], mean[STEP<E>];
    for (int64_t r = 0; r < STEP<E>; r++) {
      const int64_t row = i + r < n ? i + r : i;
      end[r] = i + r < n ? key_end[row] - begin : 0;
      shift[r] = log_sum[row];
      mean[r] = delta[row];
    }
    for (int64_t j = 0; j < used * W; j += W) {
      vf p[STEP<E>], g[STEP<E>];
      for (int64_t r = 0; r < STEP<E>; r++) {
        const int64_t at = (i + r) * PANEL + j;
        p[r] = exp(load(scores + at) - shift[r]);
        g[r] = p[r] * (load(dp + at) - mean[r]);
        if (end[r] < j + W) {
          vi inside = lanes < (int32_t)(end[r] - j);
          p[r] = choose(inside, p[r], vf{});
          g[r] = choose(inside, g[r], vf{});
        }
        store(ds + at, g[r]);
      }
      if constexpr (STEP<E> == 2) {
        vu pairs = weave(to_bf16(p[0]), to_bf16(p[1])), slopes = weave(to_bf16(g[0]), to_bf16(g[1]));
        __builtin_memcpy(p_packed + i * PANEL + j * 2, &pairs, sizeof pairs);
        __builtin_memcpy(ds_packed + i * PANEL + j * 2, &slopes, sizeof slopes);
      } else {
        store(p_packed + i * PANEL + j, p[0]);
      }
    }
  }
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

// The same for `n` rows; returns the sum of u·g.
template <class T>
static float write_gradients(const float* g, int64_t pad, int64_t n, const T* rows, int64_t stride, int64_t dim,
                             bool normalise, float scale, const float* lengths, T* to) {
  float all = 0;
  for (int64_t i = 0; i < n; i++) {
    if (normalise) fetch(rows + (i + AHEAD) * stride, dim);
    all += write_gradient(g + i * pad, rows + i * stride, dim, normalise, scale, lengths[i], to + i * stride);
  }
  return all;
}

// The sum of products of a row of the result with a row of its gradient.
template <class T>
VAR_INLINE float dot(const T* a, const T* b, int64_t dim) {
  vf dots = {};
  int64_t j = 0;
  for (; j + W <= dim; j += W) dots += load(a + j) * load(b + j);
  float all = sum(dots);
  for (; j < dim; j++) all += value(a[j]) * value(b[j]);
  return all;
}

template <class T, class E>
static int64_t backward(const Head& h, const HeadGradient& g, char* scratch) {
  const Sizes z(h);
  Arena arena{scratch};
  E* q = arena.take<E>(z.queries * z.dim);
  E* q_columns = arena.take<E>(z.queries * z.dim);
  E* grad = arena.take<E>(z.queries * z.dim);
  E* grad_columns = arena.take<E>(z.queries * z.dim);
  E* rows = arena.take<E>(z.keys * z.dim);
  E* k_scores = arena.take<E>(z.keys * z.dim);
  E* v_scores = arena.take<E>(z.keys * z.dim);
  E* k_mix = arena.take<E>(z.keys * z.dim);
  float* q_lengths = arena.take<float>(z.queries);
  float* k_lengths = arena.take<float>(z.keys);
  float* delta = arena.take<float>(z.queries);
  float* dq = arena.take<float>(z.queries * z.dim);
  float* scores = arena.take<float>(BLOCK * PANEL);
  float* dp = arena.take<float>(BLOCK * PANEL);
  E* p_packed = arena.take<E>(BLOCK * PANEL);
  E* ds = arena.take<E>(BLOCK * PANEL);
  E* ds_packed = STEP<E> == 2 ? arena.take<E>(BLOCK * PANEL) : ds;
  float* dk_columns = arena.take<float>(z.dim * PANEL);
  float* dv_columns = arena.take<float>(z.dim * PANEL);
  float* gathered = arena.take<float>(z.dim * PANEL);
  if (!scratch) return arena.used;

  read_rows<T>(h.q, h.q_stride, h.queries, z.queries, h.dim, z.dim, h.normalise_q, h.scale, q, q_lengths);
  transpose(q, z.queries, z.dim, q_columns);
  read_rows<T>(g.grad_out, g.grad_stride, h.queries, z.queries, h.dim, z.dim, false, 1.0f, grad, (float*)nullptr);
  transpose(grad, z.queries, z.dim, grad_columns);
  for (int64_t i = 0; i < h.queries; i++) {
    fetch((const T*)g.out + (i + AHEAD) * h.out_stride, h.dim);
    delta[i] = dot((const T*)g.out + i * h.out_stride, (const T*)g.grad_out + i * g.grad_stride, h.dim);
  }
  read_rows<T>(h.v, h.v_stride, h.keys, z.keys, h.dim, z.dim, false, 1.0f, rows, (float*)nullptr);
  pack_columns(rows, z.keys, z.dim, WIDE, v_scores);
  read_rows<T>(h.k, h.k_stride, h.keys, z.keys, h.dim, z.dim, h.normalise_k, 1.0f, rows, k_lengths);
  pack_columns(rows, z.keys, z.dim, WIDE, k_scores);
  pack_rows(rows, z.dim, z.keys, z.dim, WIDE, k_mix);

  for (int64_t begin = 0; begin < h.keys; begin += PANEL) {
    const int64_t count = lower(h.keys - begin, PANEL), used = vectors(count);
    // Even, because bfloat16 goes in pairs.
    const int64_t start = first_to_see(h, begin, 0) / 2 * 2;
    for (int64_t first = start; first < h.queries; first += BLOCK) {
      const int64_t n = lower(h.queries - first, BLOCK), depth = rounded(n, STEP<E>);
      panel_product(used, q + first * z.dim, z.dim, k_scores + begin * z.dim, n, z.depth, scores, PANEL, false);
      panel_product(used, grad + first * z.dim, z.dim, v_scores + begin * z.dim, n, z.depth, dp, PANEL, false);
      softmax_backward(h.key_end + first, begin, g.log_sum + first, delta + first, n, used, scores, dp, p_packed, ds,
                       ds_packed);
      panel_product(used, grad_columns + first, z.queries, p_packed, h.dim, depth, dv_columns, PANEL, first > start);
      panel_product(used, q_columns + first, z.queries, ds_packed, h.dim, depth, dk_columns, PANEL, first > start);
      for (int64_t j = 0; j < h.dim; j += PANEL)
        panel_product(vectors(lower(h.dim - j, PANEL)), ds, PANEL, k_mix + j * z.keys + begin * PANEL, n, used * W,
                      dq + first * z.dim + j, z.dim, begin > 0);
    }
    transpose(dk_columns, z.dim, PANEL, gathered);
    write_gradients(gathered, z.dim, count, (const T*)h.k + begin * h.k_stride, h.k_stride, h.dim, h.normalise_k, 1.0f,
                    k_lengths + begin, (T*)g.dk + begin * h.k_stride);
    transpose(dv_columns, z.dim, PANEL, gathered);
    write_gradients(gathered, z.dim, count, (const T*)h.v + begin * h.v_stride, h.v_stride, h.dim, false, 1.0f,
                    k_lengths, (T*)g.dv + begin * h.v_stride);
  }
  *g.dscale = write_gradients(dq, z.dim, h.queries, (const T*)h.q, h.q_stride, h.dim, h.normalise_q, h.scale, q_lengths,
                              (T*)g.dq);
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
