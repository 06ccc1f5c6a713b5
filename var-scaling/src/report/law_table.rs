//! The table of the laws.

use super::Material;
use super::html::{escape, table};
use crate::fit::joint::JointLaw;
use crate::fit::law::{FittedLaw, Irreducible, Status, number};
use crate::fit::verdict;

/// The section with the table of the laws.
pub(crate) fn laws(material: &Material) -> String {
    let rows: Vec<(bool, Vec<String>)> = material.fits.laws.iter().map(|l| (false, law(l))).collect();
    let notes: Vec<String> = {
        let mut notes: Vec<&String> = material.fits.laws.iter().flat_map(|l| &l.notes).collect();
        notes.sort();
        notes.dedup();
        notes.into_iter().map(|n| format!("<li>{}.</li>\n", escape(n))).collect()
    };
    let head = [
        "Law",
        "Exponent α",
        "Irreducible part",
        "Verdict",
        "~In words",
        "#Pearson",
        "#Points",
        "#α of the paper",
    ];
    format!(
        "<h2>Laws</h2>\n<p>Each law has the form L = L∞ + (β·X)<sup>α</sup>. The loss above the irreducible part L∞ \
         falls as a power of X, which is the number of parameters N or the training compute C. For losses, L∞ is fitted \
         with the exponent, unless it is given. For error rates it is 0 by default, as in the paper. Each exponent has an interval \
         (95 %, profile likelihood, one mean per size). If the points do not support an exponent, the law has none. A \
         law is determined if its intervals have both ends and its sizes scatter no more than their seeds.</p>\n{}\
         <ul class=\"note\">\n{}<li>Pearson's correlation is between the logarithms of X and of the reducible \
         part (of the whole value if there is no fit).</li>\n<li>The exponents of the paper were measured on ImageNet \
         with models that are thousands of times larger. They are a reference, not a target.</li>\n</ul>\n",
        table(&head, &rows),
        notes.concat()
    )
}

/// The section with the laws of parameters and tokens; empty for a sweep of one length.
pub(crate) fn joint(material: &Material) -> String {
    let laws = &material.fits.joint;
    if laws.is_empty() {
        return String::new();
    }
    let coefficient = |law: &JointLaw, name: &str| match law.coefficient(name) {
        Some([Some(value), low, high]) => {
            let end = |end: Option<f64>| end.map_or_else(|| "no end".into(), short);
            format!("{}<br><span class=\"note\">{} to {}</span>", short(value), end(low), end(high))
        }
        _ => "—".into(),
    };
    let row = |law: &JointLaw| {
        let text =
            |path: &str| law.law.get(path).and_then(|v| v.as_str()).unwrap_or_default().replace('_', " ");
        let mut cells = vec![
            format!(
                "<strong>{}</strong><br><span class=\"note\">{}</span>",
                escape(&law.name),
                escape(&law.quantity)
            ),
            escape(&text("status")),
        ];
        cells.extend(["alpha", "beta", "E", "A", "B"].map(|name| coefficient(law, name)));
        cells.push(law.runs.to_string());
        (false, cells)
    };
    let rows: Vec<(bool, Vec<String>)> = laws.iter().map(row).collect();
    format!(
        "<h2>Laws of parameters and tokens</h2>\n<p>All trainings, of all lengths, under one law: L = E + A·N<sup>−α</sup> + \
         B·D<sup>−β</sup>, where N is the number of parameters and D the number of training tokens. Least squares; the \
         intervals (95 %) are profile likelihoods on one mean per size and length. The laws above use the trainings of one \
         length.</p>\n{}",
        table(&["Law", "Status", "α", "β", "E", "A", "B", "#Trainings"], &rows)
    )
}

/// Four digits.
fn short(value: f64) -> String {
    if value == 0.0 {
        "0".into()
    } else if (0.01..1e4).contains(&value.abs()) {
        format!("{value:.3}")
    } else {
        format!("{value:.2e}")
    }
}

fn law(law: &FittedLaw) -> Vec<String> {
    let tag = if law.status == Status::Determined { "strong" } else { "span" };
    let (exponent, irreducible) = match law.coefficients {
        Some(c) => (
            format!(
                "<{tag}>{}</{tag}><br><span class=\"note\">{}</span>",
                number(c.alpha.value),
                verdict::ends(&c.alpha, number)
            ),
            match law.irreducible {
                Irreducible::Given => {
                    format!("{}<br><span class=\"note\">given</span>", verdict::loss(c.irreducible.value))
                }
                Irreducible::Fitted => format!(
                    "{}<br><span class=\"note\">fitted, {}</span>",
                    verdict::loss(c.irreducible.value),
                    verdict::ends(&c.irreducible, verdict::loss)
                ),
            },
        ),
        None => ("none".into(), "—".into()),
    };
    let (class, badge) = match law.status {
        Status::Determined => ("badge", "determined"),
        Status::Wide => ("badge no", "not determined"),
        Status::TooFewSizes => ("badge no", "too few sizes"),
        Status::AtBound => ("badge no", "at a bound"),
        Status::NotFalling => ("badge no", "does not fall"),
    };
    // Other columns show the numbers of the verdict.
    let words = match (law.coefficients, law.verdict.split_once("; ")) {
        (Some(_), Some((_, rest))) => rest,
        (Some(_), None) => "",
        (None, _) => &law.verdict,
    };
    vec![
        format!(
            "<strong>{}</strong><br><span class=\"note\">{}</span>",
            escape(&law.subject.name),
            escape(&law.subject.quantity)
        ),
        exponent,
        irreducible,
        format!("<span class=\"{class}\">{badge}</span>"),
        escape(words),
        law.pearson.map_or_else(|| "—".into(), |p| format!("{p:.3}").replace('-', "−")),
        law.points.len().to_string(),
        law.published.map_or_else(|| "—".into(), |p| number(p.0)),
    ]
}
