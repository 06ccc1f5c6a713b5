//! What may be said about a law, in words.

use super::law::{Coefficients, Estimate, FittedLaw, Irreducible, LEAST_SIZES, number};
use super::power::{Bound, Mode};

/// Of values that agree in all their digits.
pub(crate) const EQUAL: &str = "the values of all sizes are equal within rounding; no exponent";
/// Of points that no law can go through.
pub(crate) const UNUSABLE: &str =
    "too few different points, or a value that is not a positive number; no exponent";

/// Of fewer sizes than a law needs.
pub(crate) fn too_few(sizes: usize, variable: &str) -> String {
    let place = if variable == "C" { " on the frontier" } else { "" };
    format!("not enough sizes: {sizes} of at least {LEAST_SIZES}{place}; no exponent")
}

/// Of a fit that ended at a bound.
pub(crate) fn at_bound(bound: Bound, mode: Mode) -> String {
    let reason = match bound {
        Bound::IrreducibleAtZero => {
            "the fitted irreducible part is zero, its bound: these points do not show where the curve levels off"
        }
        Bound::IrreducibleAtData if mode == Mode::Fitted => {
            "the fitted irreducible part reaches the smallest value, its bound: the largest sizes gain nothing"
        }
        Bound::IrreducibleAtData => "the given irreducible part is not below all values",
        Bound::ExponentAtZero => {
            "the fitted exponent is at its bound near zero: the points fall like a logarithm and show no power law"
        }
        Bound::ExponentAtLimit => {
            "the fitted exponent is at its far bound: nearly all of the fall happens between the smallest sizes"
        }
        Bound::NotFalling => "the values do not fall along the ladder",
    };
    format!("{reason}; no exponent")
}

/// The ends of an interval: `−0.31 to −0.27`, `no end to −0.27`.
pub(crate) fn ends(estimate: &Estimate, text: impl Fn(f64) -> String) -> String {
    let end = |value: Option<f64>| value.map_or_else(|| "no end".to_owned(), &text);
    format!("{} to {}", end(estimate.low), end(estimate.high))
}

/// Of a best law. What follows the first semicolon stands without the numbers, too.
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
            text.push_str(&format!("; the interval of the {what} has no end within reach"));
        }
    }
    match law.lack_of_fit {
        Some(test) if law.lacks_fit() => text.push_str(&format!(
            "; the sizes scatter more than their seeds (lack of fit, {})",
            probability(test.p)
        )),
        Some(test) => {
            text.push_str(&format!("; no lack of fit beyond the spread of seeds ({})", probability(test.p)))
        }
        None => text.push_str("; no spread of seeds is known: the scatter between sizes counts as the noise"),
    }
    if !c.alpha.closed() || !c.irreducible.closed() || law.lacks_fit() {
        text.push_str("; these points do not determine the law: more sizes would");
        if law.irreducible == Irreducible::Fitted && !law.lacks_fit() {
            text.push_str(", or a given irreducible part");
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
