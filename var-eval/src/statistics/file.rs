//! Files of statistics as other tools write them: `mu` and `sigma` (pytorch-fid), with `mu_s` and `sigma_s`
//! for the spatial features (ADM's evaluator).

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use ndarray::{Array1, Array2, ShapeBuilder};
use npyz::npz::{NpzArchive, NpzWriter};
use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder};
use serde::{Deserialize, Serialize};
use var_tokenizer::files::{sha256_of, with_suffix, write_atomically, write_with};
use var_tokenizer::images::npz;
use var_tokenizer::zips::{or_forget, undated};

use super::Gaussian;
use crate::error::{Error, Result};
use crate::features::network::Identity;
use crate::inputs::pixels::PixelRule;
use crate::protocol::{SetKind, SetStamp};

/// Maximum number of features; the covariance of 16,384 takes 2 GB.
const WIDEST: u64 = 1 << 14;

/// Statistics of a set of images, read from an npz.
#[derive(Debug, Clone)]
pub struct StatisticsFile {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256.
    pub sha256: String,
    /// Mean and covariance of the pooled features.
    pub pooled: Gaussian,
    /// Mean and covariance of the spatial features, if there are any.
    pub spatial: Option<Gaussian>,
    /// Whether it also holds images (`arr_0`), as ADM's reference batches do.
    pub images: bool,
    /// The network that made it, if `PATH.json` next to it says so.
    pub network: Option<Identity>,
    /// How pixels were read, if `PATH.json` says so.
    pub pixels: Option<PixelRule>,
}

/// The content of `PATH.json` next to an npz.
#[derive(Debug, Serialize, Deserialize)]
struct Beside {
    network: Identity,
    pictures: Option<u64>,
    #[serde(default)]
    pixels: Option<PixelRule>,
}

/// Whether the npz at `path` holds statistics; false for any other file.
pub(crate) fn is_statistics(path: &Path) -> bool {
    names(path).is_some_and(|names| names.iter().any(|name| name == "mu"))
}

fn names(path: &Path) -> Option<Vec<String>> {
    let head = std::fs::File::open(path).ok().and_then(|mut file| {
        let mut head = [0; 2];
        std::io::Read::read_exact(&mut file, &mut head).ok().map(|()| head)
    });
    head.filter(|head| head == b"PK")?;
    Some(npz::archive(path).ok()?.array_names().map(str::to_owned).collect())
}

impl StatisticsFile {
    /// Reads `path`.
    ///
    /// # Errors
    /// When it cannot be read, lacks `mu` or `sigma`, or these do not fit together.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::file(path, reason);
        let mut archive = npz::archive(path)?;
        let names: Vec<String> = archive.array_names().map(str::to_owned).collect();
        let about = beside(path);
        let beside: Option<Beside> = match std::fs::read(&about) {
            Ok(text) => Some(serde_json::from_slice(&text).map_err(|e| {
                Error::file(
                    &about,
                    format!(
                        "expected the network that made {}: {e}; repair or remove this file",
                        path.display()
                    ),
                )
            })?),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io(&about, e)),
        };
        let count = beside.as_ref().and_then(|beside| beside.pictures);
        let mut gaussian = |mu: &str, sigma: &str| -> Result<Gaussian> {
            let (shape, mean, _) = array(&mut archive, mu).map_err(wrong)?;
            let covariance = matrix_in(&mut archive, sigma).map_err(wrong)?;
            if shape != [covariance.nrows() as u64] || !covariance.is_square() {
                let square = covariance.shape();
                return Err(wrong(format!(
                    "{mu} has shape {shape:?} and {sigma} {square:?}, expected [D] and [D, D]; save it again"
                )));
            }
            Gaussian::new(Array1::from_vec(mean), covariance, count)
                .map_err(|e| wrong(format!("{mu}, {sigma}: {e}")))
        };
        let pooled = gaussian("mu", "sigma")?;
        let spatial =
            names.iter().any(|name| name == "mu_s").then(|| gaussian("mu_s", "sigma_s")).transpose()?;
        let images = names.iter().any(|name| name == "arr_0");
        let pixels = beside.as_ref().and_then(|beside| beside.pixels);
        let network = beside.map(|beside| beside.network);
        Ok(Self { path: path.to_owned(), sha256: sha256_of(path)?, pooled, spatial, images, network, pixels })
    }

    /// Whether it is a file for ADM's evaluator.
    pub(crate) fn is_adm(&self) -> bool {
        self.spatial.is_some()
    }

    /// Its entry in a protocol.
    pub(crate) fn stamp(&self) -> SetStamp {
        SetStamp {
            source: self.path.clone(),
            kind: SetKind::Statistics,
            pixels: self.pixels,
            n: self.pooled.count,
            bad: 0,
            smallest: None,
            largest: None,
            classes: None,
            per_class: None,
            sha256: self.sha256.clone(),
        }
    }
}

/// Writes `mu` and `sigma`, and `mu_s` and `sigma_s` if `spatial` is given. Next to it, writes `PATH.json` with the network,
/// the number of images and the pixel rule.
///
/// # Errors
/// When the disk is full or the folder cannot be written.
pub fn write(
    path: &Path,
    network: &Identity,
    pixels: PixelRule,
    pooled: &Gaussian,
    spatial: Option<&Gaussian>,
) -> Result<()> {
    write_with(path, |file| {
        let io = |e: std::io::Error| var_tokenizer::Error::io(path, e);
        or_forget(NpzWriter::new(std::io::BufWriter::new(file)), |npz| {
            let pairs = [(["mu", "sigma"], Some(pooled)), (["mu_s", "sigma_s"], spatial)];
            for (names, gaussian) in pairs {
                let Some(gaussian) = gaussian else { continue };
                let width = gaussian.width() as u64;
                let mut put = |name: &str, shape: &[u64], values: &mut dyn Iterator<Item = f64>| {
                    let mut array =
                        npz.array::<f64>(name, undated())?.default_dtype().shape(shape).begin_nd()?;
                    array.extend(values)?;
                    array.finish()
                };
                put(names[0], &[width], &mut gaussian.mean.iter().copied()).map_err(io)?;
                put(names[1], &[width, width], &mut gaussian.covariance.iter().copied()).map_err(io)?;
            }
            let mut zip = npz.zip_writer().finish().map_err(|e| io(e.into()))?;
            std::io::Write::flush(&mut zip).map_err(io)
        })
    })?;
    let about = Beside { network: network.clone(), pictures: pooled.count, pixels: Some(pixels) };
    let text = serde_json::to_string_pretty(&about).map_err(|e| Error::file(path, e.to_string()))?;
    Ok(write_atomically(&beside(path), text.as_bytes())?)
}

/// The file next to an npz that says what is in it.
fn beside(path: &Path) -> PathBuf {
    with_suffix(path, ".json")
}

type Numbers = (Vec<u64>, Vec<f64>, Order);

/// An array of f32 or f64: shape, numbers, order.
fn array(archive: &mut NpzArchive<BufReader<File>>, name: &str) -> std::result::Result<Numbers, String> {
    let entry = archive.zip_archive().by_name(&format!("{name}.npy"));
    let entry = entry.map_err(|_| format!("has no array {name}; expected mu and sigma"))?;
    numbers(entry, name)
}

/// Reads an array, starting with its header.
fn numbers(mut reader: impl Read, name: &str) -> std::result::Result<Numbers, String> {
    let header = npz::header(&mut reader).map_err(|reason| format!("array {name}: {reason}"))?;
    let (shape, order) = (header.shape().to_vec(), header.order());
    // Checked before memory is allocated.
    if shape.len() > 2 || shape.iter().any(|&side| side == 0 || side > WIDEST) {
        return Err(format!("array {name} has shape {shape:?}, expected [D] or [D, D], D to {WIDEST}"));
    }
    let kind = header.dtype();
    let file = NpyFile::with_header(header, reader);
    let damaged = |e: std::io::Error| format!("array {name}: truncated or damaged: {e}");
    let numbers = match &kind {
        DType::Plain(kind) if kind.type_char() == TypeChar::Float && kind.size_field() == 8 => {
            file.into_vec::<f64>().map_err(damaged)?
        }
        DType::Plain(kind) if kind.type_char() == TypeChar::Float && kind.size_field() == 4 => {
            file.into_vec::<f32>().map_err(damaged)?.into_iter().map(f64::from).collect()
        }
        _ => return Err(format!("array {name} is {}, expected f64 or f32", kind.descr())),
    };
    Ok((shape, numbers, order))
}

/// The matrix `name` of an npz, in C order.
///
/// # Errors
/// When it cannot be read, or is not a matrix of f32 or f64.
pub(crate) fn matrix(path: &Path, name: &str) -> Result<Array2<f64>> {
    matrix_in(&mut npz::archive(path)?, name).map_err(|reason| Error::file(path, reason))
}

fn matrix_in(
    archive: &mut NpzArchive<BufReader<File>>,
    name: &str,
) -> std::result::Result<Array2<f64>, String> {
    let (shape, numbers, order) = array(archive, name)?;
    let &[rows, columns] = shape.as_slice() else {
        return Err(format!("{name} has shape {shape:?}, expected a matrix"));
    };
    let sides = (rows as usize, columns as usize).set_f(order == Order::Fortran);
    Array2::from_shape_vec(sides, numbers).map_err(|e| e.to_string())
}

/// The numbers of a bare array (`.npy`) of f32 or f64, in the file's order.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub(crate) fn vector(path: &Path) -> Result<Vec<f64>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let (_, values, _) =
        numbers(BufReader::new(file), "itself").map_err(|reason| Error::file(path, reason))?;
    Ok(values)
}
