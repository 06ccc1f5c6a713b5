//! The drawing area of a chart: axes, curves cut at its edges, dots.

use super::canvas::{Anchor, DrawingItem, text_width};
use super::chart::{Chart, ChartLayout, Mark, Series, text};
use super::palette;

/// The drawing area of a chart, in pixels.
pub(super) struct Frame<'a> {
    pub(super) chart: &'a Chart,
    pub(super) layout: &'a ChartLayout,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame<'_> {
    /// Place of a point in pixels; `None` if an axis cannot show it.
    pub(super) fn at(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let (px, py) = (self.chart.x.place(x)?, self.chart.y.place(y)?);
        Some((self.left + px * (self.right - self.left), self.bottom - py * (self.bottom - self.top)))
    }

    /// Whether a place is inside, with a tolerance of one pixel.
    pub(super) fn inside(&self, (x, y): (f64, f64)) -> bool {
        (self.left - 1.0..=self.right + 1.0).contains(&x) && (self.top - 1.0..=self.bottom + 1.0).contains(&y)
    }

    /// Grid, ticks with labels, and titles.
    pub(super) fn axes(&self) -> Vec<DrawingItem> {
        let size = self.layout.text;
        let line = |points: Vec<(f64, f64)>, color, width| DrawingItem::Line {
            points,
            color,
            width,
            opacity: 1.0,
            dash: 0.0,
        };
        let mut items = Vec::new();
        let mut end = f64::NEG_INFINITY;
        for tick in self.chart.x.ticks() {
            let Some(place) = self.chart.x.place(tick.value) else { continue };
            let x = self.left + place * (self.right - self.left);
            let half = tick.label.as_ref().map_or(0.0, |label| text_width(label, size, false) / 2.0);
            // A label that would touch the previous one is skipped. Its tick stays.
            if let Some(label) = tick.label.as_ref().filter(|_| x - half > end + 12.0) {
                end = x + half;
                items.push(line(vec![(x, self.top), (x, self.bottom)], palette::GRID, 2));
                items.push(text((x, self.bottom + 18.0), label, size, palette::QUIET, Anchor::Top, false));
            }
            let length = if tick.label.is_some() { 12.0 } else { 6.0 };
            items.push(line(vec![(x, self.bottom), (x, self.bottom + length)], palette::AXIS, 2));
        }
        let mut widest: f64 = 0.0;
        let mut above = f64::INFINITY;
        for tick in self.chart.y.ticks() {
            let Some(place) = self.chart.y.place(tick.value) else { continue };
            let y = self.bottom - place * (self.bottom - self.top);
            if let Some(label) = tick.label.as_ref().filter(|_| y < above - size) {
                above = y;
                items.push(line(vec![(self.left, y), (self.right, y)], palette::GRID, 2));
                items.push(text((self.left - 18.0, y), label, size, palette::QUIET, Anchor::Right, false));
                widest = widest.max(text_width(label, size, false));
            }
            let length = if tick.label.is_some() { 12.0 } else { 6.0 };
            items.push(line(vec![(self.left - length, y), (self.left, y)], palette::AXIS, 2));
        }
        let corner = vec![(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)];
        items.push(line(corner, palette::AXIS, 2));
        let middle = (self.left + self.right) / 2.0;
        let below = (middle, self.bottom + 26.0 + 1.3 * size);
        items.push(text(below, &self.chart.x.title, size, palette::INK, Anchor::Top, false));
        let beside = (self.left - widest - 44.0).max(16.0);
        let place = (beside, (self.top + self.bottom) / 2.0);
        items.push(text(place, &self.chart.y.title, size, palette::INK, Anchor::Upwards, false));
        items
    }

    /// The dots, or the pieces of a line, that are inside.
    pub(super) fn series(&self, series: &Series, items: &mut Vec<DrawingItem>) {
        let color = series.color;
        if series.mark == Mark::Dots {
            let places = series.points.iter().filter_map(|p| self.at(*p)).filter(|p| self.inside(*p));
            items.extend(places.map(|at| DrawingItem::Dot { at, radius: 9.0, color }));
            return;
        }
        let (width, opacity, dash) = match series.mark {
            Mark::Line(width) => (width, 1.0, 0.0),
            Mark::Faint => (3, 0.45, 0.0),
            Mark::Dashed | Mark::Dots => (3, 0.9, 14.0),
        };
        for points in self.clipped(&series.points) {
            items.push(DrawingItem::Line { points, color, width, opacity, dash });
        }
    }

    /// The pieces of a line inside of the drawing area.
    fn clipped(&self, points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
        let places: Vec<(f64, f64)> = points.iter().filter_map(|p| self.at(*p)).collect();
        let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut piece: Vec<(f64, f64)> = Vec::new();
        for pair in places.windows(2) {
            let [a, b] = pair else { continue };
            let Some((from, to)) = cut(*a, *b, (self.left, self.right), (self.top, self.bottom)) else {
                pieces.push(std::mem::take(&mut piece));
                continue;
            };
            if piece.last() != Some(&from) {
                pieces.push(std::mem::take(&mut piece));
                piece.push(from);
            }
            piece.push(to);
        }
        pieces.push(piece);
        pieces.retain(|p| p.len() > 1);
        pieces
    }

    /// Names above the drawing area, each over its place. From the right, a name that would touch the next one is skipped:
    /// the largest size always has its name.
    pub(super) fn names(&self, items: &mut Vec<DrawingItem>) {
        let size = self.layout.text;
        let mut next = f64::INFINITY;
        let mut names: Vec<&(f64, String)> = self.chart.names.iter().collect();
        names.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (value, name) in names {
            let Some(place) = self.chart.x.place(*value) else { continue };
            let x = self.left + place * (self.right - self.left);
            let half = text_width(name, size, false) / 2.0;
            if x + half > next - 10.0 || x + half > self.layout.width {
                continue;
            }
            next = x - half;
            items.push(text((x, self.top - 44.0), name, size, palette::QUIET, Anchor::Top, false));
            let points = vec![(x, self.top - 10.0), (x, self.top)];
            items.push(DrawingItem::Line { points, color: palette::AXIS, width: 2, opacity: 1.0, dash: 0.0 });
        }
    }
}

/// The part of a line between two columns and two rows.
fn cut(
    a: (f64, f64),
    b: (f64, f64),
    columns: (f64, f64),
    rows: (f64, f64),
) -> Option<((f64, f64), (f64, f64))> {
    let (mut from, mut to) = (0.0_f64, 1.0_f64);
    let run = (b.0 - a.0, b.1 - a.1);
    for (at, slope, low, high) in [(a.0, run.0, columns.0, columns.1), (a.1, run.1, rows.0, rows.1)] {
        for (edge, sign) in [(low, 1.0), (high, -1.0)] {
            // The inside is where sign · (place − edge) ≥ 0.
            let (start, slope) = (sign * (at - edge), sign * slope);
            if slope.abs() < 1e-12 {
                if start < 0.0 {
                    return None;
                }
            } else if slope > 0.0 {
                from = from.max(-start / slope);
            } else {
                to = to.min(-start / slope);
            }
        }
    }
    let at = |t: f64| (a.0 + run.0 * t, a.1 + run.1 * t);
    (from < to).then(|| (at(from), at(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_all_four_edges() {
        let cut = |a, b| cut(a, b, (1.0, 9.0), (2.0, 8.0));
        assert_eq!(cut((0.0, 0.0), (10.0, 10.0)), Some(((2.0, 2.0), (8.0, 8.0))));
        assert_eq!(cut((0.0, 5.0), (10.0, 5.0)), Some(((1.0, 5.0), (9.0, 5.0))));
        assert_eq!(cut((5.0, 0.0), (5.0, 10.0)), Some(((5.0, 2.0), (5.0, 8.0))));
        assert_eq!(cut((0.0, 9.0), (10.0, 9.0)), None);
        assert_eq!(cut((0.0, 0.0), (0.5, 10.0)), None);
    }
}
