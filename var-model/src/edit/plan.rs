//! Converts a photo of any size to the square and the mask that the model works on, and the result back.

use image::{Rgb, RgbImage};
use var_tokenizer::images::resize::{Filter, resize};

use super::blend::{Weights, blend};
use super::fraction_box::FractionBox;
use super::mask::LatentMask;
use super::region::Region;
use super::window::Window;
use crate::error::{Error, Result};

/// The part of a photo to generate.
#[derive(Debug, Clone, PartialEq)]
pub enum Area {
    /// The inside of a box.
    Box(FractionBox),
    /// The outside of a box.
    Outside(FractionBox),
    /// These pixels; the region has the size of the photo.
    Pixels(Region),
}

/// The plan of one edit.
#[derive(Debug)]
pub(crate) struct EditPlan {
    photo: RgbImage,
    side: u32,
    region: Region,
    window: Window,
    mask: LatentMask,
}

impl EditPlan {
    /// The plan for `photo` and a model whose images have a side of `side` pixels and `cells` latent cells.
    ///
    /// A box over a square photo is rounded to cells, as published. Everything else is rounded to pixels of the photo, and
    /// a cell is generated if any of its pixels is generated.
    ///
    /// # Errors
    /// When the region has another size than the photo, or the photo is much too long.
    pub(crate) fn new(photo: RgbImage, area: &Area, side: u32, cells: usize) -> Result<Self> {
        let (width, height) = photo.dimensions();
        let (bounds, outpaint) = match area {
            Area::Box(bounds) => (bounds, false),
            Area::Outside(bounds) => (bounds, true),
            Area::Pixels(region) => return Self::of_region(photo, region.clone(), None, side, cells),
        };
        if width == height {
            let mask = LatentMask::of_box(bounds, cells, outpaint);
            let region = mask.region(width);
            return Self::of_region(photo, region, Some(mask), side, cells);
        }
        let region = Region::of_box(bounds, width, height, outpaint);
        Self::of_region(photo, region, None, side, cells)
    }

    fn of_region(
        photo: RgbImage,
        region: Region,
        mask: Option<LatentMask>,
        side: u32,
        cells: usize,
    ) -> Result<Self> {
        let (width, height) = photo.dimensions();
        if (width, height) != (region.width(), region.height()) {
            return Err(Error::Config(format!(
                "the mask has {} × {} pixels, the photo {width} × {height}; give a mask of the same size",
                region.width(),
                region.height()
            )));
        }
        // A box over a square photo may round to no pixel; the window is then the whole photo.
        let window = Window::around(region.bounds(), width, height)?;
        let mask = mask.unwrap_or_else(|| LatentMask::of_region(&window.cut_region(&region), cells));
        Ok(Self { photo, side, region, window, mask })
    }

    /// The square of the photo that the model sees.
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// The generated pixels of the photo.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// The kept latent cells.
    pub(crate) fn mask(&self) -> &LatentMask {
        &self.mask
    }

    /// Whether the model sees the photo itself, without cropping or resizing.
    pub(crate) fn is_native(&self) -> bool {
        self.photo.dimensions() == (self.side, self.side)
    }

    /// Whether the window is larger than the photo in a direction.
    pub(crate) fn sticks_out(&self) -> bool {
        self.window.sticks_out(self.photo.width(), self.photo.height())
    }

    /// What the model sees, `side` × `side` pixels.
    ///
    /// # Errors
    /// When the window cannot be resized.
    pub(crate) fn square(&self) -> Result<RgbImage> {
        self.to_side(self.window.cut(&self.photo))
    }

    /// What the model sees, with stripes over the part to generate.
    ///
    /// # Errors
    /// As [`Self::square`].
    pub(crate) fn hatched(&self) -> Result<RgbImage> {
        let region = self.window.cut_region(&self.region).resized(self.side, self.side);
        let period = (self.side / 16).max(4);
        let mut square = self.square()?;
        for (x, y, pixel) in square.enumerate_pixels_mut() {
            if region.generates(x, y) {
                let light = (x + y) % period < period / 2;
                *pixel = Rgb([if light { 176 } else { 96 }; 3]);
            }
        }
        Ok(square)
    }

    /// Weights for [`Self::blended`]; by default soft over 1/32 of the window's side.
    pub(crate) fn weights(&self, feather: Option<u32>) -> Weights {
        Weights::new(&self.region, feather.unwrap_or_else(|| self.feather()))
    }

    /// Default width of the soft border, in pixels.
    pub(crate) fn feather(&self) -> u32 {
        self.window.side / 32
    }

    /// The photo with `generated` (`side` × `side` pixels) put into its region.
    ///
    /// # Errors
    /// When the image cannot be resized.
    pub(crate) fn blended(&self, generated: &RgbImage, weights: &Weights) -> Result<RgbImage> {
        let side = self.window.side;
        let fitting = resize(generated, side, side, Filter::Lanczos)?;
        Ok(blend(&self.photo, &fitting, &self.window, weights))
    }

    /// The part of an edited photo under the window, `side` × `side` pixels.
    ///
    /// # Errors
    /// As [`Self::square`].
    pub(crate) fn square_of(&self, edited: &RgbImage) -> Result<RgbImage> {
        self.to_side(self.window.cut(edited))
    }

    fn to_side(&self, square: RgbImage) -> Result<RgbImage> {
        resize(&square, self.side, self.side, Filter::Lanczos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 9) as u8, (y * 11) as u8, (x * y) as u8]))
    }

    fn quarter() -> FractionBox {
        FractionBox::new(0.0, 0.0, 0.5, 0.5).unwrap()
    }

    #[test]
    fn a_photo_of_the_models_side_is_taken_as_it_is() {
        let plan = EditPlan::new(photo(16, 16), &Area::Box(quarter()), 16, 4).unwrap();
        assert!(plan.is_native() && !plan.sticks_out());
        assert_eq!(plan.square().unwrap(), photo(16, 16));
        assert_eq!(plan.mask(), &LatentMask::of_box(&quarter(), 4, false));
        assert_eq!(plan.region().count(), 64);
    }

    #[test]
    fn a_box_over_a_square_photo_of_any_size_is_rounded_to_cells() {
        // 0.4 of 4 cells is 1.6: two cells. Of 20 pixels it would be 8, which two cells exceed by two.
        let bounds = FractionBox::new(0.0, 0.0, 0.4, 0.4).unwrap();
        let plan = EditPlan::new(photo(20, 20), &Area::Box(bounds), 16, 4).unwrap();
        assert_eq!(plan.mask(), &LatentMask::of_box(&bounds, 4, false));
        assert_eq!(plan.region().count(), 100);
        let outside = EditPlan::new(photo(20, 20), &Area::Outside(bounds), 16, 4).unwrap();
        assert_eq!(outside.region().count(), 300);
    }

    #[test]
    fn what_is_put_back_changes_the_region_and_nothing_else() {
        for (width, height) in [(40, 20), (20, 40), (16, 16), (7, 9)] {
            let plan = EditPlan::new(photo(width, height), &Area::Box(quarter()), 16, 4).unwrap();
            let white = RgbImage::from_pixel(16, 16, Rgb([255; 3]));
            let result = plan.blended(&white, &plan.weights(Some(0))).unwrap();
            assert_eq!(result.dimensions(), (width, height));
            for (x, y, pixel) in result.enumerate_pixels() {
                let generated = plan.region().generates(x, y);
                let expected = if generated { Rgb([255; 3]) } else { *photo(width, height).get_pixel(x, y) };
                assert_eq!(*pixel, expected, "{width} × {height} at ({x}, {y})");
            }
        }
    }

    #[test]
    fn the_hatched_square_shows_the_photo_where_it_is_kept() {
        let plan = EditPlan::new(photo(16, 16), &Area::Outside(quarter()), 16, 4).unwrap();
        let hatched = plan.hatched().unwrap();
        for (x, y, pixel) in hatched.enumerate_pixels() {
            let stripe = pixel.0 == [96; 3] || pixel.0 == [176; 3];
            assert_eq!(stripe, x >= 8 || y >= 8, "({x}, {y})");
        }
    }

    #[test]
    fn out_painting_of_a_long_photo_needs_a_window_beyond_it() {
        let plan = EditPlan::new(photo(40, 20), &Area::Outside(quarter()), 16, 4).unwrap();
        assert!(plan.sticks_out());
        assert_eq!(plan.window(), &Window { left: 0, top: -10, side: 40 });
        assert_eq!(plan.square().unwrap().dimensions(), (16, 16));
    }

    #[test]
    fn a_region_of_another_size_is_refused() {
        let area = Area::Pixels(Region::new(5, 5, |_, _| true));
        let message = EditPlan::new(photo(6, 5), &area, 16, 4).unwrap_err().to_string();
        assert!(message.contains("5 × 5") && message.contains("6 × 5"), "{message}");
    }
}
