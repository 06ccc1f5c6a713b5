//! What a chart holds: two axes, curves and dots, names; and the layouts for a wide page and for a phone.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::canvas::{Anchor, Item};

/// Where a chart is shown. Sizes are pixels. Pages show wide charts from 600 pixels on, narrow ones from 358 on, so
/// that no letter is smaller than 12 pixels; sizes of letters are 1.24 times what CSS calls their size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Layout {
    /// Width of the drawing.
    pub width: f64,
    /// Height of the drawing without what titles and legend take beyond their usual place.
    pub height: f64,
    /// From the left edge to the drawing area.
    pub left: f64,
    /// Whether the legend stands below the drawing area; else it stands on its right.
    pub legend_below: bool,
    /// Size of the title's letters.
    pub title: f64,
    /// Size of all other letters.
    pub text: f64,
}

impl Layout {
    /// For files, and for pages with room.
    pub(crate) const WIDE: Self =
        Self { width: 1160.0, height: 780.0, left: 150.0, legend_below: false, title: 36.0, text: 30.0 };
    /// For phones, and for two columns on paper.
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

/// Points with how to draw them.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Text in the legend; series without one are not listed.
    pub name: Option<String>,
    /// Text at the last point.
    pub end: Option<String>,
    /// Colour.
    pub color: RGBColor,
    /// How.
    pub mark: Mark,
    /// Points in the axes' units.
    pub points: Vec<(f64, f64)>,
}

/// Everything in one plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// A line below it.
    pub subtitle: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// What is drawn, in this order.
    pub series: Vec<Series>,
    /// Names along the upper edge, as those of sizes, by rising value of the horizontal axis.
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
) -> Item {
    Item::Label { at, text: text.into(), size, color, anchor, bold }
}
