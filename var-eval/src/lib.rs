//! Scores images: samples against a reference (FID and other metrics), and reconstructions against their originals.
//!
//! Invariant: **no number without its protocol.** A Fréchet distance depends on the network, the preprocessing, the
//! reference and the number of images. A [`ScoreReport`] and a [`PairReport`] therefore contain how they were measured, and
//! print it with the numbers.
//!
//! [`Score`] compares two sets, [`Reconstruction`] compares pairs of images:
//!
//! ```no_run
//! use var_eval::{Metric, Quantity, Reconstruction, Reference, Score};
//!
//! let reference = Reference::open("val/")?;
//! let score = Score::of("samples.npz", &reference);
//! let report = score.with_metrics([Metric::Fd, Metric::Kid]).run()?;
//! println!("{:?}", report.value(Quantity::Fd));
//!
//! let pairs = Reconstruction::of("reconstructions/", "originals/").run()?;
//! println!("{:.2} dB, SSIM {:.3}", pairs.psnr_db, pairs.ssim);
//! # Ok::<(), var_eval::Error>(())
//! ```
//!
//! - [`Reference`]: images, their features, or their statistics; [`Metric`] and [`Quantity`]: what is measured
//! - [`features::registry::NetworkChoice`]: the network; [`PixelRule`]: how image files are read
//! - [`ScoreReport`], [`PairReport`]: numbers, warnings and protocol; serde writes and reads them
//! - [`metrics`]: the metrics as functions of images, features or logits

pub mod features;
pub mod metrics;
pub mod protocol;
pub mod reconstruction;
pub mod report;
pub mod score;
pub mod statistics;

// For the program and tests of this crate: not part of the interface, and may change at any time. The modules above export
// the types of these that users need.
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod golden;
#[doc(hidden)]
pub mod inputs;
#[doc(hidden)]
pub mod published;
#[doc(hidden)]
pub mod warnings;

#[doc(inline)]
pub use error::{Error, Result};
#[doc(inline)]
pub use inputs::pixels::PixelRule;
pub use reconstruction::{PairReport, Reconstruction};
pub use report::ScoreReport;
pub use score::{Metric, Quantity, Reference, Score};
