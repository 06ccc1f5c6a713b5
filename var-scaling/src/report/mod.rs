//! The report: fits, plots and one page that needs nothing beside itself.

mod making;
mod page;
mod sections;

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fit::{FitOptions, FitsFile};
use crate::plot::{self, Figure};
use crate::results::Results;
use crate::sweep::state::{Record, read_record};
use var_tokenizer::files::write_atomically;

/// Everything that the page tells about.
#[derive(Debug)]
pub struct Material {
    /// Sweep folder.
    pub folder: PathBuf,
    /// What the sweep remembers; empty for results that were made otherwise.
    pub record: Record,
    /// Finished sizes with their curves.
    pub results: Results,
    /// Laws.
    pub fits: FitsFile,
    /// Plots.
    pub figures: Vec<Figure>,
}

/// Fits laws to the results of a sweep folder and writes `fits.json`.
///
/// # Errors
/// When there are no results or the disk refuses.
pub fn fit(folder: &Path, options: &FitOptions) -> Result<FitsFile> {
    let fits = FitsFile::new(&Results::read(folder)?, options);
    fits.write(&folder.join("fits.json"))?;
    Ok(fits)
}

/// The fits of a folder: those in `fits.json`, else new ones with usual options.
fn known_fits(folder: &Path) -> Result<FitsFile> {
    let path = folder.join("fits.json");
    if path.exists() { FitsFile::read(&path) } else { fit(folder, &FitOptions::default()) }
}

/// Draws the plots of a sweep folder into `plots/`.
///
/// # Errors
/// When there are no results or the disk refuses.
pub fn draw(folder: &Path) -> Result<Vec<Figure>> {
    plot::draw_all(&Results::read(folder)?, &known_fits(folder)?, &folder.join("plots"))
}

/// Writes `report.html` of a sweep folder and returns its path.
///
/// # Errors
/// When there are no results or the disk refuses.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let results = Results::read(folder)?;
    let fits = known_fits(folder)?;
    let figures = plot::figures(&results, &fits);
    let record = read_record(folder)?.unwrap_or_default();
    let material = Material { folder: folder.to_owned(), record, results, fits, figures };
    let path = folder.join("report.html");
    write_atomically(&path, page::page(&material)?.as_bytes())?;
    Ok(path)
}

/// Fits, draws and reports.
///
/// # Errors
/// When there are no results or the disk refuses.
pub fn analyse(folder: &Path, options: &FitOptions) -> Result<PathBuf> {
    fit(folder, options)?;
    draw(folder)?;
    write(folder)
}
