//! PSNR, SSIM, LPIPS and ST-LPIPS of pairs of images.

use std::collections::BTreeMap;
use std::path::Path;

use image::RgbImage;
use rayon::prelude::*;
use var_tokenizer::progress::Progress;
use var_tokenizer::reconstruct::{RECORD, ReconstructionRecord};

use super::report::{PairProtocol, PairReport};
use crate::error::{Error, Result};
use crate::inputs::pixels::{PixelRule, TraitCounts, bits};
use crate::inputs::{Pair, Picture};
use crate::metrics::lpips::Lpips;
use crate::metrics::ssim::{self, Downsampling};
use crate::metrics::{DATA_RANGE, psnr};
use crate::protocol::PROGRAM;
use crate::warnings::{self, Code, Side, Warning};

/// Pairs that are in memory at once.
const CHUNK: usize = 64;

/// Scores `pairs` of images in the folders `reference` and `samples`. All cores share PSNR and SSIM; the numbers do not
/// depend on how many there are.
///
/// # Errors
/// When an image cannot be read, differs in size from its partner, or is too small for SSIM's window or the network of
/// a distance.
pub(super) fn score(
    reference: &Path,
    samples: &Path,
    pairs: &[Pair],
    rule: PixelRule,
    downsampling: Downsampling,
    networks: &[Lpips],
    progress: &mut Progress,
) -> Result<PairReport> {
    let mut scores = Vec::with_capacity(pairs.len());
    let mut distances = vec![Vec::new(); networks.len()];
    progress.start(0, pairs.len() as u64);
    for chunk in pairs.chunks(CHUNK) {
        let measured: Vec<(Score, [Picture; 2])> = chunk
            .par_iter()
            .map(|pair| measure(pair, rule, downsampling).map_err(|e| about(pair, e)))
            .collect::<Result<_>>()?;
        let (found, pictures): (Vec<Score>, Vec<[Picture; 2]>) = measured.into_iter().unzip();
        scores.extend(found);
        for (lpips, pair) in networks.iter().flat_map(|n| chunk.iter().zip(&pictures).map(move |p| (n, p))) {
            let (pair, [reference, _]) = pair;
            let (width, height, _) = reference.shape();
            lpips.check_side(width, height).map_err(|e| about(pair, e))?;
        }
        if !networks.is_empty() {
            let (references, samples): (Vec<RgbImage>, Vec<RgbImage>) =
                pictures.into_iter().filter_map(|[a, b]| Some((a.into_image()?, b.into_image()?))).unzip();
            for (lpips, found) in networks.iter().zip(&mut distances) {
                found.extend(lpips.distances(&references, &samples)?);
            }
        }
        progress.advance(scores.len() as u64, "pairs");
    }
    progress.finish();
    let mean = |value: fn(&Score) -> f64| scores.iter().map(value).sum::<f64>() / scores.len() as f64;
    let (mut lpips, mut st_lpips, mut stamp, mut st_stamps) = (None, BTreeMap::new(), None, BTreeMap::new());
    for (network, found) in networks.iter().zip(&distances) {
        let (trunk, own) = (network.trunk(), network.stamp().clone());
        if let Some((pair, distance)) = pairs.iter().zip(found).find(|(_, distance)| !distance.is_finite()) {
            let text = format!("{} is {distance}; its weights are damaged", trunk.metric());
            return Err(about(pair, Error::measure(text)));
        }
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        if trunk.is_shift_tolerant() {
            st_lpips.insert(trunk.name().to_owned(), mean);
            st_stamps.insert(trunk.name().to_owned(), own);
        } else {
            (lpips, stamp) = (Some(mean), Some(own));
        }
    }
    let area = |(width, height): &(usize, usize)| width * height;
    let sizes = || scores.iter().map(|score| score.size);
    Ok(PairReport {
        n: scores.len(),
        psnr_db: mean(|score| score.psnr),
        ssim: mean(|score| score.ssim),
        lpips,
        st_lpips,
        identical: scores.iter().filter(|score| score.psnr.is_infinite()).count(),
        warnings: trained_on(samples, networks).into_iter().chain(doubts(&scores, rule)).collect(),
        protocol: PairProtocol {
            program: PROGRAM.to_owned(),
            reference: reference.to_owned(),
            samples: samples.to_owned(),
            matched_by: "subfolder and file name without extension".to_owned(),
            pixels: rule.describe().to_owned(),
            smallest: sizes().min_by_key(area).unwrap_or_default(),
            largest: sizes().max_by_key(area).unwrap_or_default(),
            data_range: DATA_RANGE,
            mean_over: "pictures, each over its pixels and channels".to_owned(),
            ssim_window: "Gaussian".to_owned(),
            ssim_taps: ssim::TAPS,
            ssim_sigma: ssim::SIGMA,
            ssim_k1: ssim::K1,
            ssim_k2: ssim::K2,
            ssim_positions: "window inside the picture".to_owned(),
            ssim_downsampling: match downsampling {
                Downsampling::None => "none",
                Downsampling::Blocks => "block means, factor max(1, round(shorter side / 256))",
            }
            .to_owned(),
            lpips: stamp,
            st_lpips: st_stamps,
        },
        sets: None,
    })
}

/// The numbers of one pair.
struct Score {
    psnr: f64,
    ssim: f64,
    size: (usize, usize),
    /// Of the original and of the reconstruction.
    traits: [u8; 2],
}

/// A warning if the tokenizer that made `samples` was trained with one of `networks`, by the record that
/// `var-tokenizer reconstruct` leaves next to the folder.
fn trained_on(samples: &Path, networks: &[Lpips]) -> Option<Warning> {
    let text = std::fs::read(samples.join("..").join(RECORD)).ok()?;
    let record: ReconstructionRecord = serde_json::from_slice(&text).ok()?;
    let key = record.perceptual_network?;
    networks.iter().any(|network| network.trunk().key() == key).then(|| warnings::of_trained_network(&key))
}

/// Warnings about the files of both sides.
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

/// The numbers of a pair, and its images: the original first.
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
