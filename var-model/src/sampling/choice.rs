//! The choice of codes: top-k, top-p, and the draw from what they leave.

use std::cmp::Ordering;

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::draws::invert;
use super::filter::filter;
use crate::error::Result;

/// Logits below which one thread is quicker than several.
const FEW: usize = 1 << 17;
/// Codes that are sorted instead of halved once more.
const SORTED: usize = 24;

/// Draws one code from each row of finite `logits` `[N, V]`, with [`filter`] and [`invert`] at `uniforms` `[N]`: ids `[N]`.
///
/// On a processor row by row, by selection: libtorch would sort all codes.
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
    let one =
        |memory: &mut Memory, (row, uniform): (&[f32], &f64)| choose_one(row, top_k, top_p, *uniform, memory);
    let chosen: Vec<i64> = if logits.len() < FEW {
        let mut memory = Memory::default();
        logits.chunks(vocabulary).zip(&uniforms).map(|row| one(&mut memory, row)).collect()
    } else {
        logits.par_chunks(vocabulary).zip(&uniforms).map_init(Memory::default, one).collect()
    };
    Ok(Tensor::from_slice(&chosen))
}

/// A code that can still be drawn.
#[derive(Debug, Clone, Copy)]
struct Code {
    logit: f32,
    id: usize,
    /// Its probability, as a multiple of that of the most likely code.
    weight: f32,
}

/// Memory that rows share.
#[derive(Debug, Default)]
struct Memory {
    logits: Vec<f32>,
    codes: Vec<Code>,
    halved: Vec<Code>,
}

/// In the order of logits; equal ones in the order of ids, as a stable sort leaves them.
fn ascending(a: &Code, b: &Code) -> Ordering {
    a.logit.total_cmp(&b.logit).then(a.id.cmp(&b.id))
}

/// The code of one row.
fn choose_one(logits: &[f32], top_k: usize, top_p: f64, uniform: f64, memory: &mut Memory) -> i64 {
    let Memory { logits: sorted, codes, halved } = memory;
    let mut least = f32::NEG_INFINITY;
    if top_k > 0 && top_k < logits.len() {
        sorted.clear();
        sorted.extend_from_slice(logits);
        least = *sorted.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a)).1;
    }
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    codes.clear();
    let allowed = logits.iter().enumerate().filter(|(_, logit)| **logit >= least);
    codes.extend(allowed.map(|(id, &logit)| Code { logit, id, weight: (logit - top).exp() }));
    if top_p > 0.0 && top_p < 1.0 {
        halved.clone_from(codes);
        if let Some(least) = least_allowed(halved, (1.0 - top_p) as f32) {
            codes.retain(|code| ascending(code, &least) != Ordering::Less);
        }
    }
    let end: f64 = codes.iter().map(|code| f64::from(code.weight)).sum();
    let mut sum = 0.0;
    let drawn = codes.iter().find(|code| {
        sum += f64::from(code.weight);
        sum / end > uniform
    });
    // Rounding may leave the last sum slightly below one.
    drawn.or(codes.last()).map_or(0, |code| code.id as i64)
}

/// The code of least logit that stays: from the smallest up, codes go while their cumulative probability is at most
/// `dropped`. The most likely one always stays.
fn least_allowed(codes: &mut [Code], dropped: f32) -> Option<Code> {
    let total = codes.iter().map(|code| f64::from(code.weight)).sum::<f64>() as f32;
    let share = |code: &Code| f64::from(code.weight / total);
    let most = codes.iter().copied().max_by(ascending);
    let (mut left, mut below) = (codes, 0.0);
    while left.len() > SORTED {
        let (low, middle, high) = left.select_nth_unstable_by(left.len() / 2, ascending);
        let smaller = below + low.iter().map(share).sum::<f64>();
        if smaller as f32 > dropped {
            left = low;
            continue;
        }
        below = smaller + share(middle);
        if below as f32 > dropped {
            return Some(*middle);
        }
        left = high;
    }
    left.sort_unstable_by(ascending);
    let first = left.iter().find(|code| {
        below += share(code);
        below as f32 > dropped
    });
    first.copied().or(most)
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
