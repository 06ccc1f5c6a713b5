//! Start and upkeep of the codebook: k-means over residuals, and new values for unused codes.
//!
//! A codebook that starts far from the latents never uses most of its codes. So the first codes are cluster centres of the
//! vectors that the scales look up, and a code without hits over a whole window moves onto such a vector.

use tch::{Kind, Tensor};
use var_tokenizer::random::Stream;

/// Centres of `count` clusters among `rows` `[N, z]` by Lloyd's algorithm: `[count, z]`.
///
/// Starts from rows drawn without replacement (with repeats when there are too few) and moves centres
/// without members onto random rows.
pub(crate) fn k_means(rows: &Tensor, count: usize, rounds: usize, stream: &Stream) -> Tensor {
    let rows = rows.to_kind(Kind::Float);
    let n = rows.size().first().copied().unwrap_or(0).max(1) as usize;
    let order = stream.permutation(n);
    let start: Vec<i64> = (0..count).map(|i| order.get(i % n).copied().unwrap_or(0) as i64).collect();
    let mut centres = rows.index_select(0, &Tensor::from_slice(&start).to_device(rows.device()));
    for round in 0..rounds {
        let members = nearest(&rows, &centres);
        let mut sums = centres.zeros_like();
        let _ = sums.index_add_(0, &members, &rows);
        let sizes = members.bincount::<Tensor>(None, count as i64).to_kind(Kind::Float);
        let means = sums / sizes.clamp_min(1.0).unsqueeze(1);
        let draws = stream.at(round as u64 + 1);
        let spare: Vec<i64> = (0..count as u64).map(|i| draws.below(i, n as u64) as i64).collect();
        let spare = rows.index_select(0, &Tensor::from_slice(&spare).to_device(rows.device()));
        centres = means.where_self(&sizes.gt(0.0).unsqueeze(1), &spare);
    }
    centres
}

/// Index of the nearest centre `[N]`, block by block to save memory.
fn nearest(rows: &Tensor, centres: &Tensor) -> Tensor {
    let squares = centres.square().sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
    let parts: Vec<Tensor> = rows
        .split(16_384, 0)
        .iter()
        .map(|part| (&squares - part.matmul(&centres.tr()) * 2.0).argmin(1, false))
        .collect();
    Tensor::cat(&parts, 0)
}

/// Moves the codes of `embedding` `[V, z]` whose `hits` `[V]` are zero onto rows of `rows` `[N, z]`. Gives the number of
/// moved codes.
pub(crate) fn replace_unused(embedding: &Tensor, hits: &Tensor, rows: &Tensor, stream: &Stream) -> Tensor {
    tch::no_grad(|| {
        let unused = hits.eq(0.0).nonzero().squeeze_dim(1);
        let count = unused.size().first().copied().unwrap_or(0) as usize;
        let n = rows.size().first().copied().unwrap_or(0).max(1) as usize;
        if count == 0 {
            return unused;
        }
        let order = stream.permutation(n);
        let picks: Vec<i64> = (0..count).map(|i| order.get(i % n).copied().unwrap_or(0) as i64).collect();
        let rows = rows.index_select(0, &Tensor::from_slice(&picks).to_device(rows.device()));
        let mut embedding = embedding.detach();
        let _ = embedding.index_copy_(0, &unused, &rows.to_kind(Kind::Float));
        unused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k_means_finds_well_separated_clusters() {
        let stream = Stream::new("k-means", 1);
        let noise: Vec<f32> = (0..600).map(|i| stream.normal(i) as f32 * 0.01).collect();
        let mut rows = Tensor::from_slice(&noise).view([300, 2]);
        for (begin, at) in [(0, 0.0), (100, 5.0), (200, -5.0)] {
            let _ = rows.narrow(0, begin, 100).g_add_scalar_(at);
        }
        rows = rows.contiguous();
        let centres = k_means(&rows, 6, 20, &stream.at(3));
        let off = nearest(&rows, &centres);
        let distance = (&rows - centres.index_select(0, &off)).abs().max().double_value(&[]);
        assert!(distance < 0.5, "{distance}");
    }

    #[test]
    fn only_unused_codes_move() {
        let embedding = Tensor::zeros([4, 2], (Kind::Float, tch::Device::Cpu));
        let hits = Tensor::from_slice(&[1.0_f32, 0.0, 2.0, 0.0]);
        let rows = Tensor::ones([3, 2], (Kind::Float, tch::Device::Cpu));
        let moved = replace_unused(&embedding, &hits, &rows, &Stream::new("r", 0));
        assert_eq!(Vec::<i64>::try_from(&moved).unwrap(), [1, 3]);
        let sums =
            Vec::<f32>::try_from(embedding.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)).unwrap();
        assert_eq!(sums, [0.0, 2.0, 0.0, 2.0]);
    }
}
