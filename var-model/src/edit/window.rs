//! The square of a photo that the model sees.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::region::{Bounds, Region};
use crate::error::{Error, Result};

/// Maximum number of pixels of a window: 0.4 GB. Only a very long and narrow photo needs more.
const MOST_PIXELS: u64 = 1 << 27;

/// A square over a photo. It can be larger than a narrow photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    /// First column of the photo; negative if the window begins outside.
    pub left: i64,
    /// First row of the photo; negative if the window begins outside.
    pub top: i64,
    /// Columns and rows.
    pub side: u32,
}

impl Window {
    /// The square around the generated part of a photo of `width` × `height` pixels: the largest square that fits into
    /// the photo, or a larger one if that does not contain `bounds`. It is centred on `bounds` as far as the borders of
    /// the photo allow.
    ///
    /// # Errors
    /// When it would have more than 2²⁷ pixels.
    pub(crate) fn around(bounds: Option<Bounds>, width: u32, height: u32) -> Result<Self> {
        let b = bounds.unwrap_or(Bounds { left: 0, top: 0, right: width, bottom: height });
        let mut side = width.min(height);
        if bounds.is_some() {
            side = side.max(b.right - b.left).max(b.bottom - b.top);
        }
        if u64::from(side) * u64::from(side) > MOST_PIXELS {
            return Err(Error::Config(format!(
                "the square around the generated part has {side} × {side} pixels; at most {MOST_PIXELS} pixels \
                 are possible. Make the photo or the region smaller."
            )));
        }
        let place = |from: u32, to: u32, length: u32| {
            let room = i64::from(length) - i64::from(side);
            let centred = (i64::from(from) + i64::from(to) - i64::from(side)).div_euclid(2);
            // If the window is wider than the photo, the photo is in its middle.
            if room < 0 { room.div_euclid(2) } else { centred.clamp(0, room) }
        };
        Ok(Self { left: place(b.left, b.right, width), top: place(b.top, b.bottom, height), side })
    }

    /// Whether it is larger than a photo of `width` × `height` pixels in a direction.
    pub(crate) fn sticks_out(&self, width: u32, height: u32) -> bool {
        self.side > width || self.side > height
    }

    /// The column (or row) of a photo, which has `length` of them, under column (or row) `at` of a window that begins at
    /// `begin`. Outside the photo: its edge.
    fn under(at: u32, begin: i64, length: u32) -> u32 {
        (i64::from(at) + begin).clamp(0, i64::from(length.max(1)) - 1) as u32
    }

    /// The part of `photo` under the window. Outside the photo, its edge pixels are repeated.
    pub(crate) fn cut(&self, photo: &RgbImage) -> RgbImage {
        let (width, height) = photo.dimensions();
        RgbImage::from_fn(self.side, self.side, |x, y| {
            *photo.get_pixel(Self::under(x, self.left, width), Self::under(y, self.top, height))
        })
    }

    /// The part of `region` under the window; its edge is repeated in the same way.
    pub(crate) fn cut_region(&self, region: &Region) -> Region {
        let (width, height) = (region.width(), region.height());
        Region::new(self.side, self.side, |x, y| {
            region.generates(Self::under(x, self.left, width), Self::under(y, self.top, height))
        })
    }

    /// The place in the window of the photo pixel at (`x`, `y`); `None` if it is outside.
    pub(crate) fn place_of(&self, x: u32, y: u32) -> Option<(u32, u32)> {
        let inside = |at: u32, begin: i64| {
            u32::try_from(i64::from(at) - begin).ok().filter(|&place| place < self.side)
        };
        Some((inside(x, self.left)?, inside(y, self.top)?))
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use proptest::prelude::*;

    use super::*;

    /// A photo whose pixels say where they are.
    fn photo(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 7]))
    }

    proptest! {
        #[test]
        fn the_window_contains_the_region_and_leaves_the_photo_only_if_it_must(
            (width, height) in (1_u32..90, 1_u32..90),
            (a, b, c, d) in (0.0..1.0_f64, 0.0..1.0_f64, 0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let span = |a: f64, b: f64, length: u32| {
                let (a, b) = ((a * f64::from(length)) as u32, (b * f64::from(length)) as u32);
                (a.min(b), a.max(b) + 1)
            };
            let ((left, right), (top, bottom)) = (span(a, b, width), span(c, d, height));
            let bounds = Bounds { left, top, right, bottom };
            let window = Window::around(Some(bounds), width, height).unwrap();
            prop_assert!(window.place_of(left, top).is_some());
            prop_assert!(window.place_of(right - 1, bottom - 1).is_some());
            let larger = (right - left).max(bottom - top);
            prop_assert_eq!(window.side, width.min(height).max(larger));
            let (end_x, end_y) = (window.left + i64::from(window.side), window.top + i64::from(window.side));
            for (begin, end, length) in [(window.left, end_x, width), (window.top, end_y, height)] {
                if window.side <= length {
                    prop_assert!(begin >= 0 && end <= i64::from(length));
                } else {
                    prop_assert!(begin <= 0 && end >= i64::from(length));
                }
            }
            prop_assert_eq!(window.sticks_out(width, height), larger > width.min(height));
        }

        #[test]
        fn pixels_of_the_photo_are_found_again_where_they_were_put(
            (width, height) in (1_u32..40, 1_u32..40), at in 0_u32..40, size in 1_u32..40,
        ) {
            let at = at.min(width - 1);
            let bounds = Bounds { left: at, top: 0, right: (at + size).min(width), bottom: height };
            let window = Window::around(Some(bounds), width, height).unwrap();
            let photo = photo(width, height);
            let cut = window.cut(&photo);
            for (x, y, pixel) in photo.enumerate_pixels() {
                if let Some((u, v)) = window.place_of(x, y) {
                    prop_assert_eq!(cut.get_pixel(u, v), pixel);
                }
            }
        }
    }

    #[test]
    fn the_window_is_centred_on_the_region_until_a_border_stops_it() {
        let around =
            |left, right| Window::around(Some(Bounds { left, top: 3, right, bottom: 5 }), 100, 20).unwrap();
        assert_eq!(around(40, 60), Window { left: 40, top: 0, side: 20 });
        assert_eq!(around(0, 4).left, 0);
        assert_eq!(around(97, 99).left, 80);
        assert_eq!(Window::around(None, 100, 20).unwrap(), Window { left: 40, top: 0, side: 20 });
    }

    #[test]
    fn beyond_the_photo_its_edge_is_repeated() {
        let bounds = Bounds { left: 0, top: 0, right: 6, bottom: 2 };
        let window = Window::around(Some(bounds), 6, 2).unwrap();
        assert_eq!(window, Window { left: 0, top: -2, side: 6 });
        let cut = window.cut(&photo(6, 2));
        let rows: Vec<u8> = (0..6).map(|y| cut.get_pixel(3, y)[1]).collect();
        assert_eq!(rows, [0, 0, 0, 1, 1, 1]);
        let region = window.cut_region(&Region::new(6, 2, |_, y| y == 1));
        assert_eq!(region, Region::new(6, 6, |_, y| y >= 3));
    }

    #[test]
    fn a_window_beyond_all_bounds_is_refused() {
        let bounds = Bounds { left: 0, top: 0, right: 65536, bottom: 1 };
        assert!(Window::around(Some(bounds), 65536, 1).unwrap_err().to_string().contains("65536"));
        assert_eq!(Window::around(None, 65536, 1).unwrap().side, 1);
    }
}
