//! The curve of a score over a setting of the sampler, out of several `metrics.json`.

use std::path::{Path, PathBuf};

use plotters::prelude::*;
use serde_json::Value;
use var_tokenizer::files::write_atomically;

use crate::error::{Error, Result};

/// A score at a value of the setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Value of the setting.
    pub setting: f64,
    /// The score.
    pub value: f64,
    /// What the score may be called.
    pub name: String,
}

/// Reads the points out of the `metrics.json` of `folders`, in the order of the setting.
///
/// # Errors
/// When a file is missing or lacks the setting or the metric, or the scores are not of one kind.
pub fn read(folders: &[PathBuf], setting: &str, metric: &str) -> Result<Vec<Point>> {
    let mut points: Vec<Point> = Vec::new();
    for folder in folders {
        let path = folder.join("metrics.json");
        let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let report: Value = serde_json::from_slice(&text)
            .map_err(|e| Error::file(&path, format!("no report: {e}; score again")))?;
        let found = report["protocol"]["sampler"][setting].as_f64();
        let setting =
            found.ok_or_else(|| Error::file(&path, format!("its sampler has no setting {setting}")))?;
        let figure =
            report["metrics"].as_array().into_iter().flatten().find(|figure| figure["metric"] == metric);
        let value =
            figure.and_then(|figure| Some((figure["value"].as_f64()?, figure["name"].as_str()?.to_owned())));
        let (value, name) = value.ok_or_else(|| Error::file(&path, format!("has no metric {metric}")))?;
        if let Some(other) = points.first().filter(|first| first.name != name) {
            return Err(Error::file(
                &path,
                format!("has {name}, the others {}: they do not compare", other.name),
            ));
        }
        points.push(Point { setting, value, name });
    }
    points.sort_by(|a, b| a.setting.total_cmp(&b.setting));
    Ok(points)
}

/// Draws `points` as an SVG file.
///
/// # Errors
/// When there are no points, or the file cannot be written.
pub fn write(out: &Path, setting: &str, points: &[Point]) -> Result<()> {
    let Some(first) = points.first() else { return Err(Error::config("no points to draw")) };
    let range = |value: fn(&Point) -> f64| {
        let low = points.iter().map(value).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(value).fold(f64::NEG_INFINITY, f64::max);
        let margin = if high > low { 0.07 * (high - low) } else { 0.1 * high.abs().max(1e-9) };
        low - margin..high + margin
    };
    let mut svg = String::new();
    draw(&mut svg, setting, &first.name, range(|p| p.setting), range(|p| p.value), points)
        .map_err(|e| Error::file(out, format!("cannot be drawn: {e}")))?;
    Ok(write_atomically(out, svg.as_bytes())?)
}

fn draw(
    svg: &mut String,
    setting: &str,
    name: &str,
    across: std::ops::Range<f64>,
    up: std::ops::Range<f64>,
    points: &[Point],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (640, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(across, up)?;
    chart.configure_mesh().x_desc(setting).y_desc(name).light_line_style(WHITE).draw()?;
    let places = || points.iter().map(|point| (point.setting, point.value));
    chart.draw_series(LineSeries::new(places(), BLUE.stroke_width(2)))?;
    chart.draw_series(places().map(|place| Circle::new(place, 4, BLUE.filled())))?;
    area.present()?;
    Ok(())
}
