//! The features and logits of the golden cases, made from their recipes.
//!
//! Everything lies on a grid of 1/4096, on which sums and products are exact: any order gives the same bits.

use ndarray::{Array2, ArrayView2, Axis, s};
use serde_json::Value;
use var_tokenizer::files::sha256;
use var_tokenizer::random::Stream;

/// Most rows and columns that a recipe may ask for; a damaged manifest must not exhaust the memory.
const MOST_ROWS: u64 = 1 << 17;
const MOST_COLUMNS: u64 = 1 << 12;

type Result<T> = std::result::Result<T, String>;

/// Both sets of a case, whose recipes stand in `input` under `names`; the second may be the first again, or copies
/// of its rows. `sums` are the SHA-256 of their bytes.
pub(super) fn pair(
    input: &Value,
    names: [&str; 2],
    sums: [&Value; 2],
    seed: u64,
) -> Result<[Array2<f32>; 2]> {
    let first = features(&input[names[0]], seed)?;
    let second = match &input[names[1]] {
        Value::String(text) if *text == format!("same as {}", names[0]) => first.clone(),
        recipe if recipe["recipe"] == "copies" => copies(recipe, seed, first.view())?,
        recipe => features(recipe, seed)?,
    };
    same_bytes(&first, sums[0])?;
    same_bytes(&second, sums[1])?;
    Ok([first, second])
}

/// Features `[N, D]` of the recipe `input`.
fn features(input: &Value, seed: u64) -> Result<Array2<f32>> {
    match input["recipe"].as_str() {
        Some("features") => mixed(input, seed),
        Some("modes") => modes(input, seed),
        _ => Err(format!("unknown recipe {}", input["recipe"])),
    }
}

/// Features that are rows of `real` again: recipe `copies`.
fn copies(input: &Value, seed: u64, real: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
    let (name, n) = (text(input, "name")?, whole(input, "n", MOST_ROWS)?);
    let pool = whole(input, "pool", real.nrows() as u64)?;
    let stream = Stream::new(&format!("{name}/pick"), seed);
    let rows: Vec<usize> = (0..n).map(|i| stream.below(i as u64, pool as u64) as usize).collect();
    Ok(real.select(Axis(0), &rows))
}

/// Logits `[N, C]` of the recipe `logits`.
pub(super) fn logits(input: &Value, seed: u64) -> Result<Array2<f32>> {
    let name = text(input, "name")?;
    let (n, c) = (whole(input, "n", MOST_ROWS)?, whole(input, "c", MOST_COLUMNS)?);
    let classes = whole(input, "classes", c as u64)?;
    let (temperature, peak) = (float(input, "temperature", 1.0)?, float(input, "peak", 0.0)?);
    let (values, class) = (stream(name, "logits", seed), stream(name, "class", seed));
    Ok(Array2::from_shape_fn((n, c), |(i, j)| {
        let own = class.below(i as u64, classes as u64) as usize;
        let raised = if own == j { peak } else { 0.0 };
        (normal(&values, i * c + j) * temperature + raised) as f32
    }))
}

/// The numbers below `count`, ordered by the words of the stream `name`.
pub(super) fn permutation(name: &str, seed: u64, count: usize) -> Vec<usize> {
    let stream = Stream::new(name, seed);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&index| stream.word(index as u64));
    order
}

/// Fails unless the little-endian bytes of `values` have the SHA-256 `expected`.
pub(super) fn same_bytes(values: &Array2<f32>, expected: &Value) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let found = sha256(&bytes);
    if *expected == found.as_str() {
        Ok(())
    } else {
        Err(format!("input: SHA-256 {found}, expected {expected}"))
    }
}

/// Recipe `features`: X = Z A + b, then the operations in order.
fn mixed(input: &Value, seed: u64) -> Result<Array2<f32>> {
    let name = text(input, "name")?;
    let mix = input["mix"].as_str().unwrap_or(name);
    let (n, d) = (whole(input, "n", MOST_ROWS)?, whole(input, "d", MOST_COLUMNS)?);
    let (diag, gain) = (float(input, "diag", 0.5)?, float(input, "gain", 0.125)?);
    let (bias, offset) = (float(input, "bias", 0.25)?, float(input, "offset", 0.0)?);
    let z = normals(&stream(name, "Z", seed), n, d, 1.0);
    let mut a = normals(&stream(mix, "A", seed), d, d, gain);
    a.diag_mut().map_inplace(|x| *x += diag);
    let shift = normals(&stream(mix, "b", seed), 1, d, bias);
    let mut x = (z.dot(&a) + &shift + offset).mapv(|x| x as f32);
    for operation in input["ops"].as_array().into_iter().flatten() {
        let half = d / 2;
        match operation.as_str() {
            Some("relu") => x.mapv_inplace(|x| x.max(0.0)),
            Some("dup") => {
                let first = x.slice(s![.., ..d - half]).to_owned();
                x.slice_mut(s![.., half..]).assign(&first);
            }
            Some("neardup") => {
                let noise = normals(&stream(name, "E", seed), n, half, 1.0);
                for ((i, j), noise) in noise.indexed_iter() {
                    x[[i, half + j]] = (f64::from(x[[i, j]]) + noise / f64::from(1 << 20)) as f32;
                }
            }
            Some("const") => x.column_mut(d - 1).fill(1.5),
            _ => return Err(format!("unknown operation {operation}")),
        }
    }
    Ok(x)
}

/// Recipe `modes`: rows scattered around a few centres.
fn modes(input: &Value, seed: u64) -> Result<Array2<f32>> {
    let name = text(input, "name")?;
    let (n, d) = (whole(input, "n", MOST_ROWS)?, whole(input, "d", MOST_COLUMNS)?);
    let (k, spread) = (whole(input, "k", MOST_ROWS)?, float(input, "spread", 0.0)?);
    let centres = normals(&stream(name, "C", seed), k, d, 1.0);
    let noise = normals(&stream(name, "E", seed), n, d, 1.0);
    let pick = stream(name, "pick", seed);
    Ok(Array2::from_shape_fn((n, d), |(i, j)| {
        let centre = pick.below(i as u64, k as u64) as usize;
        (centres[[centre, j]] + spread * noise[[i, j]]) as f32
    }))
}

/// Normal numbers times `factor`, on the grid.
fn normals(stream: &Stream, rows: usize, columns: usize, factor: f64) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        (factor * normal(stream, i * columns + j) * 4096.0).round_ties_even() / 4096.0
    })
}

/// Normal number `index` of a stream, which is rounded to `f32`.
fn normal(stream: &Stream, index: usize) -> f64 {
    stream.portable_normal(index as u64)
}

fn stream(name: &str, part: &str, seed: u64) -> Stream {
    Stream::new(&format!("{name}/{part}"), seed)
}

fn text<'a>(input: &'a Value, key: &str) -> Result<&'a str> {
    input[key].as_str().ok_or_else(|| format!("recipe: no text '{key}'"))
}

fn whole(input: &Value, key: &str, limit: u64) -> Result<usize> {
    let found = input[key].as_u64().filter(|n| (1..=limit).contains(n));
    found.map(|n| n as usize).ok_or_else(|| format!("recipe: '{key}' is no whole number from 1 to {limit}"))
}

fn float(input: &Value, key: &str, usual: f64) -> Result<f64> {
    match &input[key] {
        Value::Null => Ok(usual),
        value => value.as_f64().ok_or_else(|| format!("recipe: '{key}' is no number")),
    }
}
