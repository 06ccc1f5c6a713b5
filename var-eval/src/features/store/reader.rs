//! Reads `features.h5`, and checks everything before use.

use std::path::{Path, PathBuf};

use hdf5::{Dataset, File, H5Type};
use ndarray::{Array1, Array2, s};
use var_tokenizer::h5;

use super::{DIGEST, FORMAT_VERSION, MAX_CLASSES, StoreInfo, begun, partial_path};
use crate::error::{Error, Result};
use crate::features::network::Identity;
use crate::inputs::pixels::{PixelRule, TraitCounts};
use crate::metrics::matrix;
use crate::statistics::Gaussian;

/// An opened feature file. Its attributes, shapes and types are checked.
#[derive(Debug)]
pub struct FeatureFile {
    path: PathBuf,
    file: File,
    info: StoreInfo,
    rows: usize,
    bad: usize,
    traits: TraitCounts,
    pictures_sha256: String,
}

impl FeatureFile {
    /// Opens `path` for reading.
    ///
    /// HDF5 is a C library that crashes on some files. Do not open a file of unknown origin: it may be made for this.
    ///
    /// # Errors
    /// When it is missing, incomplete, truncated, damaged, of another kind or of another format version.
    pub fn open(path: &Path) -> Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(Error::file(path, "is a folder; expected a file of features (features.h5)")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && partial_path(path).exists() => {
                let so_far = begun(path).map_or_else(String::new, |(info, progress)| {
                    let [at, asked] = [progress.position, info.asked].map(thousands);
                    format!(" (written until row {at} of {asked})")
                });
                let message =
                    format!("is incomplete{so_far}. Run the same command to resume the extraction.");
                return Err(Error::file(path, message));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::file(path, "no such file; expected a file of features (features.h5)"));
            }
            Err(e) => return Err(Error::io(path, e)),
        }
        let file = h5::open(path, "extract the features again")?;
        let wrong = |message: String| Error::file(path, message);
        let version = h5::number(&file, "format_version")
            .map_err(|_| wrong("has no readable format_version: damaged, or not made by var-eval".into()))?;
        if !(1..=u64::from(FORMAT_VERSION)).contains(&version) {
            return Err(wrong(format!(
                "has format version {version}, but this program reads 1 to {FORMAT_VERSION}; extract the features again"
            )));
        }
        if h5::number(&file, "complete").ok() != Some(1) || file.dataset("features").is_err() {
            return Err(wrong("is not a complete file of features; extract them again".into()));
        }
        Self::checked(path, file, version)
            .map_err(|reason| wrong(format!("damaged: {reason}; extract the features again")))
    }

    fn checked(path: &Path, file: File, version: u64) -> std::result::Result<Self, String> {
        let text = |name: &str| h5::string(&file, name);
        let whole = |name: &str| h5::size(&file, name);
        let network = Identity {
            network: text("network")?,
            weights_sha256: text("weights_sha256")?,
            preprocessing: text("preprocessing")?,
            width: whole("width")?,
            classes: whole("classes")?,
            spatial: whole("spatial_width")?,
        };
        let (rows, bad) = (whole("pictures")?, whole("bad")?);
        let number = |name: &str| h5::number(&file, name);
        let (pixels, traits) = if version == 1 {
            (PixelRule::Shown, TraitCounts { jpegs: number("jpegs")?, ..TraitCounts::default() })
        } else {
            let name = text("pixels")?;
            let rule = PixelRule::named(&name).ok_or_else(|| format!("attribute pixels is '{name:.20}'"))?;
            let traits = TraitCounts {
                jpegs: number("jpegs")?,
                turned: number("turned")?,
                transparent: number("transparent")?,
                deep: number("deep")?,
            };
            (rule, traits)
        };
        let info = StoreInfo {
            source: text("source")?,
            source_sha256: text("source_sha256")?,
            pixels,
            asked: rows.saturating_add(bad) as u64,
            class_names: h5::texts(&file, "class_names", MAX_CLASSES)?,
            network,
        };
        info.check()?;
        let pictures_sha256 = text("pictures_sha256")?;
        let Identity { width, classes, spatial, .. } = info.network;
        check::<f32>(&file, "features", &[rows, width])?;
        if classes > 0 {
            check::<f32>(&file, "logits", &[rows, classes])?;
        }
        if spatial > 0 {
            check::<f32>(&file, "spatial", &[rows, spatial])?;
        }
        check::<u32>(&file, "labels", &[rows])?;
        check::<u32>(&file, "index", &[rows])?;
        check::<u32>(&file, "size", &[rows, 2])?;
        check::<u8>(&file, "picture", &[rows, DIGEST])?;
        if rows > 1 {
            check::<f64>(&file, "mu", &[width])?;
            check::<f64>(&file, "sigma", &[width, width])?;
        }
        if rows > 1 && spatial > 0 {
            check::<f64>(&file, "mu_s", &[spatial])?;
            check::<f64>(&file, "sigma_s", &[spatial, spatial])?;
        }
        Ok(Self { path: path.to_owned(), file, info, rows, bad, traits, pictures_sha256 })
    }

    /// The same file, called `name` in messages. For a temporary file, whose own name says nothing to the user.
    pub(crate) fn called(self, name: &str) -> Self {
        Self { path: name.into(), ..self }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The source of the features, and how they were computed.
    pub fn info(&self) -> &StoreInfo {
        &self.info
    }

    /// Number of images `N`.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it has no images.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Number of images that could not be read; they have no rows.
    pub fn bad(&self) -> usize {
        self.bad
    }

    /// How many images have each trait that readers treat differently.
    pub fn traits(&self) -> TraitCounts {
        self.traits
    }

    /// SHA-256 over the digests of all images, in hexadecimal. It depends on pixels only, not on names or formats.
    pub fn pictures_sha256(&self) -> &str {
        &self.pictures_sha256
    }

    /// Reads each data set once, some rows at a time.
    ///
    /// # Errors
    /// When the file cannot be read, or a checksum is wrong.
    pub fn check(&self) -> Result<()> {
        let every = || -> hdf5::Result<()> {
            for name in ["features", "logits", "spatial"] {
                read_once::<f32>(&self.file, name)?;
            }
            for name in ["labels", "index", "size"] {
                read_once::<u32>(&self.file, name)?;
            }
            for name in ["mu", "sigma", "mu_s", "sigma_s"] {
                read_once::<f64>(&self.file, name)?;
            }
            read_once::<u8>(&self.file, "picture")
        };
        every().map_err(|e| Error::from(h5::error(&self.path, "damaged; extract the features again", &e)))
    }

    /// Pooled features `[N, D]`.
    ///
    /// # Errors
    /// When a chunk is damaged, a number is not finite, or there is not enough memory.
    pub fn features(&self) -> Result<Array2<f32>> {
        self.finite("features")
    }

    /// Logits `[N, C]`; `None` if the network has none.
    ///
    /// # Errors
    /// As for [`Self::features`].
    pub fn logits(&self) -> Result<Option<Array2<f32>>> {
        if self.info.network.classes == 0 { Ok(None) } else { self.finite("logits").map(Some) }
    }

    /// Number of images per class, in the order of the classes.
    ///
    /// # Errors
    /// As for [`Self::labels`].
    pub fn class_counts(&self) -> Result<Vec<u64>> {
        let mut counts = vec![0; self.info.class_names.len()];
        for label in self.labels()? {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        Ok(counts)
    }

    /// Labels `[N]`: indices into the class names.
    ///
    /// # Errors
    /// As for [`Self::features`], and when a label has no class name.
    pub fn labels(&self) -> Result<Vec<u32>> {
        let labels: Array1<u32> =
            self.dataset("labels")?.read_1d().map_err(|e| self.unreadable("labels", &e))?;
        let labels = labels.to_vec();
        match labels.iter().find(|&&label| label as usize >= self.info.class_names.len()) {
            Some(label) => {
                let count = self.info.class_names.len();
                Err(Error::file(&self.path, format!("damaged: /labels has {label} of {count} classes")))
            }
            None => Ok(labels),
        }
    }

    /// Index of each image in its source, `[N]`.
    ///
    /// # Errors
    /// As for [`Self::features`].
    pub fn indices(&self) -> Result<Vec<u32>> {
        let indices: Array1<u32> =
            self.dataset("index")?.read_1d().map_err(|e| self.unreadable("index", &e))?;
        Ok(indices.to_vec())
    }

    /// Width and height of each image in pixels, `[N, 2]`.
    ///
    /// # Errors
    /// As for [`Self::features`].
    pub fn sizes(&self) -> Result<Array2<u32>> {
        self.matrix("size")
    }

    /// Digest of the size and the pixels of each image, `[N, 16]`.
    ///
    /// # Errors
    /// As for [`Self::features`].
    pub fn digests(&self) -> Result<Array2<u8>> {
        self.matrix("picture")
    }

    /// Mean and covariance of the features.
    ///
    /// # Errors
    /// When there are fewer than two images, or a chunk is damaged.
    pub fn statistics(&self) -> Result<Gaussian> {
        self.gaussian("mu", "sigma")
    }

    /// Mean and covariance of the spatial features; `None` if the network has none.
    ///
    /// # Errors
    /// As for [`Self::statistics`].
    pub fn spatial_statistics(&self) -> Result<Option<Gaussian>> {
        if self.info.network.spatial == 0 { Ok(None) } else { self.gaussian("mu_s", "sigma_s").map(Some) }
    }

    fn gaussian(&self, mu: &str, sigma: &str) -> Result<Gaussian> {
        if self.rows < 2 {
            return Err(Error::file(&self.path, "holds one image; a covariance needs at least two"));
        }
        let mean: Array1<f64> = self.dataset(mu)?.read_1d().map_err(|e| self.unreadable(mu, &e))?;
        let covariance: Array2<f64> =
            self.dataset(sigma)?.read_2d().map_err(|e| self.unreadable(sigma, &e))?;
        let count = Some(self.rows as u64);
        Gaussian::new(mean, covariance, count).map_err(|e| Error::file(&self.path, format!("/{sigma}: {e}")))
    }

    fn finite(&self, name: &str) -> Result<Array2<f32>> {
        let found = self.matrix(name)?;
        matrix::check(&format!("/{name}"), found.view())
            .map_err(|e| Error::file(&self.path, format!("{e}; or extract the features again")))?;
        Ok(found)
    }

    fn matrix<T: H5Type>(&self, name: &str) -> Result<Array2<T>> {
        self.dataset(name)?.read_2d().map_err(|e| self.unreadable(name, &e))
    }

    fn dataset(&self, name: &str) -> Result<Dataset> {
        self.file.dataset(name).map_err(|e| self.unreadable(name, &e))
    }

    fn unreadable(&self, name: &str, e: &hdf5::Error) -> Error {
        let what = format!("/{name} is damaged or truncated; extract the features again");
        h5::error(&self.path, &what, e).into()
    }
}

/// Checks that the data set has this shape and type, chunks, and all rows.
fn check<T: H5Type>(file: &File, name: &str, shape: &[usize]) -> std::result::Result<(), String> {
    let set = file.dataset(name).map_err(|_| format!("no data set /{name}"))?;
    h5::whole::<T>(&set, &format!("/{name}"), shape)
}

/// `number` with a comma before every three digits.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Reads the data set `name` some rows at a time. Does nothing if there is none.
fn read_once<T: H5Type>(file: &File, name: &str) -> hdf5::Result<()> {
    /// Bytes in memory at one time.
    const AT_ONCE: usize = 64 << 20;
    let Ok(set) = file.dataset(name) else { return Ok(()) };
    let shape = set.shape();
    let [rows, columns] = [0, 1].map(|i| shape.get(i).copied().unwrap_or(1));
    let step = (AT_ONCE / (columns * size_of::<T>()).max(1)).max(1);
    for begin in (0..rows).step_by(step) {
        let end = rows.min(begin + step);
        match shape.len() {
            1 => set.read_slice_1d::<T, _>(s![begin..end]).map(drop)?,
            _ => set.read_slice_2d::<T, _>(s![begin..end, ..]).map(drop)?,
        }
    }
    Ok(())
}
