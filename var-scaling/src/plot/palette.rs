//! Colours that colour-blind readers can distinguish.

use plotters::style::RGBColor;

/// Colour of text and points.
pub(crate) const INK: RGBColor = RGBColor(33, 37, 41);
/// Secondary text.
pub(crate) const QUIET: RGBColor = RGBColor(96, 104, 112);
/// Grid lines.
pub(crate) const GRID: RGBColor = RGBColor(228, 231, 235);
/// Axis lines.
pub(crate) const AXIS: RGBColor = RGBColor(140, 148, 156);

/// Two kinds next to each other (blue and vermilion of Okabe and Ito).
pub(crate) const PAIR: [RGBColor; 2] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0)];

/// The interval of a forecast.
pub(crate) const FORECAST: RGBColor = RGBColor(204, 121, 167);
/// A held-out size.
pub(crate) const HELD_OUT: RGBColor = INK;

/// Kinds in an order that means nothing: the other colours of Okabe and Ito that are dark enough, then again.
const KINDS: [RGBColor; 5] =
    [PAIR[0], PAIR[1], RGBColor(0, 158, 115), RGBColor(204, 121, 167), RGBColor(230, 159, 0)];

/// Colour of kind `i`.
pub(crate) fn kind(i: usize) -> RGBColor {
    KINDS[i % KINDS.len()]
}

/// Colours of a ramp that gets darker in print, too: viridis without its pale end.
const RAMP: [(u8, u8, u8); 6] =
    [(122, 209, 81), (53, 183, 121), (31, 158, 137), (38, 130, 142), (49, 104, 142), (68, 1, 84)];

/// Colour `i` of `count` on the ramp, for sizes in order.
pub(crate) fn ramp(i: usize, count: usize) -> RGBColor {
    let place = if count < 2 { 1.0 } else { i as f64 / (count - 1) as f64 } * (RAMP.len() - 1) as f64;
    let low = (place.floor() as usize).min(RAMP.len() - 2);
    let share = place - low as f64;
    let (a, b) = (RAMP[low], RAMP[low + 1]);
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_darkens_whatever_the_count() {
        for count in [1, 2, 5, 9] {
            let light: Vec<u32> = (0..count)
                .map(|i| ramp(i, count))
                .map(|c| 2 * u32::from(c.0) + 5 * u32::from(c.1) + u32::from(c.2))
                .collect();
            assert!(light.windows(2).all(|w| w[0] > w[1]), "{count}: {light:?}");
        }
    }
}
