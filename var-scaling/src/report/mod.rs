//! The report: fits, plots and one self-contained page.

mod held_out;
pub(crate) mod html;
mod law_table;
mod method;
pub(crate) mod page;
mod provenance;
pub(crate) mod sections;

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fit::{FitOptions, FitsFile, ForecastsFile};
use crate::plot::{self, SweepFigure};
use crate::results::Results;
use crate::sweep::state::{SweepRecord, read_record};
use var_tokenizer::files::write_atomically;

/// The content of the page.
#[derive(Debug)]
pub(crate) struct Material {
    /// Sweep folder.
    pub folder: PathBuf,
    /// The record of the sweep; empty if the folder has no `sweep.json`.
    pub record: SweepRecord,
    /// Finished sizes with their curves.
    pub results: Results,
    /// Laws.
    pub fits: FitsFile,
    /// Forecasts of held-out sizes.
    pub forecasts: Option<ForecastsFile>,
    /// Plots.
    pub figures: Vec<SweepFigure>,
}

impl Material {
    /// Runs that began and have no result.
    fn unfinished(&self) -> Vec<&str> {
        let finished = |name: &str| {
            self.results.lines.iter().chain(&self.results.held_out).any(|line| line.name == name)
        };
        self.record.runs.keys().map(String::as_str).filter(|name| !finished(name)).collect()
    }
}

/// Fits laws to the results of a sweep folder and writes `fits.json`. Returns the laws, and what was skipped in the files.
///
/// # Errors
/// When there are no results or a file cannot be written.
pub fn fit(folder: &Path, options: &FitOptions) -> Result<(FitsFile, Vec<String>)> {
    let results = Results::open(folder)?;
    Ok((fit_to(&results, folder, options)?, results.skipped))
}

/// Draws the plots of a sweep folder into `plots/`. Returns them, and what was skipped in the files.
///
/// # Errors
/// When there are no results or a file cannot be written.
pub fn draw(folder: &Path) -> Result<(Vec<SweepFigure>, Vec<String>)> {
    let results = Results::open(folder)?;
    let fits = known_fits(&results, folder)?;
    let forecasts = ForecastsFile::read(folder)?;
    Ok((plot::draw_all(&results, &fits, forecasts.as_ref(), &folder.join("plots"))?, results.skipped))
}

/// Writes `report.html` of a sweep folder. Returns its path, and what was skipped in the files.
///
/// # Errors
/// When there are no results or a file cannot be written.
pub fn write(folder: &Path) -> Result<(PathBuf, Vec<String>)> {
    let results = Results::open(folder)?;
    let fits = known_fits(&results, folder)?;
    let forecasts = ForecastsFile::read(folder)?;
    let figures = plot::figures(&results, &fits, forecasts.as_ref());
    write_page(folder, results, fits, forecasts, figures)
}

/// Fits laws, draws plots and writes the report. Returns its path, and what was skipped in the files.
///
/// # Errors
/// When there are no results or a file cannot be written.
pub(crate) fn analyse(folder: &Path, options: &FitOptions) -> Result<(PathBuf, Vec<String>)> {
    let results = Results::open(folder)?;
    let fits = fit_to(&results, folder, options)?;
    let forecasts = ForecastsFile::read(folder)?;
    let figures = plot::draw_all(&results, &fits, forecasts.as_ref(), &folder.join("plots"))?;
    write_page(folder, results, fits, forecasts, figures)
}

fn fit_to(results: &Results, folder: &Path, options: &FitOptions) -> Result<FitsFile> {
    let fits = FitsFile::new(results, options);
    fits.write(&folder.join("fits.json"))?;
    Ok(fits)
}

/// The laws in `fits.json` of a folder, or new ones with the default options.
fn known_fits(results: &Results, folder: &Path) -> Result<FitsFile> {
    let path = folder.join("fits.json");
    if path.exists() { FitsFile::read(&path) } else { fit_to(results, folder, &FitOptions::default()) }
}

fn write_page(
    folder: &Path,
    results: Results,
    fits: FitsFile,
    forecasts: Option<ForecastsFile>,
    figures: Vec<SweepFigure>,
) -> Result<(PathBuf, Vec<String>)> {
    let record = read_record(folder)?.unwrap_or_default();
    let material = Material { folder: folder.to_owned(), record, results, fits, forecasts, figures };
    let path = folder.join("report.html");
    write_atomically(&path, page::page(&material)?.as_bytes())?;
    Ok((path, material.results.skipped))
}
