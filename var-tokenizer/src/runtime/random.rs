//! Counter-based random numbers: word `i` of a named stream, without state.
//!
//! Every random decision in the workspace is a function of (name, seed, index), so that neither batch
//! size, thread count nor a resume changes it. The generator is FNV-1a over the name, xor the seed, then
//! the SplitMix64 finaliser over a Weyl sequence; it needs no libm and gives the same bits everywhere.

/// Step of the Weyl sequence that SplitMix64 walks along.
const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A random-access stream of 64-bit words, named and seeded.
///
/// ```
/// let stream = var_tokenizer::random::Stream::new("a", 0);
/// assert_eq!(stream.word(0), 0x5f29_c2aa_dd9b_8527);
/// assert_eq!(stream.below(1, 10), 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    state: u64,
}

impl Stream {
    /// The stream called `name` under `seed`.
    pub fn new(name: &str, seed: u64) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self { state: hash ^ seed }
    }

    /// Word number `index` (from 0).
    pub fn word(&self, index: u64) -> u64 {
        let mut x = self.state.wrapping_add(index.wrapping_add(1).wrapping_mul(GOLDEN_GAMMA));
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A stream of its own for `index`: e.g. one per sample, whose words are then numbered from 0 again.
    pub fn at(&self, index: u64) -> Self {
        Self { state: self.word(index) }
    }

    /// Uniform in [0, 1) on a grid of 2⁻²⁴, exact in `f32`.
    pub fn uniform(&self, index: u64) -> f32 {
        (self.word(index) >> 40) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in the open interval (0, 1): a draw for inverting a cumulative distribution.
    pub fn draw(&self, index: u64) -> f64 {
        ((self.word(index) >> 40) as f64 + 0.5) / 16_777_216.0
    }

    /// An integer below `limit` (0 when `limit` is 0).
    pub fn below(&self, index: u64, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.word(index) % limit }
    }

    /// Standard normal by Box and Muller; uses words `2·index` and `2·index + 1`.
    pub fn normal(&self, index: u64) -> f64 {
        let radius = (-2.0 * self.draw(2 * index).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.draw(2 * index + 1);
        radius * angle.cos()
    }

    /// The "portable normal" of the golden cases: the scaled sum of four uniforms, free of libm.
    pub fn portable_normal(&self, index: u64) -> f64 {
        let u = |j: u64| f64::from(self.uniform(4 * index + j));
        f64::from((((u(0) + u(1) + u(2) + u(3)) - 2.0) * 1.732_050_807_568_877_2) as f32)
    }

    /// The first `count` indices in a random order (Fisher and Yates over the words).
    pub fn permutation(&self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            let j = self.below(i as u64, i as u64 + 1) as usize;
            order.swap(i, j);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_uniforms_and_normals_equal_the_published_check_values() {
        let s = Stream::new("a", 0);
        assert_eq!(s.word(1), 0xff84_f1bd_b6d3_884f);
        assert_eq!(s.word(2), 0xfdfa_b147_e960_346e);
        assert_eq!(s.uniform(0), 0.371_730_92);
        assert_eq!(s.portable_normal(0) as f32, 1.815_017);
        assert_eq!(s.portable_normal(1) as f32, -0.510_365_55);
        let below: Vec<u64> = (0..5).map(|i| s.below(i, 10)).collect();
        assert_eq!(below, [3, 5, 2, 6, 0]);
        let other = Stream::new("blocks.0.attn.proj.weight", 7);
        assert_eq!(other.word(0), 0x2560_6333_75b3_8ecb);
        assert_eq!(other.word(1), 0x4384_4d2c_0fb2_fdba);
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut order = Stream::new("shuffle", 3).permutation(1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn normals_have_mean_zero_and_variance_one() {
        let s = Stream::new("normal", 1);
        let n = 100_000;
        let (sum, squares) = (0..n).map(|i| s.normal(i)).fold((0.0, 0.0), |(a, b), x| (a + x, b + x * x));
        assert!((sum / n as f64).abs() < 0.01);
        assert!((squares / n as f64 - 1.0).abs() < 0.02);
    }
}
