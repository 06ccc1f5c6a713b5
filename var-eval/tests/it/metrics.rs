//! Measures of sets: what holds for any features.

use ndarray::{Array2, ArrayView2, Axis, array, s};
use proptest::prelude::*;
use var_eval::metrics::numpy_random::RandomState;
use var_eval::metrics::{fd_infinity, frechet, kid, precision_recall};
use var_eval::statistics::{Accumulator, Gaussian};
use var_tokenizer::random::Stream;

fn random(name: &str, rows: usize, width: usize) -> Array2<f32> {
    let stream = Stream::new(name, 3);
    Array2::from_shape_fn((rows, width), |(i, j)| stream.normal((i * width + j) as u64) as f32)
}

#[test]
fn random_state_draws_what_numpy_draws() {
    // The first two draws of KID's golden case d64_small.
    let mut random = RandomState::new(2020);
    assert_eq!(random.permutation(500)[..6], [499, 424, 288, 234, 496, 110]);
    assert_eq!(random.permutation(400)[..6], [305, 99, 287, 107, 251, 171]);
}

#[test]
fn a_gaussian_does_not_depend_on_the_batches_to_the_bit() {
    let x = random("batches", 2500, 7);
    let whole = Gaussian::of(x.view()).unwrap();
    for size in [1, 17, 1024, 2499] {
        let mut accumulator = Accumulator::new(7).unwrap();
        for batch in x.axis_chunks_iter(ndarray::Axis(0), size) {
            accumulator.push(batch).unwrap();
        }
        assert_eq!(accumulator.finish().unwrap(), whole, "{size}");
    }
}

#[test]
fn more_noise_is_further_away_and_collapse_is_precise_without_recall() {
    let real = random("real", 400, 12);
    let noise = random("noise", 400, 12);
    let gaussian = |x: ArrayView2<'_, f32>| Gaussian::of(x).unwrap();
    let distance = |level: f32| {
        let noisy = &real + &(&noise * level);
        frechet::distance(&gaussian(real.view()), &gaussian(noisy.view())).unwrap().distance
    };
    let distances = [0.0, 0.25, 0.5, 1.0, 2.0].map(distance);
    assert!(distances[0] < 1e-9 && distances.is_sorted(), "{distances:?}");
    let collapsed = Array2::from_shape_fn((400, 12), |(_, j)| real[[0, j]]) + &(&noise * 1e-3_f32);
    let found = precision_recall::compare(real.view(), collapsed.view(), 3).unwrap();
    assert!(found.precision(found.inclusive) > 0.99 && found.recall(found.inclusive) < 0.01);
}

#[test]
fn what_no_measure_can_take_is_an_error() {
    let bad = array![[1.0, f32::NAN], [0.0, 1.0]];
    let good = random("good", 5, 2);
    assert!(Gaussian::of(bad.view()).is_err());
    assert!(Gaussian::of(good.slice(s![..1, ..])).is_err());
    assert!(Accumulator::new(0).is_err());
    let wide = Gaussian::of(random("wide", 5, 3).view()).unwrap();
    assert!(frechet::distance(&Gaussian::of(good.view()).unwrap(), &wide).is_err());
    assert!(kid::subsets(5, 5, 1, 6).unwrap_err().to_string().contains("smaller subsets"));
    assert!(kid::distance(good.view(), good.view(), &[]).is_err());
    assert!(fd_infinity::sizes(5, 5, 15).is_err());
    assert!(precision_recall::compare(good.view(), good.view(), 5).is_err());
    assert!(precision_recall::compare(good.view(), bad.view(), 1).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_frechet_distance_is_symmetric_not_negative_and_blind_to_the_order_of_pictures(
        seed in 0_u64..1000,
        width in 1_usize..12,
        rows in 2_usize..40,
    ) {
        let set = |name: &str| random(&format!("{name}{seed}"), rows, width);
        let (x, y) = (set("x"), set("y"));
        let order = Stream::new("order", seed).permutation(rows);
        let [a, b, c] = [x.clone(), y, x.select(Axis(0), &order)].map(|set| Gaussian::of(set.view()).unwrap());
        let distance = |a: &Gaussian, b: &Gaussian| frechet::distance(a, b).unwrap().distance;
        let scale = a.covariance.diag().sum() + b.covariance.diag().sum();
        prop_assert!(distance(&a, &b) >= 0.0);
        prop_assert!((distance(&a, &b) - distance(&b, &a)).abs() < 1e-9 * scale);
        prop_assert!((distance(&a, &b) - distance(&c, &b)).abs() < 1e-9 * scale);
        prop_assert!(distance(&a, &c) < 1e-9 * scale);
    }
}

#[test]
fn fd_infinity_reads_the_line_off_at_no_pictures_missing() {
    let real = Gaussian::of(random("reference", 4000, 6).view()).unwrap();
    let samples = random("samples", 2000, 6);
    let sizes = fd_infinity::sizes(200, 2000, 10).unwrap();
    let found =
        fd_infinity::extrapolate(&real, samples.view(), &sizes, |k| fd_infinity::order(0, k, 2000)).unwrap();
    // Both are of one distribution: the distance of few is bias alone, and falls with 1/N.
    assert!(found.slope > 0.0 && found.distance < found.distances[0], "{found:?}");
    let again =
        fd_infinity::extrapolate(&real, samples.view(), &sizes, |k| fd_infinity::order(0, k, 2000)).unwrap();
    assert_eq!(found, again);
}
