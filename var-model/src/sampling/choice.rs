//! The choice of codes: top-k, top-p, and the draw from what they leave.

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::draws::invert;
use super::filter::filter;
use crate::error::Result;

/// Logits below which one thread is quicker than several.
const FEW: usize = 1 << 16;

/// Draws one code from each row of finite `logits` `[N, V]`, with [`filter`] and [`invert`] at `uniforms` `[N]`: ids `[N]`.
///
/// On a processor row by row, which sorts only the codes that top-k leaves.
///
/// # Errors
/// When libtorch fails.
pub(crate) fn choose(logits: &Tensor, top_k: usize, top_p: f64, uniforms: &Tensor) -> Result<Tensor> {
    if logits.device() != Device::Cpu {
        return Ok(invert(&filter(logits, top_k, top_p).softmax(-1, None), uniforms));
    }
    let (_, vocabulary) = logits.size2()?;
    let vocabulary = vocabulary.max(1) as usize;
    let logits = Vec::<f32>::try_from(logits.to_kind(Kind::Float).contiguous().view([-1]))?;
    let uniforms = Vec::<f64>::try_from(uniforms)?;
    let one = |codes: &mut Vec<Code>, (row, uniform): (&[f32], &f64)| {
        choose_one(row, top_k, top_p, *uniform, codes)
    };
    let chosen: Vec<i64> = if logits.len() < FEW {
        let mut codes = Vec::new();
        logits.chunks(vocabulary).zip(&uniforms).map(|row| one(&mut codes, row)).collect()
    } else {
        logits.par_chunks(vocabulary).zip(&uniforms).map_init(Vec::new, one).collect()
    };
    Ok(Tensor::from_slice(&chosen))
}

/// A code: its logit and its id.
type Code = (f32, usize);

/// In the order of logits; equal ones in the order of ids, as a stable sort leaves them.
fn ascending(a: &Code, b: &Code) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// The code of one row. `codes` is memory that rows share.
fn choose_one(logits: &[f32], top_k: usize, top_p: f64, uniform: f64, codes: &mut Vec<Code>) -> i64 {
    codes.clear();
    codes.extend(logits.iter().enumerate().map(|(id, &logit)| (logit, id)));
    if top_k > 0 && top_k < codes.len() {
        let (_, least, _) = codes.select_nth_unstable_by(top_k - 1, |a, b| ascending(b, a));
        let least = least.0;
        codes.retain(|code| code.0 >= least);
    }
    let top = codes.iter().fold(f32::NEG_INFINITY, |top, code| top.max(code.0));
    if top_p > 0.0 && top_p < 1.0 {
        codes.sort_unstable_by(ascending);
        let total: f64 = codes.iter().map(|code| f64::from((code.0 - top).exp())).sum();
        let mut below = 0.0;
        let cut = codes.iter().position(|code| {
            below += f64::from((code.0 - top).exp() / total as f32);
            below as f32 > (1.0 - top_p) as f32
        });
        // The most likely code always stays.
        codes.drain(..cut.unwrap_or(codes.len()).min(codes.len().saturating_sub(1)));
    }
    codes.sort_unstable_by_key(|code| code.1);
    let mut sum = 0.0;
    let sums = codes.iter().map(|code| {
        sum += f64::from((code.0 - top).exp());
        sum
    });
    let sums: Vec<f64> = sums.collect();
    let end = sums.last().copied().unwrap_or(1.0);
    let place = sums.partition_point(|sum| sum / end <= uniform).min(sums.len().saturating_sub(1));
    codes.get(place).map_or(0, |code| code.1 as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_draw_as_filter_and_inversion_do(
            rows in 1..40_usize, vocabulary in 1..300_usize, top_k in 0..320_usize, top_p in 0.0..1.05_f64,
            spread in 0.1..6.0_f64, seed in 0..i64::MAX,
        ) {
            tch::manual_seed(seed);
            let shape = [rows as i64, vocabulary as i64];
            let logits = Tensor::randn(shape, (Kind::Float, Device::Cpu)) * spread;
            let uniforms = Tensor::rand([rows as i64], (Kind::Double, Device::Cpu));
            let expected = invert(&filter(&logits, top_k, top_p).softmax(-1, None), &uniforms);
            prop_assert_eq!(choose(&logits, top_k, top_p, &uniforms).unwrap(), expected);
        }
    }

    #[test]
    fn many_rows_draw_as_few_do() {
        tch::manual_seed(4);
        let logits = Tensor::randn([700, 130], (Kind::Float, Device::Cpu));
        let uniforms = Tensor::rand([700], (Kind::Double, Device::Cpu));
        let whole = choose(&logits, 90, 0.9, &uniforms).unwrap();
        for i in [0, 350, 699] {
            let one = choose(&logits.narrow(0, i, 1), 90, 0.9, &uniforms.narrow(0, i, 1)).unwrap();
            assert_eq!(one, whole.narrow(0, i, 1));
        }
    }

    #[test]
    fn equal_logits_are_cut_as_a_stable_sort_cuts_them() {
        let logits = Tensor::from_slice(&[1.0_f32, 2.0, 2.0, 1.0, 2.0]).view([1, 5]);
        for u in [0.01, 0.3, 0.6, 0.99] {
            let uniform = Tensor::from_slice(&[u]);
            for (k, p) in [(2, 0.0), (0, 0.5), (3, 0.4), (0, 1e-9)] {
                let expected = invert(&filter(&logits, k, p).softmax(-1, None), &uniform);
                assert_eq!(choose(&logits, k, p, &uniform).unwrap(), expected, "{k} {p} {u}");
            }
        }
    }
}
