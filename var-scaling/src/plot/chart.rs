//! A chart: two axes, curves and dots, a legend; laid out for a wide page or for a phone.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::canvas::{Anchor, Drawing, Item, text_width};
use super::frame::Frame;
use super::{legend, palette};

/// Where a chart is shown. Sizes are pixels. Pages show wide charts from 600 pixels on, narrow ones from 358 on, so
/// that no letter is smaller than 12 pixels; sizes of letters are 1.24 times what CSS calls their size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layout {
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
    pub const WIDE: Self =
        Self { width: 1160.0, height: 780.0, left: 150.0, legend_below: false, title: 36.0, text: 30.0 };
    /// For phones, and for two columns on paper.
    pub const NARROW: Self =
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

impl Chart {
    /// Lays the chart out.
    pub fn drawing(&self, layout: &Layout) -> Drawing {
        let mut items = Vec::new();
        let begin = if layout.legend_below { 12.0 } else { layout.left };
        let room = layout.width - begin - 12.0;
        let mut y = 38.0;
        for line in wrap(&self.title, layout.title, true, room) {
            items.push(text((begin, y), line, layout.title, palette::INK, Anchor::Left, true));
            y += layout.title * 1.2;
        }
        for line in wrap(&self.subtitle, layout.text, false, room) {
            items.push(text((begin, y), line, layout.text, palette::QUIET, Anchor::Left, false));
            y += layout.text * 1.25;
        }
        // Names of sizes stand between the heading and the drawing area.
        let top = y + if self.names.is_empty() { 8.0 } else { 44.0 };
        let entries = legend::entries(self, layout);
        let below = layout.width - 28.0;
        let right = if layout.legend_below { below } else { layout.width - entries.width - 22.0 };
        let axis = 4.2 * layout.text;
        let least = top + layout.height - 270.0;
        let bottom = if layout.legend_below { least } else { least.max(top + 16.0 + entries.height - axis) };
        let frame = Frame { chart: self, layout, left: layout.left, right, top, bottom };
        items.extend(frame.axes());
        for series in &self.series {
            frame.series(series, &mut items);
        }
        frame.names(&mut items);
        legend::line_ends(&frame, &mut items);
        let place =
            if layout.legend_below { (16.0, bottom + axis + 8.0) } else { (right + 30.0, top + 16.0) };
        entries.draw(place, &mut items);
        let legend_end = if layout.legend_below { place.1 + entries.height } else { 0.0 };
        let height = (bottom + axis).max(legend_end);
        Drawing { size: (layout.width as u32, height.ceil() as u32), items }
    }
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

/// The lines of a text that is no wider than `room` pixels, broken between words.
fn wrap(text: &str, size: f64, bold: bool, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), size, bold) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
