//! A chart (two axes, curves, dots, names), and its layouts for wide pages and for phones.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::canvas::{Anchor, DrawingItem};

/// The layout of a chart. Sizes are in pixels. A page shows wide charts with at least 600 pixels and narrow ones with at least
/// 358, so that no letter is smaller than 12 pixels. Font sizes are 1.24 times those of CSS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChartLayout {
    /// Width of the drawing.
    pub width: f64,
    /// Height of the drawing, without additional lines of titles and legend.
    pub height: f64,
    /// Distance from the left edge to the drawing area.
    pub left: f64,
    /// Whether the legend is below the drawing area or on its right.
    pub legend_below: bool,
    /// Font size of the title.
    pub title: f64,
    /// Font size of all other text.
    pub text: f64,
}

impl ChartLayout {
    /// For files and wide pages.
    pub(crate) const WIDE: Self =
        Self { width: 1160.0, height: 780.0, left: 150.0, legend_below: false, title: 36.0, text: 30.0 };
    /// For phones and for two columns on paper.
    pub(crate) const NARROW: Self =
        Self { width: 720.0, height: 700.0, left: 130.0, legend_below: true, title: 34.0, text: 31.0 };
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mark {
    /// Dots.
    Dots,
    /// A line of this width.
    Line(u32),
    /// A faint line.
    Faint,
    /// A dashed line.
    Dashed,
}

/// Points, and how to draw them.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Text in the legend; without a text, the legend omits the series.
    pub name: Option<String>,
    /// Text at the last point.
    pub end: Option<String>,
    /// Colour.
    pub color: RGBColor,
    /// How to draw it.
    pub mark: Mark,
    /// Points in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

/// The content of a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// A line below the heading.
    pub subtitle: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// The series, in the order of drawing.
    pub series: Vec<Series>,
    /// Names along the upper edge, for example of sizes, by rising value of the horizontal axis.
    pub names: Vec<(f64, String)>,
}

/// A label.
pub(super) fn text(
    at: (f64, f64),
    text: impl Into<String>,
    size: f64,
    color: RGBColor,
    anchor: Anchor,
    bold: bool,
) -> DrawingItem {
    DrawingItem::Label { at, text: text.into(), size, color, anchor, bold }
}
