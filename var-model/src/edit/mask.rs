//! Which positions of the token maps keep the codes of the image: a mask with the side of the latent, and its form at each
//! scale.
//!
//! Source: `get_edit_mask` and `replace_embedding` of the published `demo_zero_shot_edit.ipynb`.

use tch::{Kind, Tensor};

use super::fraction_box::FractionBox;
use super::region::Region;
use crate::error::Result;
use crate::sampling::Kept;
use var_tokenizer::ScaleSchedule;

/// Scales with at most this number of positions are kept completely: the model needs some information about the image.
const KEPT_WHOLE: usize = 3;

/// The cells of the latent that keep the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LatentMask {
    side: usize,
    keep: Vec<bool>,
}

impl LatentMask {
    /// The published mask of a box over a latent of `side` cells: the inside is generated, or with `outpaint` the
    /// outside.
    pub(crate) fn of_box(bounds: &FractionBox, side: usize, outpaint: bool) -> Self {
        let (rows, columns) = (bounds.rows(side), bounds.columns(side));
        let inside = |cell: usize| rows.contains(&(cell / side)) && columns.contains(&(cell % side));
        Self { side, keep: (0..side * side).map(|cell| inside(cell) == outpaint).collect() }
    }

    /// The pixels of a square of `side` pixels whose centres lie in generated cells.
    pub(crate) fn region(&self, side: u32) -> Region {
        let cell = |at: u32| ((2 * u64::from(at) + 1) * self.side() as u64 / (2 * u64::from(side))) as usize;
        Region::new(side, side, |x, y| !self.keeps(cell(x), cell(y)))
    }

    /// The mask over `side` cells for a square `region` of pixels: a cell is generated if any pixel that it touches is
    /// generated, so that nothing of the old content remains.
    pub(crate) fn of_region(region: &Region, side: usize) -> Self {
        let touched = |cell: usize, length: u32| {
            let length = length as usize;
            (cell * length / side) as u32..((cell + 1) * length).div_ceil(side) as u32
        };
        let keep = (0..side * side)
            .map(|cell| {
                let rows = touched(cell / side, region.height());
                !rows
                    .into_iter()
                    .any(|y| touched(cell % side, region.width()).any(|x| region.generates(x, y)))
            })
            .collect();
        Self { side, keep }
    }

    /// Number of cells per row.
    pub(crate) fn side(&self) -> usize {
        self.side
    }

    /// Whether the cell at (`column`, `row`) keeps the image; false outside.
    pub(crate) fn keeps(&self, column: usize, row: usize) -> bool {
        column < self.side && self.keep.get(row * self.side + column).copied().unwrap_or(false)
    }

    /// Number of generated cells.
    pub(crate) fn generated(&self) -> usize {
        self.keep.iter().filter(|&&keep| !keep).count()
    }

    /// 1 where the image is kept and 0 where it is generated, `[side, side]` in `f32`.
    pub(crate) fn tensor(&self) -> Tensor {
        let side = self.side as i64;
        Tensor::from_slice(&self.keep).to_kind(Kind::Float).view([side, side])
    }

    /// The mask at each scale of `schedule`, `[1, s²]` in `f32` each: interpolated to the side of the scale (bilinear,
    /// without anti-aliasing); values above one half keep. The smallest scales keep everything.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn scales(&self, schedule: &ScaleSchedule) -> Result<Vec<Tensor>> {
        let whole = self.tensor().unsqueeze(0).unsqueeze(0);
        let of_side = |&side: &usize| {
            let s = side as i64;
            let mask = whole.f_upsample_bilinear2d([s, s], false, None, None)?.f_gt(0.5)?;
            let mask = if side * side <= KEPT_WHOLE { mask.ones_like() } else { mask };
            Ok(mask.to_kind(Kind::Float).view([1, s * s]))
        };
        schedule.sides().iter().map(of_side).collect()
    }

    /// What the sampler keeps of images with `ids` `[B, L]` (or `[1, L]` for all).
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn kept(&self, ids: Tensor, schedule: &ScaleSchedule) -> Result<Kept> {
        Ok(Kept { ids, masks: self.scales(schedule)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_the_pixels_under_them() {
        let bounds = FractionBox::new(0.0, 0.5, 0.5, 1.0).unwrap();
        let mask = LatentMask::of_box(&bounds, 4, false);
        assert_eq!(mask.region(8), Region::new(8, 8, |x, y| x >= 4 && y < 4));
        assert_eq!(LatentMask::of_region(&mask.region(8), 4), mask);
    }

    fn picture(mask: &LatentMask) -> Vec<String> {
        let row = |y: usize| (0..mask.side()).map(|x| if mask.keeps(x, y) { '#' } else { '.' }).collect();
        (0..mask.side()).map(row).collect()
    }

    fn scale(mask: &LatentMask, side: usize) -> Vec<f32> {
        let schedule = ScaleSchedule::new(vec![side]).unwrap();
        Vec::<f32>::try_from(mask.scales(&schedule).unwrap()[0].view([-1])).unwrap()
    }

    #[test]
    fn ends_of_a_box_are_rounded_half_to_even() {
        let bounds = FractionBox::new(0.25, 0.125, 0.75, 0.625).unwrap();
        // 0.5 and 2.5 go down to the even neighbour, 1.5 goes up.
        assert_eq!(bounds.columns(4), 0..2);
        assert_eq!(bounds.rows(2), 0..2);
        assert_eq!(bounds.rows(10), 2..8);
        assert_eq!(bounds.columns(12), 2..8);
    }

    #[test]
    fn in_painting_generates_inside_and_out_painting_outside() {
        let bounds = FractionBox::new(0.25, 0.5, 0.75, 1.0).unwrap();
        assert_eq!(picture(&LatentMask::of_box(&bounds, 4, false)), ["####", "##..", "##..", "####"]);
        assert_eq!(picture(&LatentMask::of_box(&bounds, 4, true)), ["....", "..##", "..##", "...."]);
    }

    #[test]
    fn exactly_one_half_is_generated_at_smaller_scales() {
        // Columns 0 and 1 of 4 are kept. At side 2 a column is the mean of two, at side 3 the middle one
        // is the mean of a kept and a generated one.
        let mask = LatentMask::of_box(&FractionBox::new(0.0, 0.5, 1.0, 1.0).unwrap(), 4, false);
        assert_eq!(scale(&mask, 2), [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(scale(&mask, 3)[..3], [1.0, 0.0, 0.0]);
        assert_eq!(scale(&mask, 4)[..4], [1.0, 1.0, 0.0, 0.0]);
        // At side 6, places lie at 1/6, 5/6, 9/6 … of the way: 0.5, 1.17, 1.83 cells.
        assert_eq!(scale(&mask, 6)[..6], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn interpolation_looks_at_the_nearest_cells_only() {
        // One generated cell in the corner of 8 × 8. At side 2 the place lies between cells 1 and 2, where
        // nothing is generated; anti-aliasing would look at all 16.
        let corner = LatentMask::of_box(&FractionBox::new(0.0, 0.0, 0.125, 0.125).unwrap(), 8, false);
        assert_eq!(scale(&corner, 2), [1.0; 4]);
    }

    #[test]
    fn scales_of_up_to_three_positions_keep_all() {
        let all = LatentMask::of_box(&FractionBox::new(0.0, 0.0, 1.0, 1.0).unwrap(), 4, false);
        assert_eq!(all.generated(), 16);
        assert_eq!(scale(&all, 1), [1.0]);
        assert_eq!(scale(&all, 2), [0.0; 4]);
    }

    #[test]
    fn a_cell_with_any_generated_pixel_is_generated() {
        let one = |x: u32, y: u32, side: u32| Region::new(side, side, |a, b| (a, b) == (x, y));
        assert_eq!(picture(&LatentMask::of_region(&one(7, 0, 16), 4)), ["#.##", "####", "####", "####"]);
        // 10 pixels over 4 cells: pixel 2 is shared by cells 0 and 1.
        assert_eq!(picture(&LatentMask::of_region(&one(2, 9, 10), 4)), ["####", "####", "####", "..##"]);
        // 2 pixels over 4 cells: a pixel covers two of them.
        assert_eq!(picture(&LatentMask::of_region(&one(1, 0, 2), 4)), ["##..", "##..", "####", "####"]);
    }

    #[test]
    fn boxes_that_are_none_are_refused() {
        let message = |text: &str| text.parse::<FractionBox>().unwrap_err().to_string();
        assert!(message("0,0,1").contains("four numbers"));
        assert!(message("0,0,1,1,1").contains("four numbers") && message("a,0,1,1").contains("four numbers"));
        assert!(message("0,0,1.5,1").contains("0 to 1") && message("nan,0,1,1").contains("0 to 1"));
        assert!(message("0.5,0,0.5,1").contains("no area") && message("0,0.7,1,0.2").contains("no area"));
        assert_eq!(" 0, 0.25,1 ,1".parse::<FractionBox>().unwrap().to_string(), "0,0.25,1,1");
    }
}
