//! Which pixels of a photo are generated.

use image::RgbImage;

use super::fraction_box::FractionBox;

/// Minimum brightness of a white pixel of a mask.
const WHITE: u32 = 128;

/// A rectangle of pixels; it does not include `right` and `bottom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Column after the last.
    pub right: u32,
    /// Row after the last.
    pub bottom: u32,
}

/// Says for each pixel of a photo whether it is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    width: u32,
    height: u32,
    generate: Vec<bool>,
}

impl Region {
    /// A region of `width` × `height` pixels; generates the pixels for which `generates(x, y)` is true.
    pub(crate) fn new(width: u32, height: u32, generates: impl Fn(u32, u32) -> bool) -> Self {
        let generate =
            (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| generates(x, y));
        Self { width, height, generate: generate.collect() }
    }

    /// The white pixels of `mask`, or with `invert` all others.
    pub(crate) fn of_mask(mask: &RgbImage, invert: bool) -> Self {
        let white = |x, y| {
            let [r, g, b] = mask.get_pixel(x, y).0.map(u32::from);
            // Brightness with the weights of ITU-R BT.601, in thousandths.
            299 * r + 587 * g + 114 * b >= 1000 * WHITE
        };
        Self::new(mask.width(), mask.height(), |x, y| white(x, y) != invert)
    }

    /// The inside of a box, or with `outpaint` its outside. The ends of the box are rounded to pixels.
    pub(crate) fn of_box(bounds: &FractionBox, width: u32, height: u32, outpaint: bool) -> Self {
        let (rows, columns) = (bounds.rows(height as usize), bounds.columns(width as usize));
        let inside = |x: u32, y: u32| rows.contains(&(y as usize)) && columns.contains(&(x as usize));
        Self::new(width, height, |x, y| inside(x, y) != outpaint)
    }

    /// Number of columns.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub(crate) fn height(&self) -> u32 {
        self.height
    }

    /// Whether the pixel at (`x`, `y`) is generated; false outside.
    pub(crate) fn generates(&self, x: u32, y: u32) -> bool {
        x < self.width && self.row(y).get(x as usize).copied().unwrap_or(false)
    }

    /// Row `y`; empty outside.
    pub(crate) fn row(&self, y: u32) -> &[bool] {
        let begin = y as usize * self.width as usize;
        self.generate.get(begin..begin + self.width as usize).unwrap_or_default()
    }

    /// Number of generated pixels.
    pub(crate) fn count(&self) -> usize {
        self.generate.iter().filter(|&&generate| generate).count()
    }

    /// The smallest rectangle around all generated pixels; `None` if there are none.
    pub(crate) fn bounds(&self) -> Option<Bounds> {
        let mut found: Option<Bounds> = None;
        for y in 0..self.height {
            let row = self.row(y);
            let (Some(first), Some(last)) = (row.iter().position(|&g| g), row.iter().rposition(|&g| g))
            else {
                continue;
            };
            let (left, right) = (first as u32, last as u32 + 1);
            found = Some(found.map_or(Bounds { left, top: y, right, bottom: y + 1 }, |b| Bounds {
                left: b.left.min(left),
                top: b.top,
                right: b.right.max(right),
                bottom: y + 1,
            }));
        }
        found
    }

    /// The region at another size: each pixel takes the value under its centre.
    pub(crate) fn resized(&self, width: u32, height: u32) -> Self {
        let under = |at: u32, from: u32, to: u32| {
            ((2 * u64::from(at) + 1) * u64::from(from) / (2 * u64::from(to))) as u32
        };
        Self::new(width, height, |x, y| {
            self.generates(under(x, self.width, width), under(y, self.height, height))
        })
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn white_generates_from_128_on_and_inverting_swaps() {
        let mask = RgbImage::from_fn(3, 1, |x, _| Rgb([[0, 127, 128][x as usize]; 3]));
        assert_eq!(Region::of_mask(&mask, false).row(0), [false, false, true]);
        assert_eq!(Region::of_mask(&mask, true).row(0), [true, true, false]);
    }

    #[test]
    fn bounds_hold_all_generated_pixels_and_nothing_else() {
        let region = Region::new(9, 7, |x, y| (x, y) == (2, 5) || (x, y) == (6, 1));
        assert_eq!(region.bounds(), Some(Bounds { left: 2, top: 1, right: 7, bottom: 6 }));
        assert_eq!(region.count(), 2);
        assert_eq!(Region::new(9, 7, |_, _| false).bounds(), None);
    }

    #[test]
    fn a_mask_of_another_size_is_stretched_over_the_photo() {
        let small = Region::new(2, 2, |x, y| x == 1 && y == 0);
        assert_eq!(small.resized(6, 4), Region::new(6, 4, |x, y| x >= 3 && y < 2));
        assert_eq!(small.resized(6, 4).resized(2, 2), small);
    }

    #[test]
    fn a_box_over_a_photo_is_rounded_to_pixels() {
        let bounds = FractionBox::new(0.25, 0.5, 0.75, 1.0).unwrap();
        assert_eq!(
            Region::of_box(&bounds, 10, 6, false),
            Region::new(10, 6, |x, y| x >= 5 && (2..4).contains(&y))
        );
        assert_eq!(Region::of_box(&bounds, 10, 6, true).count(), 60 - 10);
    }
}
