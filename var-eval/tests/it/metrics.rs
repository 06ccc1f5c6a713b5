//! Measures of sets against the published tools, where the golden numbers lie beside the clone.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView2, array, s};
use serde_json::Value;
use var_eval::metrics::numpy_random::RandomState;
use var_eval::metrics::{accuracy, frechet, inception_score, kid, precision_recall};
use var_eval::statistics::{Accumulator, Gaussian};
use var_tokenizer::random::Stream;

/// The manifest of `group` in `VAR_EVAL_GOLDEN`, or beside the clone; nothing where there is none.
fn manifest(group: &str) -> Option<Value> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden/eval");
    let folder = std::env::var_os("VAR_EVAL_GOLDEN").map_or_else(beside, PathBuf::from);
    let text = std::fs::read_to_string(folder.join(group).join("manifest.json")).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

fn normals(name: &str, seed: u64, rows: usize, columns: usize) -> Array2<f64> {
    let stream = Stream::new(name, seed);
    Array2::from_shape_fn((rows, columns), |(i, j)| stream.portable_normal((i * columns + j) as u64))
}

fn grid(x: f64) -> f64 {
    (x * 4096.0).round_ties_even() / 4096.0
}

/// The recipes of features.
fn features(input: &Value, seed: u64) -> Array2<f32> {
    let name = input["name"].as_str().unwrap();
    let size = |key: &str| input[key].as_u64().unwrap() as usize;
    let real = |key: &str, default: f64| input[key].as_f64().unwrap_or(default);
    let (n, d) = (size("n"), size("d"));
    if input["recipe"] == "modes" {
        let centres = normals(&format!("{name}/C"), seed, size("k"), d).mapv(grid);
        let noise = normals(&format!("{name}/E"), seed, n, d).mapv(grid);
        let pick = Stream::new(&format!("{name}/pick"), seed);
        let spread = real("spread", 0.0);
        return Array2::from_shape_fn((n, d), |(i, j)| {
            (centres[[pick.below(i as u64, size("k") as u64) as usize, j]] + spread * noise[[i, j]]) as f32
        });
    }
    assert_eq!(input["recipe"], "features");
    let mix = input["mix"].as_str().unwrap_or(name);
    let z = normals(&format!("{name}/Z"), seed, n, d).mapv(grid);
    let a = normals(&format!("{mix}/A"), seed, d, d).mapv(|x| grid(x * real("gain", 0.125)));
    let a = a + Array2::<f64>::eye(d) * real("diag", 0.5);
    let b =
        normals(&format!("{mix}/b"), seed, 1, d).mapv(|x| grid(x * real("bias", 0.25)) + real("offset", 0.0));
    let mut x = (z.dot(&a) + b).mapv(|x| x as f32);
    let half = d / 2;
    for op in input["ops"].as_array().into_iter().flatten() {
        let left = x.slice(s![.., ..d - half]).to_owned();
        match op.as_str().unwrap() {
            "relu" => x.mapv_inplace(|x| x.max(0.0)),
            "dup" => x.slice_mut(s![.., half..]).assign(&left),
            "neardup" => {
                let e = normals(&format!("{name}/E"), seed, n, d - half);
                let near = ndarray::Zip::from(&left)
                    .and(&e)
                    .map_collect(|&x, &e| (f64::from(x) + grid(e) * 2.0_f64.powi(-20)) as f32);
                x.slice_mut(s![.., half..]).assign(&near);
            }
            "const" => x.column_mut(d - 1).fill(1.5),
            other => panic!("{other}"),
        }
    }
    x
}

/// The inputs `first` and `second` of a case.
fn pair(case: &Value, first: &str, second: &str, seed: u64) -> (Array2<f32>, Array2<f32>) {
    let a = features(&case["input"][first], seed);
    let b = match &case["input"][second] {
        Value::String(_) => a.clone(),
        copies if copies["recipe"] == "copies" => {
            let pick = Stream::new(&format!("{}/pick", copies["name"].as_str().unwrap()), seed);
            let pool = copies["pool"].as_u64().unwrap();
            let rows: Vec<usize> =
                (0..copies["n"].as_u64().unwrap()).map(|i| pick.below(i, pool) as usize).collect();
            a.select(ndarray::Axis(0), &rows)
        }
        input => features(input, seed),
    };
    (a, b)
}

fn random(name: &str, n: usize, d: usize) -> Array2<f32> {
    normals(name, 3, n, d).mapv(|x| x as f32)
}

#[test]
fn frechet_distances_equal_the_exact_ones_and_the_f64_tools() {
    let Some(manifest) = manifest("frechet") else { return };
    let seed = manifest["seed"].as_u64().unwrap();
    for case in manifest["cases"].as_array().unwrap() {
        let (a, b) = pair(case, "a", "b", seed);
        let gaussians = [&a, &b].map(|x| Gaussian::of(x.view()).unwrap());
        let scale = case["trace_sum"].as_f64().unwrap();
        let expected = |key: &str| case["expected"][key].as_f64().unwrap();
        let there = frechet::distance(&gaussians[0], &gaussians[1]).unwrap();
        let back = frechet::distance(&gaussians[1], &gaussians[0]).unwrap();
        let data = frechet::distance_of_samples(a.view(), b.view()).unwrap();
        for found in [&there, &back, &data] {
            let error = (found.distance - expected("best")).abs() / scale;
            assert!(error <= 1e-9, "{} {:?}: {error}", case["id"], found.route);
            for tool in ["pytorch_fid", "torch_fidelity_f64"] {
                assert!((found.distance - expected(tool)).abs() <= 2e-8 * scale, "{} {tool}", case["id"]);
            }
        }
        let singular = case["id"].as_str().unwrap().contains("singular");
        assert!(!singular || !there.warnings.is_empty(), "{}", case["id"]);
    }
}

#[test]
fn kid_equals_torch_fidelity_with_its_own_draws() {
    let Some(manifest) = manifest("kid") else { return };
    for case in manifest["cases"].as_array().unwrap() {
        let (a, b) = pair(case, "a", "b", manifest["seed"].as_u64().unwrap());
        let size = |key: &str| case["input"][key].as_u64().unwrap() as usize;
        let found = kid::torch_fidelity(a.view(), b.view(), size("subsets"), size("subset_size")).unwrap();
        let expected = &case["expected"]["torch_fidelity_own_rng_seed2020_f64"];
        for (found, expected) in [found.mean, found.deviation].iter().zip(expected.as_array().unwrap()) {
            let expected = expected.as_f64().unwrap();
            let tolerance = 1e-9 * expected.abs() + case["tolerance"]["f64_abs"].as_f64().unwrap();
            assert!((found - expected).abs() <= tolerance, "{}: {found} {expected}", case["id"]);
        }
    }
}

#[test]
fn inception_scores_equal_torch_fidelity_and_adm() {
    let Some(manifest) = manifest("is") else { return };
    let seed = manifest["seed"].as_u64().unwrap();
    for case in manifest["cases"].as_array().unwrap() {
        let input = &case["input"];
        let size = |key: &str| input[key].as_u64().unwrap() as usize;
        let name = input["name"].as_str().unwrap();
        let temperature = input["temperature"].as_f64().unwrap();
        let mut x = normals(&format!("{name}/logits"), seed, size("n"), size("c")) * temperature;
        let class = Stream::new(&format!("{name}/class"), seed);
        for (i, mut row) in x.rows_mut().into_iter().enumerate() {
            row[class.below(i as u64, size("classes") as u64) as usize] += input["peak"].as_f64().unwrap();
        }
        let x = x.mapv(|x| x as f32);
        let order: Vec<usize> = (0..size("n")).collect();
        let shuffled = inception_score::torch_fidelity(x.view()).unwrap();
        let plain = inception_score::splits(x.view(), &order, 10).unwrap();
        let adm = inception_score::adm(x.view()).unwrap();
        let expected = &case["expected"];
        for (found, expected) in [
            (shuffled.mean, &expected["torch_fidelity_shuffle_seed2020"][0]),
            (shuffled.deviation, &expected["torch_fidelity_shuffle_seed2020"][1]),
            (plain.mean, &expected["torch_fidelity_noshuffle"][0]),
            (plain.deviation, &expected["torch_fidelity_noshuffle"][1]),
            (adm.mean, &expected["adm_f64_mean"]),
        ] {
            // A deviation is a difference of scores: its digits are theirs.
            let tolerance = 1e-10 * plain.mean;
            assert!(
                (found - expected.as_f64().unwrap()).abs() <= tolerance,
                "{}: {found} {expected}",
                case["id"]
            );
        }
    }
}

#[test]
fn precision_and_recall_count_exactly() {
    let Some(manifest) = manifest("prc") else { return };
    for case in manifest["cases"].as_array().unwrap() {
        let (real, generated) = pair(case, "real", "gen", manifest["seed"].as_u64().unwrap());
        for k in [3, 5] {
            let found = precision_recall::compare(real.view(), generated.view(), k).unwrap();
            for (counts, key) in [(found.strict, "strict"), (found.inclusive, "nonstrict")] {
                let expected = &case["expected"][format!("exact_k{k}_counts_{key}")];
                let counts = [
                    ("precision", counts.precise),
                    ("recall", counts.recalled),
                    ("density_sum", counts.inside),
                    ("coverage", counts.covered),
                ];
                for (name, count) in counts {
                    assert_eq!(Some(count), expected[name].as_u64(), "{} k {k} {key} {name}", case["id"]);
                }
            }
        }
    }
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
    let mut halves = [Accumulator::new(7).unwrap(), Accumulator::new(7).unwrap()];
    halves[0].push(x.slice(s![..900, ..])).unwrap();
    halves[1].push(x.slice(s![900.., ..])).unwrap();
    let [mut first, second] = halves;
    first.merge(second).unwrap();
    let merged = first.finish().unwrap();
    assert_eq!(merged.count, Some(2500));
    assert!((&merged.covariance - &whole.covariance).iter().all(|x| x.abs() < 1e-14));
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
fn a_label_is_among_the_first_guesses_or_not() {
    let logits = array![[0.0, 3.0, 1.0, 2.0, 5.0, 4.0], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]];
    let found = accuracy::accuracy(logits.view(), &[0, 0]).unwrap();
    assert_eq!((found.top1, found.top5), (0.5, 0.5));
    assert!(accuracy::accuracy(logits.view(), &[0, 6]).is_err());
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
    assert!(kid::torch_fidelity(good.view(), good.view(), 1, 6).is_err());
    assert!(inception_score::torch_fidelity(good.view()).is_err());
    assert!(precision_recall::compare(good.view(), good.view(), 5).is_err());
    assert!(precision_recall::compare(good.view(), bad.view(), 1).is_err());
}
