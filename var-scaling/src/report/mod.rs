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

/// Fits laws to the results of a sweep folder and writes `fits.json`. Returns the laws, and what of the files was
/// left out.
///
/// # Errors
/// When there are no results or the disk refuses.
pub fn fit(folder: &Path, options: &FitOptions) -> Result<(FitsFile, Vec<String>)> {
    let results = Results::read(folder)?;
    let fits = FitsFile::new(&results, options);
    fits.write(&folder.join("fits.json"))?;
    Ok((fits, results.skipped))
}

/// The fits of a folder: those in `fits.json`, else new ones with usual options.
fn known_fits(folder: &Path) -> Result<FitsFile> {
    let path = folder.join("fits.json");
    if path.exists() { FitsFile::read(&path) } else { Ok(fit(folder, &FitOptions::default())?.0) }
}

/// Draws the plots of a sweep folder into `plots/`. Returns them, and what of the files was left out.
///
/// # Errors
/// When there are no results or the disk refuses.
pub fn draw(folder: &Path) -> Result<(Vec<Figure>, Vec<String>)> {
    let results = Results::read(folder)?;
    let figures = plot::draw_all(&results, &known_fits(folder)?, &folder.join("plots"))?;
    Ok((figures, results.skipped))
}

/// Writes `report.html` of a sweep folder. Returns its path, and what of the files was left out.
///
/// # Errors
/// When there are no results or the disk refuses.
pub fn write(folder: &Path) -> Result<(PathBuf, Vec<String>)> {
    let results = Results::read(folder)?;
    let fits = known_fits(folder)?;
    let figures = plot::figures(&results, &fits);
    let record = read_record(folder)?.unwrap_or_default();
    let skipped = results.skipped.clone();
    let material = Material { folder: folder.to_owned(), record, results, fits, figures };
    let path = folder.join("report.html");
    write_atomically(&path, page::page(&material)?.as_bytes())?;
    Ok((path, skipped))
}

/// Fits, draws and reports.
///
/// # Errors
/// When there are no results or the disk refuses.
pub fn analyse(folder: &Path, options: &FitOptions) -> Result<(PathBuf, Vec<String>)> {
    fit(folder, options)?;
    draw(folder)?;
    write(folder)
}
