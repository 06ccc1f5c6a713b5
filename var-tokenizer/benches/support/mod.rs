//! What the benches of all crates share.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, SamplingMode};
use tch::{Device, Kind};
use var_tokenizer::torch::{Precision, product_peak};

/// `VAR_BENCH_PRECISION`, or what the programs take by default: the faster of the two on this machine.
pub fn kind() -> Kind {
    static KIND: OnceLock<Kind> = OnceLock::new();
    *KIND.get_or_init(|| {
        let asked =
            std::env::var("VAR_BENCH_PRECISION").map_or(Precision::Auto, |text| text.parse().unwrap());
        asked.resolve(Device::Cpu, [4096, 512, 2048]).unwrap()
    })
}

/// The case that `cargo xtask bench --beside` asks for.
pub fn asked() -> Option<String> {
    std::env::var("VAR_BENCH_CASE").ok()
}

/// Whether one of `cases` is to be timed.
pub fn wanted(cases: &[&str]) -> bool {
    asked().is_none_or(|asked| cases.contains(&asked.as_str()))
}

/// Times `work`, and prints its rate (best of three) next to the peak of a matrix product in the same minute. If the
/// comparison asks for `case`, prints the median of five as one JSON object instead.
pub fn time(
    group: &mut BenchmarkGroup<'_, WallTime>,
    (case, name): (&str, &str),
    flops: f64,
    mut work: impl FnMut(),
) {
    if let Some(asked) = asked() {
        if asked == case {
            compare(flops, &mut work);
        }
        return;
    }
    group.sample_size(10).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(5));
    // Inside, so that a bench that was not asked for does not run; criterion calls it more than once.
    let mut first = true;
    group.bench_function(name, |b| {
        if std::mem::take(&mut first) {
            share(name, flops, &mut work);
        }
        b.iter(&mut work);
    });
}

/// Seconds, after a run to warm up.
pub fn median_of_five(work: &mut impl FnMut()) -> f64 {
    work();
    let mut seconds: Vec<f64> = (0..5).map(|_| timed(work)).collect();
    seconds.sort_by(f64::total_cmp);
    seconds[2]
}

fn compare(flops: f64, work: &mut impl FnMut()) {
    let seconds = median_of_five(work);
    let rate = flops / seconds / product_peak(Device::Cpu, kind()).unwrap();
    let precision = if kind() == Kind::BFloat16 { "bf16" } else { "f32" };
    let peak = var_tokenizer::memory::peak().unwrap_or(0.0) as u64;
    println!(
        r#"{{"median_s": {}, "precision": "{precision}", "peak_bytes": {peak}, "share": {rate}}}"#,
        seconds
    );
}

fn timed(work: &mut impl FnMut()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn share(name: &str, flops: f64, work: &mut impl FnMut()) {
    work();
    let peak = product_peak(Device::Cpu, kind()).unwrap();
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        best = best.min(timed(work));
    }
    let rate = flops / best;
    println!(
        "{name}: {:.0} GFLOP/s, {:.0}% of the {:.0} GFLOP/s of a 2048³ product in {:?}",
        rate / 1e9,
        100.0 * rate / peak,
        peak / 1e9,
        kind()
    );
}
