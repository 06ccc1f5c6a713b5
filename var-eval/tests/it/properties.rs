//! What holds for any images.

use proptest::prelude::*;
use var_eval::Error;
use var_eval::inputs::Picture;
use var_eval::metrics::psnr::psnr;
use var_eval::metrics::ssim::{Downsampling, ssim};

/// Two images of the same shape.
fn two() -> impl Strategy<Value = (Picture, Picture)> {
    (11_usize..30, 11_usize..30, 1_usize..4).prop_flat_map(|(width, height, channels)| {
        let bytes = || prop::collection::vec(any::<u8>(), width * height * channels);
        let make = move |bytes| Picture::new(width, height, channels, bytes).unwrap();
        (bytes().prop_map(make), bytes().prop_map(make))
    })
}

fn full(a: &Picture, b: &Picture) -> f64 {
    ssim(a, b, Downsampling::None).unwrap()
}

/// The definition, position by position, without any shortcut.
fn ssim_by_definition(a: &Picture, b: &Picture) -> f64 {
    let (width, height, channels) = a.shape();
    let weight = |i: usize, j: usize| {
        (-((i as f64 - 5.0).powi(2) + (j as f64 - 5.0).powi(2)) / (2.0 * 1.5 * 1.5)).exp()
    };
    let (mut total, mut count) = (0.0, 0.0);
    for channel in 0..channels {
        for top in 0..=height - 11 {
            for left in 0..=width - 11 {
                let cells: Vec<(f64, f64, f64)> = (0..121)
                    .map(|cell| {
                        let (i, j) = (cell / 11, cell % 11);
                        let at = ((top + i) * width + left + j) * channels + channel;
                        let value = |p: &Picture| f64::from(p.bytes()[at]) / 255.0;
                        (weight(i, j), value(a), value(b))
                    })
                    .collect();
                let sum: f64 = cells.iter().map(|c| c.0).sum();
                let mean =
                    |f: &dyn Fn(f64, f64) -> f64| cells.iter().map(|c| c.0 * f(c.1, c.2)).sum::<f64>() / sum;
                let (x, y) = (mean(&|x, _| x), mean(&|_, y| y));
                let (vx, vy) = (mean(&|v, _| (v - x).powi(2)), mean(&|_, v| (v - y).powi(2)));
                let covariance = mean(&|v, w| (v - x) * (w - y));
                total += (2.0 * x * y + 1e-4) * (2.0 * covariance + 9e-4)
                    / ((x * x + y * y + 1e-4) * (vx + vy + 9e-4));
                count += 1.0;
            }
        }
    }
    total / count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn identical_pictures_have_infinite_psnr_and_ssim_exactly_one((a, _) in two()) {
        prop_assert_eq!(psnr(&a, &a.clone()).unwrap(), f64::INFINITY);
        prop_assert_eq!(full(&a, &a.clone()), 1.0);
    }

    #[test]
    fn both_measures_are_symmetric_to_the_bit((a, b) in two()) {
        prop_assert_eq!(psnr(&a, &b).unwrap().to_bits(), psnr(&b, &a).unwrap().to_bits());
        prop_assert_eq!(full(&a, &b).to_bits(), full(&b, &a).to_bits());
    }

    #[test]
    fn ssim_equals_its_definition((a, b) in two()) {
        prop_assert!((full(&a, &b) - ssim_by_definition(&a, &b)).abs() < 1e-11);
    }

    #[test]
    fn different_pictures_score_below_identical_ones((a, b) in two()) {
        prop_assume!(a != b);
        prop_assert!(psnr(&a, &b).unwrap().is_finite());
        prop_assert!(full(&a, &b) < 1.0);
    }

    #[test]
    fn a_grey_picture_scores_as_its_three_equal_channels((a, b) in two()) {
        let (width, height, channels) = a.shape();
        prop_assume!(channels == 1);
        let colour = |p: &Picture| {
            let bytes = p.bytes().iter().flat_map(|&byte| [byte; 3]).collect();
            Picture::new(width, height, 3, bytes).unwrap()
        };
        let (x, y) = (colour(&a), colour(&b));
        prop_assert!((full(&a, &b) - full(&x, &y)).abs() < 1e-12);
        prop_assert_eq!(psnr(&a, &b).unwrap(), psnr(&x, &y).unwrap());
    }
}

#[test]
fn blocks_are_averaged_from_384_pixels_on_and_halves_round_to_even() {
    for (side, factor) in [(11, 1), (256, 1), (383, 1), (384, 2), (640, 2), (641, 3), (1024, 4)] {
        assert_eq!(Downsampling::Blocks.factor(side, 4 * side), factor, "{side}");
        assert_eq!(Downsampling::None.factor(side, side), 1);
    }
}

#[test]
fn pictures_that_cannot_be_compared_are_errors() {
    let picture = |width, height, channels| {
        Picture::new(width, height, channels, vec![7; width * height * channels]).unwrap()
    };
    let wide = picture(20, 12, 3);
    for other in [picture(12, 20, 3), picture(20, 12, 1), picture(20, 13, 3)] {
        assert!(matches!(psnr(&wide, &other), Err(Error::Shapes { .. })));
        assert!(matches!(ssim(&wide, &other, Downsampling::None), Err(Error::Shapes { .. })));
    }
    let low = picture(20, 10, 3);
    assert!(matches!(ssim(&low, &low, Downsampling::None), Err(Error::TooSmall { height: 10, .. })));
    assert!(psnr(&low, &low).is_ok());
    assert!(matches!(Picture::new(2, 2, 3, vec![0; 11]), Err(Error::Bytes { expected: 12, found: 11, .. })));
    assert!(Picture::new(0, 2, 3, vec![]).is_err());
    assert!(Picture::new(usize::MAX, usize::MAX, 3, vec![0]).is_err());
}
