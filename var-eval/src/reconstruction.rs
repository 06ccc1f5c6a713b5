//! A set of reconstructions against their originals, and the report of it.

use std::fmt;
use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use serde::{Serialize, Serializer};
use var_tokenizer::progress::Progress;

use crate::error::{Error, Result};
use crate::inputs::pixels::{PixelRule, TraitCounts, bits};
use crate::inputs::{Pair, Picture, pairs};
use crate::metrics::lpips::{Lpips, LpipsStamp};
use crate::metrics::ssim::{self, Downsampling};
use crate::metrics::{DATA_RANGE, psnr};
use crate::report::digits;
use crate::warnings::{self, Code, Side, Warning};

/// Pairs that are in memory at once.
const CHUNK: usize = 64;

/// What was measured and how: everything that somebody needs to measure the same again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Protocol {
    /// Name and version of this program.
    pub program: String,
    /// Folder of the originals.
    pub reference: PathBuf,
    /// Folder of what was scored.
    pub samples: PathBuf,
    /// How pictures were paired.
    pub matched_by: &'static str,
    /// What files were read as.
    pub pixels: &'static str,
    /// Width and height of the picture with the fewest pixels.
    pub smallest: (usize, usize),
    /// Width and height of the picture with the most pixels.
    pub largest: (usize, usize),
    /// Largest value of a sample: the peak of PSNR and the data range of SSIM.
    pub data_range: f64,
    /// How the set's figures come from those of its pictures.
    pub mean_over: &'static str,
    /// Kind of SSIM's window.
    pub ssim_window: &'static str,
    /// Side of SSIM's window in pixels.
    pub ssim_taps: usize,
    /// Standard deviation of SSIM's window in pixels.
    pub ssim_sigma: f64,
    /// SSIM's K1.
    pub ssim_k1: f64,
    /// SSIM's K2.
    pub ssim_k2: f64,
    /// Where SSIM's window was put.
    pub ssim_positions: &'static str,
    /// What was done to the pictures before SSIM.
    pub ssim_downsampling: &'static str,
    /// Network and heads of LPIPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lpips: Option<LpipsStamp>,
}

/// The figures of a set. Only [`score`] makes one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Pairs of pictures.
    pub n: usize,
    /// Mean PSNR in decibels; infinite (in JSON the text `inf`) as soon as one pair is identical.
    #[serde(serialize_with = "finite_or_text")]
    pub psnr_db: f64,
    /// Mean SSIM.
    pub ssim: f64,
    /// Mean LPIPS, where its files were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lpips: Option<f64>,
    /// Pairs that are identical byte for byte.
    pub identical: usize,
    /// What makes the figures doubtful.
    pub warnings: Vec<Warning>,
    /// How it was measured.
    pub protocol: Protocol,
}

/// Scores the pictures of folder `samples` against those of the same name in `reference`, by `lpips` too where it
/// is given. `rule` says how pixels are read. PSNR and SSIM are shared among all cores; the answer does not depend on how many there are.
///
/// # Errors
/// When the folders do not hold the same names, or a picture cannot be read, differs in size from its
/// partner or is too small for SSIM's window or LPIPS's network; the error names it.
pub fn score(
    reference: &Path,
    samples: &Path,
    rule: PixelRule,
    downsampling: Downsampling,
    lpips: Option<&Lpips>,
    progress: &mut Progress,
) -> Result<Report> {
    let pairs = pairs(reference, samples)?;
    let mut scores = Vec::with_capacity(pairs.len());
    let mut distances = Vec::new();
    progress.start(0, pairs.len() as u64);
    for chunk in pairs.chunks(CHUNK) {
        let measured: Vec<(Score, [Picture; 2])> = chunk
            .par_iter()
            .map(|pair| measure(pair, rule, downsampling).map_err(|e| about(pair, e)))
            .collect::<Result<_>>()?;
        let (found, pictures): (Vec<Score>, Vec<[Picture; 2]>) = measured.into_iter().unzip();
        scores.extend(found);
        if let Some(lpips) = lpips {
            for (pair, [reference, _]) in chunk.iter().zip(&pictures) {
                let (width, height, _) = reference.shape();
                lpips.check_side(width, height).map_err(|e| about(pair, e))?;
            }
            let (references, samples): (Vec<RgbImage>, Vec<RgbImage>) =
                pictures.into_iter().filter_map(|[a, b]| Some((a.into_image()?, b.into_image()?))).unzip();
            distances.extend(lpips.distances(&references, &samples)?);
        }
        progress.advance(scores.len() as u64, "pairs");
    }
    progress.finish();
    let mean = |value: fn(&Score) -> f64| scores.iter().map(value).sum::<f64>() / scores.len() as f64;
    if let Some((pair, distance)) = pairs.iter().zip(&distances).find(|(_, distance)| !distance.is_finite()) {
        return Err(about(pair, Error::measure(format!("LPIPS is {distance}: its weights are damaged"))));
    }
    let area = |(width, height): &(usize, usize)| width * height;
    let sizes = || scores.iter().map(|score| score.size);
    Ok(Report {
        n: scores.len(),
        psnr_db: mean(|score| score.psnr),
        ssim: mean(|score| score.ssim),
        lpips: lpips.map(|_| distances.iter().sum::<f64>() / distances.len() as f64),
        identical: scores.iter().filter(|score| score.psnr.is_infinite()).count(),
        warnings: doubts(&scores, rule),
        protocol: Protocol {
            program: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            reference: reference.to_owned(),
            samples: samples.to_owned(),
            matched_by: "subfolder and file name without extension",
            pixels: rule.describe(),
            smallest: sizes().min_by_key(area).unwrap_or_default(),
            largest: sizes().max_by_key(area).unwrap_or_default(),
            data_range: DATA_RANGE,
            mean_over: "pictures, each over its pixels and channels",
            ssim_window: "Gaussian",
            ssim_taps: ssim::TAPS,
            ssim_sigma: ssim::SIGMA,
            ssim_k1: ssim::K1,
            ssim_k2: ssim::K2,
            ssim_positions: "window inside the picture",
            ssim_downsampling: match downsampling {
                Downsampling::None => "none",
                Downsampling::Blocks => "block means, factor max(1, round(shorter side / 256))",
            },
            lpips: lpips.map(|lpips| lpips.stamp().clone()),
        },
    })
}

/// The figures of one pair.
struct Score {
    psnr: f64,
    ssim: f64,
    size: (usize, usize),
    /// Of the original and of what is scored.
    traits: [u8; 2],
}

/// What the files of either side have that makes figures doubtful.
fn doubts(scores: &[Score], rule: PixelRule) -> Vec<Warning> {
    let mut found = Vec::new();
    for (place, side) in [Side::Reference, Side::Samples].into_iter().enumerate() {
        let mut counts = TraitCounts::default();
        scores.iter().filter_map(|score| score.traits.get(place)).for_each(|&bits| counts.add(bits));
        if let Some(differ) = counts.differ() {
            found.push(Warning { code: Code::PixelRule, side, message: warnings::pixel_rule(&differ, rule) });
        }
    }
    found
}

/// The figures of a pair, and its pictures: the original first.
fn measure(pair: &Pair, rule: PixelRule, downsampling: Downsampling) -> Result<(Score, [Picture; 2])> {
    let (reference, first) = Picture::read(&pair.reference, rule)?;
    let (sample, second) = Picture::read(&pair.sample, rule)?;
    let (width, height, _) = reference.shape();
    let score = Score {
        psnr: psnr::psnr(&reference, &sample)?,
        ssim: ssim::ssim(&reference, &sample, downsampling)?,
        size: (width, height),
        traits: [first, second].map(bits),
    };
    Ok((score, [reference, sample]))
}

fn about(pair: &Pair, e: Error) -> Error {
    Error::Pair { name: pair.name.clone(), source: Box::new(e) }
}

/// JSON has no infinity.
fn finite_or_text<S: Serializer>(value: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.serialize_str("inf") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.protocol;
        writeln!(f, "PSNR        {:.4} dB", self.psnr_db)?;
        writeln!(f, "SSIM        {:.6}", self.ssim)?;
        if let Some(distance) = &self.lpips {
            writeln!(f, "LPIPS       {}", small(*distance))?;
        }
        writeln!(f, "N           {} (identical: {})", self.n, self.identical)?;
        writeln!(f, "reference   {}", p.reference.display())?;
        writeln!(f, "samples     {}", p.samples.display())?;
        writeln!(f, "matched by  {}", p.matched_by)?;
        let ((w, h), (wide, high)) = (p.smallest, p.largest);
        if p.smallest == p.largest {
            writeln!(f, "pixels      {}, {w}×{h}", p.pixels)?;
        } else {
            writeln!(f, "pixels      {}, {w}×{h} to {wide}×{high}", p.pixels)?;
        }
        writeln!(f, "data range  {}", p.data_range)?;
        writeln!(f, "means       over {}", p.mean_over)?;
        writeln!(
            f,
            "SSIM window {} {2}×{2}, sigma {1}, {5}; K1 {3}, K2 {4}",
            p.ssim_window, p.ssim_sigma, p.ssim_taps, p.ssim_k1, p.ssim_k2, p.ssim_positions
        )?;
        writeln!(f, "downsampled {}", p.ssim_downsampling)?;
        if let Some(lpips) = &p.lpips {
            writeln!(f, "LPIPS       {lpips}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning     {warning}")?;
        }
        write!(f, "program     {}", p.program)
    }
}

/// Six decimals, or three digits where these would not show them.
fn small(value: f64) -> String {
    if value.abs() < 1e-3 { digits(value) } else { format!("{value:.6}") }
}
