//! TorchScript modules of other people.

use std::path::Path;
use std::str::FromStr;

use tch::{CModule, Device, TchError};

use crate::runtime::error::{Error, Result};
use crate::runtime::files::sha256;

/// Mean of ImageNet's usual classifiers, for each channel of images in [0, 1].
pub const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet's usual classifiers.
pub const IMAGENET_DEVIATION: [f64; 3] = [0.229, 0.224, 0.225];

/// Loads the module at `path` onto `device`, ready for inference, and tells the SHA-256 of its file.
///
/// # Errors
/// When the file is missing, or no TorchScript.
pub fn load_module(path: &Path, device: Device) -> Result<(CModule, String)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let mut module = CModule::load_data_on_device(&mut bytes.as_slice(), device).map_err(|e| {
        let why = module_error(&e);
        Error::file(path, format!("is no TorchScript module ({why}); save one with torch.jit.save"))
    })?;
    module.f_set_eval().map_err(|e| Error::file(path, module_error(&e)))?;
    Ok((module, sha256(&bytes)))
}

/// A C++ exception's own words: one sentence, without its trace through the module's source.
pub fn module_error(e: &TchError) -> String {
    let text = e.to_string();
    let cause = text.lines().rev().find(|line| line.starts_with("RuntimeError"));
    let line = cause.or_else(|| text.lines().find(|line| !line.trim().is_empty())).unwrap_or("unknown error");
    line.split(". ").next().unwrap_or(line).trim().to_owned()
}

/// A number for each of the three channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channels(pub [f64; 3]);

impl FromStr for Channels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
        numbers.and_then(|numbers| <[f64; 3]>::try_from(numbers).ok()).map(Self).ok_or_else(|| {
            Error::Config("expected three numbers with commas between them, e.g. 0.5,0.5,0.5".into())
        })
    }
}
