//! Top-k and top-p: which codes can be drawn.

use tch::{Kind, Tensor};

/// Sets the logits `[N, V]` of excluded codes to −∞.
///
/// `top_k` keeps the k largest logits and all that equal the smallest of these; 0 keeps all. `top_p` then excludes codes
/// from the smallest up, while their cumulative softmax is at most `1 − p`, but never the largest; 0 excludes none.
/// Source: `models/helpers.py`.
pub(crate) fn filter(logits: &Tensor, top_k: usize, top_p: f64) -> Tensor {
    let vocabulary = logits.size().last().copied().unwrap_or(0);
    let mut logits = logits.shallow_clone();
    if top_k > 0 && top_k < vocabulary as usize {
        let (largest, _) = logits.topk(top_k as i64, -1, true, true);
        let least = largest.narrow(-1, top_k as i64 - 1, 1);
        logits = logits.masked_fill(&logits.lt_tensor(&least), f64::NEG_INFINITY);
    }
    if top_p > 0.0 && top_p < 1.0 {
        let (ascending, order) = logits.sort(-1, false);
        let cumulative = ascending.softmax(-1, None).cumsum(-1, Kind::Float);
        let drop = cumulative.le(1.0 - top_p);
        // The most likely code is never excluded.
        let _ = drop.narrow(-1, vocabulary - 1, 1).fill_(0.0);
        let drop = drop.zeros_like().scatter(-1, &order, &drop);
        logits = logits.masked_fill(&drop, f64::NEG_INFINITY);
    }
    logits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(logits: &[f32], top_k: usize, top_p: f64) -> Vec<usize> {
        let row = Tensor::from_slice(logits).unsqueeze(0);
        let filtered = Vec::<f32>::try_from(filter(&row, top_k, top_p).squeeze_dim(0)).unwrap();
        (0..filtered.len()).filter(|&i| filtered[i].is_finite()).collect()
    }

    #[test]
    fn ties_at_the_kth_place_all_stay() {
        assert_eq!(kept(&[1.0, 3.0, 2.0, 2.0, 0.0], 2, 0.0), [1, 2, 3]);
    }

    #[test]
    fn the_largest_stays_however_small_p_is() {
        assert_eq!(kept(&[1.0, 3.0, 2.0], 0, 1e-9), [1]);
    }

    #[test]
    fn zero_and_one_switch_the_filters_off() {
        assert_eq!(kept(&[1.0, 3.0, 2.0], 0, 0.0), [0, 1, 2]);
        assert_eq!(kept(&[1.0, 3.0, 2.0], 9, 1.0), [0, 1, 2]);
        assert_eq!(kept(&[1.0, 3.0, 2.0], usize::MAX, 0.0), [0, 1, 2]);
    }
}
