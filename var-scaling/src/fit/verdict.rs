//! The verdicts on laws, in words.

use super::law::{Coefficient, Coefficients, FittedLaw, Irreducible, number};
use super::power::{Bound, Mode};
use crate::statistics::LEAST_SIZES;

/// The verdict if all sizes have the same value.
pub(crate) const EQUAL: &str = "no exponent: the values of all sizes are equal within rounding";
/// The verdict on points that cannot be fitted.
pub(crate) const UNUSABLE: &str =
    "no exponent: there are too few different points, or a value is not a positive number";

/// The verdict on too few sizes.
pub(crate) fn too_few(sizes: usize, variable: &str) -> String {
    let place = if variable == "C" { " on the frontier" } else { "" };
    format!("no exponent: not enough sizes{place} (found {sizes}, at least {LEAST_SIZES} are needed)")
}

/// The verdict on a fit that ended at a bound.
pub(crate) fn at_bound(bound: Bound, mode: Mode) -> String {
    let reason = match bound {
        Bound::IrreducibleAtZero => {
            "the fitted irreducible part is at its lower bound, 0. The points do not show where the curve levels off"
        }
        Bound::IrreducibleAtData if mode == Mode::Fitted => {
            "the fitted irreducible part is at its upper bound, the smallest value. The largest sizes do not improve"
        }
        Bound::IrreducibleAtData => "the given irreducible part is not below all values",
        Bound::ExponentAtZero => {
            "the fitted exponent is at its bound near 0. The values fall like a logarithm, not like a power law"
        }
        Bound::ExponentAtLimit => {
            "the fitted exponent is at its lower bound. Nearly all of the decrease is between the smallest sizes"
        }
        Bound::NotFalling => "the values do not fall as the models grow",
    };
    format!("no exponent: {reason}")
}

/// The ends of an interval: `−0.31 to −0.27`, or `open to −0.27`.
pub(crate) fn ends(estimate: &Coefficient, text: impl Fn(f64) -> String) -> String {
    let end = |value: Option<f64>| value.map_or_else(|| "open".to_owned(), &text);
    format!("{} to {}", end(estimate.low), end(estimate.high))
}

/// The verdict on a fitted law. The table of the report shows only the part after the first semicolon.
pub(crate) fn of(law: &FittedLaw, c: &Coefficients) -> String {
    let how = match law.irreducible {
        Irreducible::Given => "given",
        Irreducible::Fitted => "fitted",
    };
    let percent = (law.level * 100.0).round();
    let mut text = format!(
        "exponent {} ({percent} % interval {}), irreducible part {} ({how})",
        number(c.alpha.value),
        ends(&c.alpha, number),
        loss(c.irreducible.value),
    );
    for (open, what) in [(!c.alpha.closed(), "exponent"), (!c.irreducible.closed(), "irreducible part")] {
        if open {
            text.push_str(&format!("; the interval of the {what} is open"));
        }
    }
    match law.lack_of_fit {
        Some(test) if law.lacks_fit() => text.push_str(&format!(
            "; the sizes scatter more than their seeds (lack of fit, {})",
            probability(test.p)
        )),
        Some(test) => {
            text.push_str(&format!("; the sizes scatter no more than their seeds ({})", probability(test.p)))
        }
        None => text
            .push_str("; the spread between seeds is unknown, so the scatter between sizes counts as noise"),
    }
    if !c.alpha.closed() || !c.irreducible.closed() || law.lacks_fit() {
        text.push_str("; the points do not determine the law: add sizes");
        if law.irreducible == Irreducible::Fitted && !law.lacks_fit() {
            text.push_str(", or give the irreducible part");
        }
    }
    text
}

/// A loss to three decimals, a small one to three digits.
pub(crate) fn loss(value: f64) -> String {
    if value.abs() < 0.1 { number(value) } else { format!("{value:.3}") }
}

fn probability(p: f64) -> String {
    if p < 0.001 { "p < 0.001".into() } else { format!("p = {p:.3}") }
}
