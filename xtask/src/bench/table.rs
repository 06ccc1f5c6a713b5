//! The table of a comparison.

use super::timing::{Case, Side, Timing, Timings};

/// A row per case: medians over the rounds, lowest and highest in brackets; ratios within each round.
pub fn markdown(cases: &[&Case], timings: &Timings, rounds: u32) -> String {
    let mut text = format!(
        "Medians over {rounds} rounds, lowest and highest in brackets. A ratio is the published time divided by ours, in the \
         same round.\n\n| case | ours | share of the product's peak | published, defaults | ratio | published, equal precision, \
         allocator set | ratio | peak memory: ours, published |\n|---|---|---|---|---|---|---|---|\n"
    );
    for case in cases {
        let Some(sides) = timings.get(case.name) else { continue };
        let of = |side| sides.get(&side).map(Vec::as_slice).unwrap_or_default();
        let (ours, defaults, equal) = (of(Side::Ours), of(Side::Defaults), of(Side::Equal));
        let shares: Vec<f64> = ours.iter().filter_map(|timing| Some(100.0 * timing.share?)).collect();
        let precision = ours.first().map_or("", |timing| timing.precision.as_str());
        text.push_str(&format!(
            "| {} | {} {precision} | {} | {} | {} | {} | {} | {:.2}, {:.2} GB |\n",
            case.what,
            spread(&seconds(ours), 3, " s"),
            spread(&shares, 0, "%"),
            spread(&seconds(defaults), 3, " s"),
            spread(&ratios(defaults, ours), 2, ""),
            spread(&seconds(equal), 3, " s"),
            spread(&ratios(equal, ours), 2, ""),
            peak(ours),
            peak(equal),
        ));
    }
    text
}

fn seconds(timings: &[Timing]) -> Vec<f64> {
    timings.iter().map(|timing| timing.median_s).collect()
}

/// How many times as long the first took as the second, round by round.
fn ratios(longer: &[Timing], shorter: &[Timing]) -> Vec<f64> {
    longer.iter().zip(shorter).map(|(a, b)| a.median_s / b.median_s).collect()
}

/// Highest peak memory in GB.
fn peak(timings: &[Timing]) -> f64 {
    timings.iter().map(|timing| timing.peak_bytes as f64 / 1e9).fold(0.0, f64::max)
}

/// `median (lowest–highest)`.
fn spread(values: &[f64], digits: usize, unit: &str) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (sorted.first(), sorted.last()) else { return "–".to_owned() };
    let middle = sorted.len() / 2;
    let median =
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    format!("{median:.digits$}{unit} ({low:.digits$}–{high:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::timing::CASES;

    fn timing(median_s: f64, share: Option<f64>) -> Timing {
        Timing { median_s, precision: "bf16".into(), peak_bytes: 1_500_000_000, share }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut timings = Timings::new();
        let sides = timings.entry("train").or_default();
        sides
            .insert(Side::Ours, vec![timing(1.0, Some(0.5)), timing(2.0, Some(0.6)), timing(4.0, Some(0.7))]);
        sides.insert(Side::Defaults, vec![timing(3.0, None), timing(4.0, None), timing(10.0, None)]);
        sides.insert(Side::Equal, vec![timing(1.5, None), timing(3.0, None), timing(6.0, None)]);
        let text = markdown(&[&CASES[0], &CASES[1]], &timings, 3);
        let row = text.lines().last().unwrap();
        for part in [
            "| 2.000 s (1.000–4.000) bf16 |",
            "| 60% (50–70) |",
            "| 4.000 s (3.000–10.000) | 2.50 (2.00–3.00) |",
            "| 3.000 s (1.500–6.000) | 1.50 (1.50–1.50) |",
            "| 1.50, 1.50 GB |",
        ] {
            assert!(row.contains(part), "'{part}' is not in {row}");
        }
        // A case that was not timed has no row.
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn an_even_number_of_rounds_has_the_mean_of_the_middle_two_as_median() {
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0], 1, " s"), "2.5 s (1.0–4.0)");
        assert_eq!(spread(&[], 1, " s"), "–");
    }
}
