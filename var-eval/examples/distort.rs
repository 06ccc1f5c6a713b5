//! Writes distorted copies of a set of pictures, to see what a metric makes of them.
//!
//! ```sh
//! cargo run --release -p var-eval --example distort -- cifar10/test.tar noise:20 out/noise20
//! ```
//!
//! Kinds: `noise:SIGMA` (Gaussian, in grey levels), `blur:SIGMA` (Gaussian, in pixels), `classes:N` (the first N
//! classes alone), `first:N` (the first N pictures of each class).

use std::path::Path;

use image::{RgbImage, imageops};
use rayon::prelude::*;
use var_tokenizer::images::{Source, write_png};
use var_tokenizer::random::Stream;
use var_tokenizer::{Error, Result};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, kind, out] = &arguments[..] else {
        return Err(Error::config("expected: SOURCE KIND:AMOUNT OUT"));
    };
    let amount = kind.split_once(':').and_then(|(kind, amount)| Some((kind, amount.parse::<f64>().ok()?)));
    let (kind, amount) = amount.ok_or_else(|| Error::config(format!("'{kind}' is no KIND:AMOUNT")))?;
    if !["noise", "blur", "classes", "first"].contains(&kind) {
        return Err(Error::config(format!("'{kind}' is not noise, blur, classes or first")));
    }
    let source = Source::open(source)?;
    let mut seen = vec![0_usize; source.classes().len()];
    let mut jobs = Vec::new();
    for (index, entry) in source.entries().iter().enumerate() {
        let class = entry.class as usize;
        let number = seen[class];
        seen[class] += 1;
        let kept = match kind {
            "classes" => (class as f64) < amount,
            "first" => (number as f64) < amount,
            _ => true,
        };
        if kept {
            jobs.push((index, class, number));
        }
    }
    for class in source.classes() {
        std::fs::create_dir_all(Path::new(out).join(class)).map_err(|e| Error::io(out, e))?;
    }
    jobs.par_iter().try_for_each(|&(index, class, number)| {
        let mut picture = source.load(index)?;
        match kind {
            "noise" => add_noise(&mut picture, amount, index as u64),
            "blur" => picture = imageops::blur(&picture, amount as f32),
            _ => {}
        }
        let name = format!("{}/{number:05}.png", source.classes()[class]);
        write_png(&picture, &Path::new(out).join(name))
    })
}

/// Adds independent Gaussian noise of `sigma` grey levels to every sample.
fn add_noise(picture: &mut RgbImage, sigma: f64, index: u64) {
    let stream = Stream::new("distort.noise", 0).at(index);
    for (i, sample) in picture.iter_mut().enumerate() {
        let noise = sigma * stream.normal(i as u64);
        *sample = (f64::from(*sample) + noise).round().clamp(0.0, 255.0) as u8;
    }
}
