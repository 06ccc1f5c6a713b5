//! Condition dropout and drop-path: functions of (seed, step, sample).

use tch::{Device, Tensor};
use var_tokenizer::random::Stream;

/// Drop-path rate of block `index` of `depth`: linear from 0 to `last`.
pub(crate) fn drop_path_rate(index: usize, depth: usize, last: f64) -> f64 {
    if depth < 2 { 0.0 } else { last * index as f64 / (depth - 1) as f64 }
}

/// Replaces each label by `classes` ("no class") with probability `rate`. `first` is the number of the first sample
/// within the step.
pub(crate) fn drop_condition(
    labels: &[i64],
    classes: i64,
    rate: f64,
    stream: &Stream,
    first: u64,
) -> Vec<i64> {
    labels
        .iter()
        .enumerate()
        .map(|(i, &label)| if stream.draw(first + i as u64) < rate { classes } else { label })
        .collect()
}

/// Masks `[depth, 2, B]` that multiply the branches: 0 with the block's rate, otherwise 1/keep. `None` when all rates are
/// 0. `first` is the number of the first sample within the step.
pub(crate) fn drop_path(
    depth: usize,
    batch: usize,
    last: f64,
    stream: &Stream,
    first: u64,
    device: Device,
) -> Option<Tensor> {
    if last <= 0.0 || depth < 2 {
        return None;
    }
    let mut masks = Vec::with_capacity(depth * 2 * batch);
    for block in 0..depth {
        let rate = drop_path_rate(block, depth, last);
        for branch in 0..2 {
            let branch_stream = stream.at((2 * block + branch) as u64);
            masks.extend((0..batch as u64).map(|i| {
                if branch_stream.draw(first + i) < rate { 0.0 } else { (1.0 / (1.0 - rate)) as f32 }
            }));
        }
    }
    Some(Tensor::from_slice(&masks).view([depth as i64, 2, batch as i64]).to_device(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_a_batch_drops_the_same_samples() {
        let stream = Stream::new("drop", 4).at(17);
        let labels: Vec<i64> = (0..64).collect();
        let whole = drop_condition(&labels, 99, 0.3, &stream, 0);
        let halves = [
            drop_condition(&labels[..32], 99, 0.3, &stream, 0),
            drop_condition(&labels[32..], 99, 0.3, &stream, 32),
        ]
        .concat();
        assert_eq!(whole, halves);
        assert!(whole.contains(&99) && whole.iter().any(|&l| l != 99));
        let whole = drop_path(3, 8, 0.5, &stream, 0, Device::Cpu).unwrap();
        let second = drop_path(3, 4, 0.5, &stream, 4, Device::Cpu).unwrap();
        assert_eq!(whole.narrow(2, 4, 4), second);
    }

    #[test]
    fn masks_average_to_one_and_the_first_block_is_never_dropped() {
        let stream = Stream::new("drop", 1).at(0);
        let masks = drop_path(4, 20_000, 0.4, &stream, 0, Device::Cpu).unwrap();
        assert_eq!(masks.get(0).min().double_value(&[]), 1.0);
        let mean = masks.get(3).mean(tch::Kind::Float).double_value(&[]);
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }
}
