//! Scores of reconstructions with their protocol, as JSON and as text.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::metrics::lpips::LpipsStamp;
use crate::report::{ScoreReport, digits};
use crate::warnings::Warning;

/// How the pairs were measured: all that is needed to measure the same again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairProtocol {
    /// Name and version of this program.
    pub program: String,
    /// Folder of the originals.
    pub reference: PathBuf,
    /// Folder of the reconstructions.
    pub samples: PathBuf,
    /// How images were paired.
    pub matched_by: String,
    /// How pixels were read.
    pub pixels: String,
    /// Width and height of the image with the fewest pixels.
    pub smallest: (usize, usize),
    /// Width and height of the image with the most pixels.
    pub largest: (usize, usize),
    /// Largest value of a byte: the peak of PSNR and the data range of SSIM.
    pub data_range: f64,
    /// What the means are taken over.
    pub mean_over: String,
    /// Shape of SSIM's window.
    pub ssim_window: String,
    /// Side of SSIM's window in pixels.
    pub ssim_taps: usize,
    /// Standard deviation of SSIM's window in pixels.
    pub ssim_sigma: f64,
    /// SSIM's K1.
    pub ssim_k1: f64,
    /// SSIM's K2.
    pub ssim_k2: f64,
    /// Positions of SSIM's window.
    pub ssim_positions: String,
    /// How images were made smaller before SSIM.
    pub ssim_downsampling: String,
    /// Network and heads of LPIPS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lpips: Option<LpipsStamp>,
    /// Networks of ST-LPIPS, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub st_lpips: BTreeMap<String, LpipsStamp>,
}

/// Scores of reconstructions, with their protocol. Only a measurement makes one; the JSON of `var-eval reconstruction` is
/// read back as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PairReport {
    /// Number of pairs.
    pub n: usize,
    /// Mean PSNR in decibels; infinite (in JSON the text `inf`) if one pair is identical.
    #[serde(serialize_with = "finite_or_text", deserialize_with = "number_or_text")]
    pub psnr_db: f64,
    /// Mean SSIM.
    pub ssim: f64,
    /// Mean LPIPS, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lpips: Option<f64>,
    /// Mean ST-LPIPS by network (`alex`, `vgg`), if requested.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub st_lpips: BTreeMap<String, f64>,
    /// Number of pairs that are identical byte for byte.
    pub identical: usize,
    /// What makes the numbers doubtful.
    pub warnings: Vec<Warning>,
    /// How they were measured.
    pub protocol: PairProtocol,
    /// Scores of both folders as sets (Fréchet distance), if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sets: Option<ScoreReport>,
}

impl PairReport {
    /// Adds the scores of both folders as sets. A warning that both have stays with the sets.
    #[must_use]
    pub fn with_sets(mut self, sets: ScoreReport) -> Self {
        self.warnings.retain(|warning| !sets.warnings.contains(warning));
        self.sets = Some(sets);
        self
    }
}

/// The number, or a text for infinity, which JSON does not have.
fn finite_or_text<S: Serializer>(value: &f64, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.serialize_str("inf") }
}

/// The number, or the text that stands for infinity.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Number(f64),
        Text(String),
    }
    match Value::deserialize(deserializer)? {
        Value::Number(number) => Ok(number),
        Value::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl fmt::Display for PairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p = &self.protocol;
        writeln!(f, "PSNR        {:.4} dB", self.psnr_db)?;
        writeln!(f, "SSIM        {:.6}", self.ssim)?;
        if let Some(distance) = &self.lpips {
            writeln!(f, "LPIPS       {}", small(*distance))?;
        }
        for (network, distance) in &self.st_lpips {
            writeln!(f, "ST-LPIPS    {} ({network})", small(*distance))?;
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
        for stamp in p.st_lpips.values() {
            writeln!(f, "ST-LPIPS    {stamp}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning     {warning}")?;
        }
        write!(f, "program     {}", p.program)
    }
}

/// Six decimals, or three digits for small numbers.
fn small(value: f64) -> String {
    if value.abs() < 1e-3 { digits(value) } else { format!("{value:.6}") }
}
