// GroupNorm and SiLU over pixels with adjacent channels: sums per channel, then one pass that applies.
#include "group_norm.h"
#include "simd.h"

namespace var {
namespace VAR_SET {

// How much of a vector of channels is there: known while compiling where it is whole.
struct Whole {};
struct Part {
  int64_t n;
};
template <class T>
VAR_INLINE vf take(const T* p, Whole) { return load(p); }
template <class T>
VAR_INLINE vf take(const T* p, Part left) { return load_part(p, left.n); }
template <class T>
VAR_INLINE void give(T* p, vf v, Whole) { store(p, v); }
template <class T>
VAR_INLINE void give(T* p, vf v, Part left) { store_part(p, v, left.n); }

// Derivative of z·sigmoid(z).
VAR_INLINE vf silu_slope(vf z) {
  vf s = sigmoid(z);
  return s * (1.0f + z * (1.0f - s));
}

// Calls one(pixel offset, j, left) for every vector of channels; pixels in the order of memory.
template <class F>
VAR_INLINE void each_vector(const Pixels& p, const F& one) {
  const int64_t whole = p.channels / W * W;
  for (int64_t i = 0; i < p.count; i++) {
    for (int64_t j = 0; j < whole; j += W) one(i * p.channels, j, Whole{});
    if (whole < p.channels) one(i * p.channels, whole, Part{p.channels - whole});
  }
}

// Two sums per channel, to which one(begin, end, j, left, first, second) adds some pixels of a vector of
// channels: few, so that they are still in the first-level cache when the next vector is summed.
template <class F>
VAR_INLINE void sum_channels(const Pixels& p, const F& one) {
  constexpr int64_t FEW = 32;
  const int64_t whole = p.channels / W * W;
  for (int64_t j = 0; j < p.channels; j++) p.sums[j] = p.squares[j] = 0;
  for (int64_t block = 0; block < p.count; block += FEW) {
    const int64_t end = block + FEW < p.count ? block + FEW : p.count;
    auto some = [&](int64_t j, auto left) {
      vf first = take(p.sums + j, left), second = take(p.squares + j, left);
      one(block, end, j, left, first, second);
      give(p.sums + j, first, left);
      give(p.squares + j, second, left);
    };
    for (int64_t j = 0; j < whole; j += W) some(j, Whole{});
    if (whole < p.channels) some(whole, Part{p.channels - whole});
  }
}

template <class T>
static void sums(const Pixels& p) {
  const T* x = (const T*)p.x;
  sum_channels(p, [&](int64_t begin, int64_t end, int64_t j, auto left, vf& total, vf& squares) {
    vf pivot = take(p.pivot + j, left);
    for (int64_t i = begin; i < end; i++) {
      vf d = take(x + i * p.channels + j, left) - pivot;
      total += d;
      squares += d * d;
    }
  });
}

template <class T, class Y, bool SILU>
static void apply_to(const Pixels& p) {
  const T* x = (const T*)p.x;
  Y* y = (Y*)p.y;
  each_vector(p, [&](int64_t at, int64_t j, auto left) {
    vf z = take(x + at + j, left) * take(p.factor + j, left) + take(p.offset + j, left);
    give(y + at + j, SILU ? z * sigmoid(z) : z, left);
  });
}

template <class T, bool SILU>
static void apply(const Pixels& p) {
  if (p.y_brief) apply_to<T, bf16, SILU>(p);
  else apply_to<T, float, SILU>(p);
}

// Gradient before the affine map.
template <class T, bool SILU, class L>
VAR_INLINE vf dz_of(const T* dy, vf x, vf factor, vf offset, L left) {
  vf d = take(dy, left);
  return SILU ? d * silu_slope(x * factor + offset) : d;
}

template <class T, bool SILU>
static void gradient_sums(const Pixels& p) {
  const T* x = (const T*)p.x;
  const T* dy = (const T*)p.dy;
  sum_channels(p, [&](int64_t begin, int64_t end, int64_t j, auto left, vf& total, vf& along) {
    vf factor = take(p.factor + j, left), offset = take(p.offset + j, left);
    vf mean = take(p.mean + j, left), inverse = take(p.inverse + j, left);
    for (int64_t i = begin; i < end; i++) {
      const int64_t at = i * p.channels + j;
      vf v = take(x + at, left);
      vf dz = dz_of<T, SILU>(dy + at, v, factor, offset, left);
      total += dz;
      along += dz * ((v - mean) * inverse);
    }
  });
}

template <class T, bool SILU>
static void gradient(const Pixels& p) {
  const T* x = (const T*)p.x;
  const T* dy = (const T*)p.dy;
  T* dx = (T*)p.dx;
  each_vector(p, [&](int64_t from, int64_t j, auto left) {
    const int64_t at = from + j;
    vf factor = take(p.factor + j, left), v = take(x + at, left);
    vf dz = dz_of<T, SILU>(dy + at, v, factor, take(p.offset + j, left), left);
    give(dx + at, dz * factor + v * take(p.by_x + j, left) + take(p.constant + j, left), left);
  });
}

#define VAR_BY_SILU(loop, T)      \
  do {                            \
    if (p.silu) loop<T, true>(p); \
    else loop<T, false>(p);       \
  } while (0)
#define VAR_BY_KIND(loop)               \
  do {                                  \
    if (p.brief) VAR_BY_SILU(loop, bf16); \
    else VAR_BY_SILU(loop, float);      \
  } while (0)

void group_norm_sums(const Pixels& p) {
  if (p.brief) sums<bf16>(p);
  else sums<float>(p);
}
void group_norm_apply(const Pixels& p) { VAR_BY_KIND(apply); }
void group_norm_gradient_sums(const Pixels& p) { VAR_BY_KIND(gradient_sums); }
void group_norm_gradient(const Pixels& p) { VAR_BY_KIND(gradient); }

}  // namespace VAR_SET
}  // namespace var
