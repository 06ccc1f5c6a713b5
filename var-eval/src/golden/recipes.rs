//! Features, logits and permutations of the golden cases, made from their recipes.
//!
//! All arithmetic is on grids so coarse that each `f64` product and sum is exact: any order of summation, on
//! any machine, gives the same bits. A SHA-256 in the manifest says whether it did.

use ndarray::{Array1, Array2, ArrayView2, Zip};
use serde_json::Value;
use sha2::{Digest, Sha256};
use var_tokenizer::random::Stream;

/// Most rows or columns, and most numbers, that a recipe may ask for; a damaged manifest must not exhaust the
/// memory.
const LONGEST: u64 = 1 << 16;
const MOST_NUMBERS: usize = 1 << 24;
/// Widest mixing matrix, which is square.
const WIDEST_MIX: usize = 1 << 11;

type Result<T> = std::result::Result<T, String>;

/// The matrix `[N, D]` that `input` describes: recipe `features`, `modes` or `logits`.
///
/// # Errors
/// When the recipe is another one, or a key of it is missing or out of range.
pub(super) fn features(input: &Value, seed: u64) -> Result<Array2<f32>> {
    match input["recipe"].as_str() {
        Some("features") => mixed(input, seed),
        Some("modes") => modes(input, seed),
        Some("logits") => logits(input, seed),
        _ => Err(format!("unknown recipe {}", input["recipe"])),
    }
}

/// Two sets of a case: the second may be `"same as …"` or the recipe `copies` of the first.
///
/// # Errors
/// As [`features`] and [`copies`].
pub(super) fn pair(first: &Value, second: &Value, seed: u64) -> Result<(Array2<f32>, Array2<f32>)> {
    let a = features(first, seed)?;
    let b = if second.as_str().is_some_and(|text| text.starts_with("same as ")) {
        a.clone()
    } else if second["recipe"] == "copies" {
        copies(second, a.view(), seed)?
    } else {
        features(second, seed)?
    };
    Ok((a, b))
}

/// Recipe `copies`: rows of `source`, drawn from its first `pool`, bit for bit.
///
/// # Errors
/// When a key is missing, or the pool is larger than `source`.
pub(super) fn copies(input: &Value, source: ArrayView2<'_, f32>, seed: u64) -> Result<Array2<f32>> {
    let (rows, pool) = (whole(input, "n")?, whole(input, "pool")?);
    if pool > source.nrows() {
        return Err(format!("recipe: 'pool' is {pool}, but there are {} rows", source.nrows()));
    }
    shape(rows, source.ncols())?;
    let pick = Stream::new(&format!("{}/pick", text(input, "name")?), seed);
    let rows: Vec<usize> = (0..rows as u64).map(|i| pick.below(i, pool as u64) as usize).collect();
    Ok(source.select(ndarray::Axis(0), &rows))
}

/// Recipe `permutation`: 0 to `count` − 1 in the order of the stream's words.
pub(super) fn permutation(name: &str, count: usize, seed: u64) -> Vec<usize> {
    let stream = Stream::new(name, seed);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&i| stream.word(i as u64));
    order
}

/// Fails unless the bytes of `matrix` (little-endian `f32`, C order), called `what`, have the SHA-256
/// `expected`.
///
/// # Errors
/// When they have not: the recipe was followed wrongly, and no measure can be right.
pub(super) fn check_sha256(what: &str, matrix: ArrayView2<'_, f32>, expected: &Value) -> Result<()> {
    let found = sha256(matrix);
    let expected = expected.as_str().unwrap_or("missing");
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: SHA-256 {found}, expected {expected}"))
}

fn sha256(matrix: ArrayView2<'_, f32>) -> String {
    let bytes: Vec<u8> = matrix.iter().flat_map(|x| x.to_le_bytes()).collect();
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// Recipe `features`: Z A + b with Z standard normal and A near a multiple of the identity, then `ops`.
fn mixed(input: &Value, seed: u64) -> Result<Array2<f32>> {
    let name = text(input, "name")?;
    let mix = if input["mix"].is_null() { name } else { text(input, "mix")? };
    let (rows, width) = shape(whole(input, "n")?, whole(input, "d")?)?;
    if width > WIDEST_MIX {
        return Err(format!("recipe: 'd' is {width}, more than {WIDEST_MIX}"));
    }
    let (diagonal, gain) = (real(input, "diag", 0.5)?, real(input, "gain", 0.125)?);
    let (bias, offset) = (real(input, "bias", 0.25)?, real(input, "offset", 0.0)?);
    let mut matrix = normals(&format!("{mix}/A"), seed, (width, width)).mapv(|x| grid(gain * x));
    matrix.diag_mut().mapv_inplace(|x| diagonal + x);
    let shift = Stream::new(&format!("{mix}/b"), seed);
    let shift: Array1<f64> =
        (0..width as u64).map(|i| offset + grid(bias * shift.portable_normal(i))).collect();
    let normal = normals(&format!("{name}/Z"), seed, (rows, width)).mapv(grid);
    let mut features = (normal.dot(&matrix) + shift).mapv(|x| x as f32);
    for op in input["ops"].as_array().unwrap_or(&Vec::new()) {
        apply(op.as_str().unwrap_or("?"), &mut features, name, seed)?;
    }
    Ok(features)
}

/// One of the `ops` of recipe `features`.
fn apply(op: &str, features: &mut Array2<f32>, name: &str, seed: u64) -> Result<()> {
    let (rows, width) = features.dim();
    let half = width / 2;
    if matches!(op, "dup" | "neardup") && width % 2 == 1 {
        return Err(format!("recipe: '{op}' needs an even 'd'"));
    }
    match op {
        "relu" => features.mapv_inplace(|x| x.max(0.0)),
        "dup" => {
            let (left, mut right) = features.view_mut().split_at(ndarray::Axis(1), half);
            right.assign(&left);
        }
        "neardup" => {
            let noise = normals(&format!("{name}/E"), seed, (rows, half)).mapv(grid);
            let (left, mut right) = features.view_mut().split_at(ndarray::Axis(1), half);
            Zip::from(&mut right).and(&left).and(&noise).for_each(|right, &left, &noise| {
                *right = (f64::from(left) + noise / 1_048_576.0) as f32;
            });
        }
        "const" => features.column_mut(width - 1).fill(1.5),
        _ => return Err(format!("recipe: unknown op '{op}'")),
    }
    Ok(())
}

/// Recipe `modes`: noise around `k` centres.
fn modes(input: &Value, seed: u64) -> Result<Array2<f32>> {
    let name = text(input, "name")?;
    let (rows, width) = shape(whole(input, "n")?, whole(input, "d")?)?;
    let (centres, spread) = (whole(input, "k")?, real(input, "spread", 0.0)?);
    shape(centres, width)?;
    let centre = normals(&format!("{name}/C"), seed, (centres, width)).mapv(grid);
    let noise = normals(&format!("{name}/E"), seed, (rows, width)).mapv(grid);
    let pick = Stream::new(&format!("{name}/pick"), seed);
    Ok(Array2::from_shape_fn((rows, width), |(i, j)| {
        let centre = centre[[pick.below(i as u64, centres as u64) as usize, j]];
        (centre + spread * noise[[i, j]]) as f32
    }))
}

/// Recipe `logits`: normal, with a peak at a random class of each row.
fn logits(input: &Value, seed: u64) -> Result<Array2<f32>> {
    let name = text(input, "name")?;
    let (rows, width) = shape(whole(input, "n")?, whole(input, "c")?)?;
    let (temperature, peak) = (real(input, "temperature", 1.0)?, real(input, "peak", 0.0)?);
    let classes = whole(input, "classes")?.min(width);
    let mut logits = normals(&format!("{name}/logits"), seed, (rows, width)).mapv(|x| x * temperature);
    let class = Stream::new(&format!("{name}/class"), seed);
    for (i, mut row) in (0..).zip(logits.rows_mut()) {
        row[class.below(i, classes as u64) as usize] += peak;
    }
    Ok(logits.mapv(|x| x as f32))
}

fn normals(name: &str, seed: u64, shape: (usize, usize)) -> Array2<f64> {
    let stream = Stream::new(name, seed);
    Array2::from_shape_fn(shape, |(i, j)| stream.portable_normal((i * shape.1 + j) as u64))
}

/// The nearest multiple of 2⁻¹², halves to even.
fn grid(x: f64) -> f64 {
    (x * 4096.0).round_ties_even() / 4096.0
}

fn text<'a>(input: &'a Value, key: &str) -> Result<&'a str> {
    input[key].as_str().ok_or(format!("recipe: no text '{key}'"))
}

/// A number; `default` where the key is missing.
fn real(input: &Value, key: &str, default: f64) -> Result<f64> {
    let value = &input[key];
    if value.is_null() { Some(default) } else { value.as_f64() }
        .ok_or(format!("recipe: '{key}' is no number: {value}"))
}

fn whole(input: &Value, key: &str) -> Result<usize> {
    let found = input[key].as_u64().filter(|n| (1..=LONGEST).contains(n)).map(|n| n as usize);
    found.ok_or(format!("recipe: '{key}' is no whole number from 1 to {LONGEST}"))
}

fn shape(rows: usize, columns: usize) -> Result<(usize, usize)> {
    match rows.checked_mul(columns) {
        Some(count) if count <= MOST_NUMBERS => Ok((rows, columns)),
        _ => Err(format!("recipe: {rows} × {columns} numbers, more than {MOST_NUMBERS}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hash(input: &Value) -> String {
        sha256(features(input, 1).unwrap().view())
    }

    #[test]
    fn matrices_of_every_recipe_have_the_sha256_of_their_manifest() {
        let plain = |name: &str, n: u64, d: u64| json!({"recipe": "features", "name": name, "n": n, "d": d});
        let with = |mut input: Value, more: Value| {
            more.as_object().unwrap().iter().for_each(|(key, value)| input[key] = value.clone());
            input
        };
        let frechet = |case: &str, n: u64, more: Value| {
            with(with(plain(&format!("frechet/{case}/a"), n, 8), json!({"gain": 0.25})), more)
        };
        for (input, expected) in [
            (
                plain("prc/d16_n200/real", 200, 16),
                "9942877fc967501f10446437f038f23586a6d71460f585935fd20d12ed10a80b",
            ),
            (
                with(plain("prc/d16_n500_n300_shifted/gen", 300, 16), json!({"diag": 0.375, "offset": 0.5})),
                "4f8d21d2a84be18951be216ecf7905c74d89c3c3ea6e6772ec2bc0eadf95ec30",
            ),
            (
                with(
                    plain("prc/d64_n400_same_distribution/gen", 500, 64),
                    json!({"mix": "prc/d64_n400_same_distribution/real"}),
                ),
                "8912e560bd6a486fc45083533714f013f9aada28b373cd33d4fe1d9dd78ea418",
            ),
            (
                with(
                    plain("prc/d64_n1000_collapsed/gen", 1000, 64),
                    json!({"recipe": "modes", "k": 6, "spread": 0.0625}),
                ),
                "b6bec3e6de35bb91f21f8d074c588673f8051b91148e3d9d4b602ba939c1b997",
            ),
            (
                json!({"recipe": "logits", "name": "is/n997_c1008_odd", "n": 997, "c": 1008, "temperature": 1.0,
                    "peak": 10.0, "classes": 40}),
                "7fb22c7e25200c2a8e44690e3c97da3ac71b0fad618badef4351150c56ce1f81",
            ),
            (
                frechet("d8_dup", 60, json!({"ops": ["dup"]})),
                "4807f9fc863439b03ca8cfc0ad601521278c0e435fe27dfbc5dfef629b030f19",
            ),
            (
                frechet("d8_const", 60, json!({"ops": ["const"]})),
                "09cffa4746a294fe03d4b885257d6b646ff54bf8118f5a76743b5cfd272c181a",
            ),
            (
                frechet("d8_neardup", 80, json!({"ops": ["neardup"]})),
                "b4c618054b49eda271644657e027e2c491c2dea069e08eb596a17cfd56299bfe",
            ),
            (
                with(plain("kid/d256_relu/a", 600, 256), json!({"gain": 0.0625, "ops": ["relu"]})),
                "e44830522b28a5b8402d0ea2c5becde13f4d35b0a881a3dacfa51181f4d9d5f7",
            ),
        ] {
            assert_eq!(hash(&input), expected, "{input}");
        }
    }

    #[test]
    fn copies_have_the_sha256_of_their_manifest_and_the_same_set_is_the_same() {
        let real = json!({"recipe": "features", "name": "prc/d16_n400_copies/real", "n": 400, "d": 16});
        let copies = json!({"recipe": "copies", "name": "prc/d16_n400_copies/gen", "n": 400, "pool": 120});
        let (a, b) = pair(&real, &copies, 1).unwrap();
        let expected = json!("dfe437b2fda35edd81ecf1aa7bea3a62dfc4da18778c31f14bb219eac0aa87b5");
        check_sha256("copies", b.view(), &expected).unwrap();
        assert!(
            check_sha256("copies", a.view(), &expected).unwrap_err().starts_with("copies: SHA-256 09a72872")
        );
        let (a, b) = pair(&real, &json!("same as real"), 1).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn a_permutation_follows_the_words() {
        let order = permutation("x", 50, 1);
        let words: Vec<u64> = order.iter().map(|&i| Stream::new("x", 1).word(i as u64)).collect();
        assert!(words.is_sorted());
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_recipes_are_errors() {
        let good = json!({"recipe": "features", "name": "x", "n": 4, "d": 4});
        assert!(features(&good, 1).is_ok());
        for (key, value) in [
            ("recipe", json!("?")),
            ("name", json!(1)),
            ("n", json!(0)),
            ("n", json!(u64::MAX)),
            ("d", json!(60_000)),
            ("d", json!(-1)),
            ("diag", json!("x")),
            ("ops", json!(["?"])),
            ("mix", json!(3)),
        ] {
            let mut input = good.clone();
            input[key] = value;
            assert!(features(&input, 1).is_err(), "{input}");
        }
        let copies = json!({"recipe": "copies", "name": "x", "n": 4, "pool": 5});
        assert!(pair(&good, &copies, 1).is_err());
    }
}
