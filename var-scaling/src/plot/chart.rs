//! A chart: two axes, curves and dots, a legend beside the drawing area.

use plotters::style::RGBColor;

use super::axis::Axis;
use super::canvas::{Anchor, Drawing, Item, label, text_width};
use super::palette;

/// Size of every plot in pixels; pages show it at half of that.
pub const SIZE: (u32, u32) = (1160, 780);
const LEFT: f64 = 140.0;
const TOP: f64 = 150.0;
const BOTTOM: f64 = 120.0;
const TITLE: f64 = 36.0;
const TEXT: f64 = 27.0;
const SMALL: f64 = 24.0;

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
    pub fn drawing(&self) -> Drawing {
        let frame = Frame::new(self);
        let mut items = frame.axes();
        for series in &self.series {
            frame.series(series, &mut items);
        }
        frame.names(&mut items);
        frame.legend(&mut items);
        Drawing { size: SIZE, items }
    }
}

/// The drawing area of a chart.
struct Frame<'a> {
    chart: &'a Chart,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl<'a> Frame<'a> {
    fn new(chart: &'a Chart) -> Self {
        let legend = chart
            .series
            .iter()
            .filter_map(|s| s.name.as_ref())
            .map(|n| text_width(n, SMALL, false))
            .fold(0.0, f64::max);
        let right = f64::from(SIZE.0) - if legend > 0.0 { legend + 104.0 } else { 50.0 };
        Self { chart, left: LEFT, right, top: TOP, bottom: f64::from(SIZE.1) - BOTTOM }
    }

    /// Place of a point in pixels; `None` outside of the drawing area by more than a hair.
    fn at(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let (px, py) = (self.chart.x.place(x)?, self.chart.y.place(y)?);
        Some((self.left + px * (self.right - self.left), self.bottom - py * (self.bottom - self.top)))
    }

    fn inside(&self, (x, y): (f64, f64)) -> bool {
        (self.left - 1.0..=self.right + 1.0).contains(&x) && (self.top - 1.0..=self.bottom + 1.0).contains(&y)
    }

    fn axes(&self) -> Vec<Item> {
        let line = |points: Vec<(f64, f64)>, color, width| Item::Line {
            points,
            color,
            width,
            opacity: 1.0,
            dash: 0.0,
        };
        let mut items = Vec::new();
        let title = label((self.left, 38.0), &self.chart.title, TITLE, Anchor::Left);
        items.push(match title {
            Item::Label { at, text, size, color, anchor, .. } => {
                Item::Label { at, text, size, color, anchor, bold: true }
            }
            other => other,
        });
        items.push(quiet((self.left, 76.0), &self.chart.subtitle, SMALL, Anchor::Left));
        for tick in self.chart.x.ticks() {
            let Some(place) = self.chart.x.place(tick.value) else { continue };
            let x = self.left + place * (self.right - self.left);
            if let Some(text) = &tick.label {
                items.push(line(vec![(x, self.top), (x, self.bottom)], palette::GRID, 2));
                items.push(quiet((x, self.bottom + 18.0), text, SMALL, Anchor::Top));
            }
            let length = if tick.label.is_some() { 12.0 } else { 6.0 };
            items.push(line(vec![(x, self.bottom), (x, self.bottom + length)], palette::AXIS, 2));
        }
        let mut widest: f64 = 0.0;
        for tick in self.chart.y.ticks() {
            let Some(place) = self.chart.y.place(tick.value) else { continue };
            let y = self.bottom - place * (self.bottom - self.top);
            if let Some(text) = &tick.label {
                items.push(line(vec![(self.left, y), (self.right, y)], palette::GRID, 2));
                items.push(quiet((self.left - 18.0, y), text, SMALL, Anchor::Right));
                widest = widest.max(text_width(text, SMALL, false));
            }
            let length = if tick.label.is_some() { 12.0 } else { 6.0 };
            items.push(line(vec![(self.left - length, y), (self.left, y)], palette::AXIS, 2));
        }
        let corner = vec![(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)];
        items.push(line(corner, palette::AXIS, 2));
        let middle = (self.left + self.right) / 2.0;
        items.push(label((middle, self.bottom + 68.0), &self.chart.x.title, TEXT, Anchor::Top));
        let beside = (self.left - widest - 48.0).max(22.0);
        let upwards =
            label((beside, (self.top + self.bottom) / 2.0), &self.chart.y.title, TEXT, Anchor::Upwards);
        items.push(upwards);
        items
    }

    fn series(&self, series: &Series, items: &mut Vec<Item>) {
        let color = series.color;
        if series.mark == Mark::Dots {
            let places = series.points.iter().filter_map(|p| self.at(*p)).filter(|p| self.inside(*p));
            items.extend(places.map(|at| Item::Dot { at, radius: 9.0, color }));
            return;
        }
        let (width, opacity, dash) = match series.mark {
            Mark::Line(width) => (width, 1.0, 0.0),
            Mark::Faint => (3, 0.45, 0.0),
            Mark::Dashed | Mark::Dots => (3, 0.9, 14.0),
        };
        for points in self.clipped(&series.points) {
            items.push(Item::Line { points, color, width, opacity, dash });
        }
    }

    /// The pieces of a line inside of the drawing area, cut at its upper and lower edge.
    fn clipped(&self, points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
        let places: Vec<(f64, f64)> = points.iter().filter_map(|p| self.at(*p)).collect();
        let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut piece: Vec<(f64, f64)> = Vec::new();
        for pair in places.windows(2) {
            let [a, b] = pair else { continue };
            let Some((from, to)) = cut(*a, *b, self.top, self.bottom) else {
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

    /// Names above the drawing area, each over its place; one that would touch its neighbour is left out.
    fn names(&self, items: &mut Vec<Item>) {
        let mut end = f64::NEG_INFINITY;
        for (value, text) in &self.chart.names {
            let Some(place) = self.chart.x.place(*value) else { continue };
            let x = self.left + place * (self.right - self.left);
            let half = text_width(text, SMALL, false) / 2.0;
            if x - half < end + 8.0 {
                continue;
            }
            end = x + half;
            items.push(quiet((x, self.top - 40.0), text, SMALL, Anchor::Top));
            let points = vec![(x, self.top - 10.0), (x, self.top)];
            items.push(Item::Line { points, color: palette::AXIS, width: 2, opacity: 1.0, dash: 0.0 });
        }
    }

    fn legend(&self, items: &mut Vec<Item>) {
        let x = self.right + 34.0;
        let mut y = self.top + 16.0;
        for series in &self.chart.series {
            let Some(name) = &series.name else { continue };
            let line = |width, dash| Item::Line {
                points: vec![(x, y), (x + 40.0, y)],
                color: series.color,
                width,
                opacity: 1.0,
                dash,
            };
            items.push(match series.mark {
                Mark::Dots => Item::Dot { at: (x + 20.0, y), radius: 9.0, color: series.color },
                Mark::Line(width) => line(width, 0.0),
                Mark::Faint => line(4, 0.0),
                Mark::Dashed => line(3, 12.0),
            });
            items.push(label((x + 54.0, y), name, SMALL, Anchor::Left));
            y += 38.0;
        }
    }
}

fn quiet(at: (f64, f64), text: &str, size: f64, anchor: Anchor) -> Item {
    Item::Label { at, text: text.into(), size, color: palette::QUIET, anchor, bold: false }
}

/// The part of a line between two heights.
fn cut(a: (f64, f64), b: (f64, f64), top: f64, bottom: f64) -> Option<((f64, f64), (f64, f64))> {
    let (mut from, mut to) = (0.0_f64, 1.0_f64);
    let rise = b.1 - a.1;
    for (edge, sign) in [(top, 1.0), (bottom, -1.0)] {
        // Inside where sign · (y − edge) ≥ 0.
        let (start, slope) = (sign * (a.1 - edge), sign * rise);
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
    let at = |t: f64| (a.0 + (b.0 - a.0) * t, a.1 + rise * t);
    (from < to).then(|| (at(from), at(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_edges() {
        assert_eq!(cut((0.0, 0.0), (10.0, 10.0), 2.0, 8.0), Some(((2.0, 2.0), (8.0, 8.0))));
        assert_eq!(cut((0.0, 9.0), (10.0, 9.0), 2.0, 8.0), None);
        assert_eq!(cut((0.0, 5.0), (10.0, 5.0), 2.0, 8.0), Some(((0.0, 5.0), (10.0, 5.0))));
        assert_eq!(cut((0.0, 0.0), (1.0, 1.0), 2.0, 8.0), None);
    }
}
