//! The legend of a chart, and the names at the ends of its lines.

use super::canvas::{Anchor, DrawingItem, text_width};
use super::chart::{Chart, ChartLayout, Mark, Series, text};
use super::frame::Frame;
use super::palette;

/// Distance from the left side of a mark to its name.
const MARK: f64 = 54.0;

/// The entries of a legend in columns.
pub(super) struct Entries<'a> {
    series: Vec<&'a Series>,
    columns: usize,
    column: f64,
    size: f64,
    /// Size of all columns in pixels.
    pub(super) width: f64,
    pub(super) height: f64,
}

/// The legend of a chart: one column on the right, or as many columns as fit below.
pub(super) fn entries<'a>(chart: &'a Chart, layout: &ChartLayout) -> Entries<'a> {
    let series: Vec<&Series> = chart.series.iter().filter(|s| s.name.is_some()).collect();
    let names = series.iter().filter_map(|s| s.name.as_deref());
    let widest = names.map(|name| text_width(name, layout.text, false)).fold(0.0, f64::max);
    let column = widest + MARK + 30.0;
    let fit = ((layout.width - 16.0) / column).floor().max(1.0) as usize;
    let columns = if layout.legend_below { fit.min(series.len().max(1)) } else { 1 };
    let rows = series.len().div_ceil(columns);
    let height = rows as f64 * 1.36 * layout.text;
    let width = if series.is_empty() { 28.0 } else { columns as f64 * column };
    Entries { series, columns, column, size: layout.text, width, height }
}

impl Entries<'_> {
    /// Draws the entries column by column, from the middle of the left side of the first mark.
    pub(super) fn draw(&self, (left, top): (f64, f64), items: &mut Vec<DrawingItem>) {
        let rows = self.series.len().div_ceil(self.columns).max(1);
        for (i, series) in self.series.iter().enumerate() {
            let x = left + (i / rows) as f64 * self.column;
            let y = top + (i % rows) as f64 * 1.36 * self.size;
            let line = |width, dash| DrawingItem::Line {
                points: vec![(x, y), (x + 40.0, y)],
                color: series.color,
                width,
                opacity: 1.0,
                dash,
            };
            items.push(match series.mark {
                Mark::Dots => DrawingItem::Dot { at: (x + 20.0, y), radius: 9.0, color: series.color },
                Mark::Line(width) => line(width, 0.0),
                Mark::Faint => line(4, 0.0),
                Mark::Dashed => line(3, 12.0),
            });
            let name = series.name.as_deref().unwrap_or_default();
            items.push(text((x + MARK, y), name, self.size, palette::INK, Anchor::Left, false));
        }
    }
}

/// A rectangle: left, right, top, bottom.
type Box4 = (f64, f64, f64, f64);

fn touch(a: &Box4, b: &Box4) -> bool {
    a.0 < b.1 && b.0 < a.1 && a.2 < b.3 && b.2 < a.3
}

/// Names at the ends of lines: next to the last point inside, where the fewest lines pass. A name without room is skipped,
/// because the legend has it.
pub(super) fn line_ends(frame: &Frame, items: &mut Vec<DrawingItem>) {
    let size = frame.layout.text;
    let ink = ink(frame);
    let mut taken: Vec<Box4> = Vec::new();
    for series in &frame.chart.series {
        let Some(name) = &series.end else { continue };
        let mut places = series.points.iter().filter_map(|p| frame.at(*p)).filter(|p| frame.inside(*p));
        let Some((x, y)) = places.next_back() else { continue };
        let (width, half) = (text_width(name, size, false), 0.5 * size);
        let lefts = [x + 16.0, x - 14.0 - width, x - width / 2.0];
        let heights = [0.0, 0.9, -0.9, 1.4, -1.4].map(|step| y + step * size);
        let candidates = heights
            .into_iter()
            .flat_map(|middle| lefts.map(|left| (left, left + width, middle - half, middle + half)));
        let free = candidates.filter(|b| {
            let inside = b.0 > frame.left && b.1 < frame.right && b.2 > frame.top && b.3 < frame.bottom;
            inside && !taken.iter().any(|other| touch(b, other))
        });
        let crossed =
            |b: &Box4| ink.iter().filter(|p| b.0 < p.0 && p.0 < b.1 && b.2 < p.1 && p.1 < b.3).count();
        if let Some(place) = free.min_by_key(crossed) {
            taken.push(place);
            let at = (place.0, (place.2 + place.3) / 2.0);
            items.push(text(at, name, size, series.color, Anchor::Left, false));
        }
    }
}

/// Places along all lines and dots, every few pixels.
fn ink(frame: &Frame) -> Vec<(f64, f64)> {
    let mut ink = Vec::new();
    for series in &frame.chart.series {
        let places: Vec<(f64, f64)> = series.points.iter().filter_map(|p| frame.at(*p)).collect();
        ink.extend(&places);
        if series.mark == Mark::Dots {
            continue;
        }
        for pair in places.windows(2) {
            let [a, b] = pair else { continue };
            let steps = ((b.0 - a.0).hypot(b.1 - a.1) / 5.0).min(400.0) as usize;
            ink.extend((1..steps).map(|i| {
                let t = i as f64 / steps as f64;
                (a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t)
            }));
        }
    }
    ink.retain(|p| frame.inside(*p));
    ink
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::axis::{Axis, Scale};

    fn chart(lines: usize) -> Chart {
        let series = (0..lines).map(|i| Series {
            name: Some(format!("größe {i} · 12.3M")),
            end: Some(format!("größe {i}")),
            color: palette::ramp(i, lines),
            mark: Mark::Line(3),
            points: vec![(1.0, 9.0), (4.0 + 4.0 * i as f64, 1.0 + i as f64)],
        });
        Chart {
            title: "A title".into(),
            subtitle: "A subtitle that is long enough to need more than one line on a telephone, as some do"
                .into(),
            x: Axis::around("x", Scale::Linear, [1.0, 30.0]),
            y: Axis::around("y", Scale::Linear, [0.5, 10.0]),
            series: series.collect(),
            names: vec![],
        }
    }

    fn boxes(items: &[DrawingItem], wanted: impl Fn(&str) -> bool) -> Vec<Box4> {
        items
            .iter()
            .filter_map(|item| match item {
                DrawingItem::Label { at, text, size, anchor: Anchor::Left, bold, .. } if wanted(text) => {
                    let half = size / 2.0;
                    Some((at.0, at.0 + text_width(text, *size, *bold), at.1 - half, at.1 + half))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_legend_of_any_length_fits_into_the_image_without_overlap() {
        for layout in [ChartLayout::WIDE, ChartLayout::NARROW] {
            for lines in [1, 5, 24, 40] {
                let drawing = chart(lines).drawing(&layout);
                let found = boxes(&drawing.items, |t| t.contains('·'));
                assert_eq!(found.len(), lines);
                for (i, a) in found.iter().enumerate() {
                    assert!(a.1 <= f64::from(drawing.size.0) && a.3 <= f64::from(drawing.size.1), "{a:?}");
                    assert!(!found.iter().skip(i + 1).any(|b| touch(a, b)), "{lines}: {a:?}");
                }
            }
        }
    }

    #[test]
    fn ends_of_lines_are_named_without_overprint_and_headings_stay_inside() {
        for layout in [ChartLayout::WIDE, ChartLayout::NARROW] {
            let drawing = chart(6).drawing(&layout);
            let found = boxes(&drawing.items, |t| t.starts_with("größe") && !t.contains('·'));
            assert_eq!(found.len(), 6, "few lines have room for all names");
            for (i, a) in found.iter().enumerate() {
                assert!(!found.iter().skip(i + 1).any(|b| touch(a, b)), "{a:?}");
            }
            let all = boxes(&drawing.items, |_| true);
            assert!(all.iter().all(|b| b.0 >= 0.0 && b.1 <= layout.width), "{all:?}");
        }
    }
}
