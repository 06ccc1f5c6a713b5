//! One axis: range, mapping to [0, 1], ticks with labels.

/// The spacing of numbers on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Linear.
    Linear,
    /// Logarithmic.
    Log,
}

/// A tick: its value and its label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tick {
    /// Value.
    pub value: f64,
    /// Its label; none for a minor tick.
    pub label: Option<String>,
}

/// One axis of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// Its title, with a unit.
    pub title: String,
    /// Spacing.
    pub scale: Scale,
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
}

impl Axis {
    /// An axis with all `values` that its scale can show, and a margin.
    pub(crate) fn around(title: &str, scale: Scale, values: impl IntoIterator<Item = f64>) -> Self {
        let usable = |v: &f64| v.is_finite() && (scale == Scale::Linear || *v > 0.0);
        let (low, high) = values
            .into_iter()
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        let (low, high) = match scale {
            Scale::Linear => {
                let margin = if high > low { 0.07 * (high - low) } else { 0.1 * high.abs().max(1e-9) };
                (low - margin, high + margin)
            }
            Scale::Log => {
                let factor = if high > low { (high / low).powf(0.07) } else { 1.5 };
                (low / factor, high * factor)
            }
        };
        Self { title: title.into(), scale, low, high }
    }

    /// The position of `value`: 0 and 1 are the ends, values outside of the range are outside. `None` if the scale cannot show
    /// it.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        place.is_finite().then_some(place)
    }

    /// Ticks within the range. A logarithmic axis over less than two decades also has labels at 2 and 5, or closer ones.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        match self.scale {
            Scale::Linear => linear_ticks(self.low, self.high),
            Scale::Log => log_ticks(self.low, self.high),
        }
    }
}

/// A round step for about `count` ticks.
fn round_step(span: f64, count: f64) -> f64 {
    let rough = span / count;
    let power = 10_f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|d| d * power >= rough * 0.999).unwrap_or(10.0);
    digit * power
}

fn linear_ticks(low: f64, high: f64) -> Vec<Tick> {
    let step = round_step(high - low, 7.0);
    let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    let text = |value: f64| match step {
        s if s >= 1e3 && value != 0.0 => short(value, step),
        _ => format!("{value:.digits$}").replace('-', "−"),
    };
    (first..=last.min(first + 50))
        .map(|i| i as f64 * step)
        .map(|value| Tick { value, label: Some(text(value)) })
        .collect()
}

/// A large number with a letter for its unit. All ticks of an axis have the same unit.
fn short(value: f64, step: f64) -> String {
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")];
    let (unit, letter) = units.into_iter().find(|u| step * 5.0 >= u.0).unwrap_or((1.0, ""));
    let digits = (-(step / unit).log10().floor()).clamp(0.0, 3.0) as usize;
    format!("{:.digits$}{letter}", value / unit)
}

fn log_ticks(low: f64, high: f64) -> Vec<Tick> {
    let decades = (high / low).log10();
    // On a short range, round steps are clearer than the few round digits.
    if decades < 0.55 {
        return linear_ticks(low, high).into_iter().filter(|t| t.value > 0.0).collect();
    }
    let labelled: &[u32] = match decades {
        d if d < 1.0 => &[1, 2, 3, 4, 5, 6, 8],
        d if d < 1.7 => &[1, 2, 3, 5],
        d if d < 3.0 => &[1, 3],
        _ => &[1],
    };
    // At most about eight labelled decades.
    let every = (decades / 8.0).ceil().max(1.0) as i32;
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let mut ticks = Vec::new();
    for power in first..=last {
        for digit in 1..10 {
            let value = f64::from(digit) * 10_f64.powi(power);
            if value < low || value > high {
                continue;
            }
            let shown = labelled.contains(&digit) && power.rem_euclid(every) == 0;
            ticks.push(Tick { value, label: shown.then(|| power_of_ten(digit, power)) });
        }
    }
    ticks
}

/// `digit · 10^power` as text.
fn power_of_ten(digit: u32, power: i32) -> String {
    if (-3..=3).contains(&power) {
        let value = f64::from(digit) * 10_f64.powi(power);
        return format!("{value:.*}", usize::try_from(-power).unwrap_or(0));
    }
    let raised: String = power
        .to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            c => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹']
                .get(c.to_digit(10).unwrap_or(0) as usize)
                .copied()
                .unwrap_or(c),
        })
        .collect();
    if digit == 1 { format!("10{raised}") } else { format!("{digit}·10{raised}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, scale: Scale) -> Vec<String> {
        let axis = Axis { title: String::new(), scale, low, high };
        axis.ticks().into_iter().filter_map(|t| t.label).collect()
    }

    #[test]
    fn ticks_are_round_and_lie_inside() {
        assert_eq!(labels(4.93, 5.12, Scale::Linear), ["4.95", "5.00", "5.05", "5.10"]);
        assert_eq!(labels(0.0, 2.2e6, Scale::Linear), ["0", "0.5M", "1.0M", "1.5M", "2.0M"]);
        assert_eq!(labels(3e4, 4e6, Scale::Log), ["3·10⁴", "10⁵", "3·10⁵", "10⁶", "3·10⁶"]);
        assert_eq!(labels(0.02, 0.2, Scale::Log), ["0.02", "0.03", "0.05", "0.1", "0.2"]);
        assert_eq!(labels(4.9, 5.3, Scale::Log), ["4.9", "5.0", "5.1", "5.2", "5.3"]);
    }

    #[test]
    fn any_range_has_two_to_a_dozen_labels() {
        for factor in [1.0001, 1.01, 1.3, 2.0, 3.3, 5.0, 9.0, 12.0, 40.0, 70.0, 900.0, 2e4, 1e9, 1e20] {
            for low in [1e-7, 0.3, 1.0, 4.7, 3e5] {
                for scale in [Scale::Log, Scale::Linear] {
                    let n = labels(low, low * factor, scale).len();
                    assert!((2..=12).contains(&n), "{low} × {factor} {scale:?}: {n}");
                }
            }
        }
    }

    #[test]
    fn an_axis_holds_its_values_even_when_there_is_one_or_none() {
        for values in [vec![], vec![5.0], vec![0.0, 5.0, f64::NAN], vec![-1.0]] {
            for scale in [Scale::Log, Scale::Linear] {
                let axis = Axis::around("x", scale, values.clone());
                assert!(axis.low < axis.high && axis.low.is_finite() && axis.high.is_finite());
                assert!(scale == Scale::Linear || axis.low > 0.0);
            }
        }
    }
}
