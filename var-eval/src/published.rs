//! Weights and references that published scores use, with their addresses.

use std::path::{Path, PathBuf};

use var_tokenizer::hub::near;
use var_tokenizer::hub::web::Published;

use crate::error::{Error, Result};

/// The Inception-v3 of 2015-12-05, as pytorch-fid publishes it. Its name holds the beginning of its SHA-256.
pub const INCEPTION: Published = Published {
    name: "inception",
    what: "Inception-v3 of 2015-12-05 for FID (96 MB)",
    address: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256: Some("6726825d"),
    licence: "Apache-2.0",
};

/// ADM's reference batches: images of ImageNet's training set, with their statistics (openai/guided-diffusion,
/// `evaluations/README.md`).
static REFERENCES: [Published; 2] = [
    Published {
        name: "imagenet-256",
        what: "ADM's reference batch of ImageNet, 256 px (2 GB)",
        address: "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet/256/VIRTUAL_imagenet256_labeled.npz",
        sha256: None,
        licence: TERMS,
    },
    Published {
        name: "imagenet-512",
        what: "ADM's reference batch of ImageNet, 512 px",
        address: "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet/512/VIRTUAL_imagenet512.npz",
        sha256: None,
        licence: TERMS,
    },
];

const TERMS: &str = "images of ImageNet: its terms of use (non-commercial research) apply";

/// All of them.
pub fn all() -> impl Iterator<Item = Published> {
    std::iter::once(INCEPTION).chain(REFERENCES)
}

/// The file that `reference` means: the name of a published reference, which is fetched if it is not there yet, or the
/// path itself. A file or folder with such a name wins.
///
/// # Errors
/// When it cannot be fetched, or does not exist and resembles the name of a published reference.
pub(crate) fn reference(reference: &Path) -> Result<PathBuf> {
    if reference.exists() {
        return Ok(reference.to_owned());
    }
    if let Some(known) = known(reference) {
        return Ok(known.fetch()?);
    }
    match near(reference, REFERENCES.iter().map(|known| known.name)).flatten() {
        Some(near) => Err(Error::file(reference, format!("no such file or folder; did you mean '{near}'?"))),
        None => Ok(reference.to_owned()),
    }
}

/// The published reference that `reference` names.
pub fn known(reference: &Path) -> Option<&'static Published> {
    REFERENCES.iter().find(|known| reference.as_os_str() == known.name)
}
