//! Measures of sets at the width of Inception's features: statistics and their Fréchet distance, precision, recall,
//! density and coverage of N generated and N real pictures, a subset of KID, and the interval of a mean.
//! `VAR_BENCH_PICTURES` sets N.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array2;
use var_eval::metrics::bootstrap::Bootstrap;
use var_eval::metrics::{frechet, kid, precision_recall};
use var_eval::statistics::Gaussian;
use var_tokenizer::random::Stream;
use var_tokenizer::torch;

const WIDTH: usize = 2048;

fn sets(c: &mut Criterion) {
    torch::start();
    let count = std::env::var("VAR_BENCH_PICTURES").ok().map_or(2000, |text| text.parse().unwrap());
    let features = |name: &str| {
        let stream = Stream::new(name, 1);
        let value = |(i, j): (usize, usize)| stream.portable_normal((i * WIDTH + j) as u64) as f32;
        Array2::from_shape_fn((count, WIDTH), value)
    };
    let (real, generated) = (features("real"), features("generated"));
    let mut group = c.benchmark_group("sets");
    group.sample_size(10);
    group.bench_function(format!("precision and recall, {count} × {count}"), |b| {
        b.iter(|| precision_recall::compare(real.view(), generated.view(), 3).unwrap());
    });
    group.bench_function(format!("mean and covariance, {count}"), |b| {
        b.iter(|| Gaussian::of(real.view()).unwrap())
    });
    let [a, b] = [&real, &generated].map(|set| Gaussian::of(set.view()).unwrap());
    group.bench_function(format!("Fréchet distance of {count} and {count}"), |bench| {
        bench.iter(|| frechet::distance(&a, &b).unwrap());
    });
    let subsets = kid::subsets(count, count, 1, kid::SUBSET_SIZE.min(count)).unwrap();
    group.bench_function("one subset of KID", |b| {
        b.iter(|| kid::distance(generated.view(), real.view(), &subsets).unwrap());
    });
    let values: Vec<f64> = real.column(0).iter().map(|&x| f64::from(x)).collect();
    group.bench_function(format!("interval of a mean, {count}, 1000 draws"), |b| {
        b.iter(|| Bootstrap::default().mean(black_box(&values)).unwrap());
    });
    group.finish();
}

criterion_group!(benches, sets);
criterion_main!(benches);
