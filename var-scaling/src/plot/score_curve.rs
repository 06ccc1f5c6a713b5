//! A score against a setting of sampling, as `cargo xtask eval-fid` measures it.

use std::path::Path;

use serde::Deserialize;

use super::axis::{Axis, Scale};
use super::canvas::Drawing;
use super::chart::{Chart, ChartLayout, Mark, Series};
use super::palette;
use crate::error::{Error, Result};
use crate::json_text::without_mark;

/// The content of the file of a curve.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreCurve {
    /// Heading.
    pub title: String,
    /// The protocol, in one line.
    pub subtitle: String,
    /// Title of the horizontal axis.
    pub x: String,
    /// Title of the vertical axis.
    pub y: String,
    /// Setting and score, in any order.
    pub points: Vec<(f64, f64)>,
}

impl ScoreCurve {
    /// Reads a JSON file.
    ///
    /// # Errors
    /// When the file cannot be read, is not a curve, or has no points.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let text = String::from_utf8_lossy(&bytes);
        let curve: Self = serde_json::from_str(without_mark(&text)).map_err(|e| {
            Error::file(
                path,
                format!("is not a score curve ({e}); expected title, subtitle, x, y and points"),
            )
        })?;
        if curve.points.is_empty() {
            return Err(Error::file(path, "has no points; expected at least one"));
        }
        Ok(curve)
    }

    /// The plot: a line through all points, from left to right.
    pub fn drawing(&self) -> Drawing {
        let mut points = self.points.clone();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let series = [Mark::Line(4), Mark::Dots].map(|mark| Series {
            name: None,
            end: None,
            color: palette::PAIR[0],
            mark,
            points: points.clone(),
        });
        Chart {
            title: self.title.clone(),
            subtitle: self.subtitle.clone(),
            x: Axis::around(&self.x, Scale::Linear, points.iter().map(|p| p.0)),
            y: Axis::around(&self.y, Scale::Linear, points.iter().map(|p| p.1)),
            series: series.into(),
            names: Vec::new(),
        }
        .drawing(&ChartLayout::WIDE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_read_drawn_and_its_faults_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve.json");
        let with = |points: &str| {
            std::fs::write(&path, format!(r#"{{"title":"t","subtitle":"s","x":"cfg","y":"FD"{points}}}"#))
                .unwrap();
            ScoreCurve::read(&path)
        };
        let dots = |points: &str| {
            let drawing = with(points).unwrap().drawing();
            drawing.svg().unwrap().matches("<circle").count()
        };
        let one = dots(r#","points":[[1.0,2.0]]"#);
        assert!(one > 0);
        assert_eq!(dots(r#","points":[[2.0,9.5],[1.0,12.25],[3.0,11.0]]"#), 3 * one);
        for (points, fault) in [
            (r#","points":[]"#, "no points"),
            ("", "missing field"),
            (r#","points":1"#, "is not a score curve"),
        ] {
            let e = with(points).unwrap_err().to_string();
            assert!(e.contains("curve.json") && e.contains(fault), "{e}");
        }
    }
}
