//! Values that are not finite are found and counted, in every floating kind.

use tch::{Kind, Tensor};
use var_tokenizer::error::NotFinite;
use var_tokenizer::torch::{check_finite, start};

#[test]
fn values_that_are_not_finite_are_counted() {
    start();
    for kind in [Kind::Double, Kind::Float, Kind::Half, Kind::BFloat16] {
        let nan = Tensor::from_slice(&[1.0, f64::NAN, 2.0]).to_kind(kind);
        assert_eq!(NotFinite::in_tensor(&nan).unwrap(), Some(NotFinite { nan: 1, infinite: 0, of: 3 }));
        // Opposite infinities add up to NaN: the sum alone does not tell the two apart.
        let infinite = Tensor::from_slice(&[f64::INFINITY, f64::NEG_INFINITY, 0.0]).to_kind(kind);
        let found = NotFinite { nan: 0, infinite: 2, of: 3 };
        assert_eq!(NotFinite::in_tensor(&infinite).unwrap(), Some(found));
    }
    let mixed = Tensor::from_slice(&[f32::NAN, f32::INFINITY]);
    let error = check_finite(&mixed, || "logits of scale 2".into()).unwrap_err();
    assert_eq!(error.to_string(), "logits of scale 2: 1 of 2 values are NaN, 1 infinite");
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn large_finite_values_are_finite() {
    start();
    // The sums of these overflow their kind, or even f64.
    for (kind, value) in [(Kind::Half, 65504.0), (Kind::Float, f64::from(f32::MAX)), (Kind::Double, f64::MAX)]
    {
        let large = Tensor::full([64], value, (kind, tch::Device::Cpu));
        assert_eq!(NotFinite::in_tensor(&large).unwrap(), None, "{kind:?}");
    }
    assert_eq!(NotFinite::in_tensor(&Tensor::from_slice(&[1_i64, i64::MAX])).unwrap(), None);
    assert_eq!(NotFinite::in_tensor(&Tensor::zeros([0], (Kind::Float, tch::Device::Cpu))).unwrap(), None);
}
