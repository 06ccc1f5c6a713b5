//! The layout of a chart: heading, axes, series, names and legend.

use super::canvas::{Anchor, Drawing, text_width};
use super::chart::{Chart, ChartLayout, text};
use super::frame::Frame;
use super::{legend, palette};

impl Chart {
    /// The drawing of the chart in a layout.
    pub(crate) fn drawing(&self, layout: &ChartLayout) -> Drawing {
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
        // Names of sizes are between the heading and the drawing area.
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

/// Breaks a text into lines of at most `room` pixels, between words.
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
