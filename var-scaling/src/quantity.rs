//! Counts, FLOPs, bytes and durations as text.

/// A count with a letter for its unit: `43.1k`, `2.87M`, `2.01B`.
pub fn count(value: f64) -> String {
    scaled(value, &[(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")])
}

/// An interval with this number of digits: `4.13 to 4.17`. An end that does not exist: `no end`.
pub fn interval(ends: [Option<f64>; 2], digits: usize) -> String {
    let [low, high] = ends.map(|end| end.map_or_else(|| "no end".into(), |v| format!("{v:.digits$}")));
    format!("{low} to {high}")
}

/// FLOPs with a prefix: `2.31 TFLOP`.
pub fn flops(value: f64) -> String {
    let text =
        scaled(value, &[(1e21, " Z"), (1e18, " E"), (1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M")]);
    format!("{text}FLOP")
}

/// Bytes in MiB or GiB.
pub fn bytes(value: f64) -> String {
    let mebibytes = value / (1024.0 * 1024.0);
    if mebibytes < 1000.0 { format!("{mebibytes:.0} MiB") } else { format!("{:.1} GiB", mebibytes / 1024.0) }
}

/// A duration: `8.2 s`, `2 min 5 s`, `3 h 20 min`, `2.5 days`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..10 if seconds > 0.0 => format!("{seconds:.1} s"),
        0..60 => format!("{s} s"),
        60..3600 if s.is_multiple_of(60) => format!("{} min", s / 60),
        60..600 => format!("{} min {} s", s / 60, s % 60),
        600..3600 => format!("{} min", (s + 30) / 60),
        3600..172_800 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{:.1} days", s as f64 / 86_400.0),
    }
}

fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let (unit, letter) = units.iter().find(|u| value.abs() >= u.0).copied().unwrap_or((1.0, ""));
    let scaled = value / unit;
    let digits = match scaled.abs() {
        _ if letter.is_empty() => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.digits$}{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_and_have_units() {
        assert_eq!(count(43_104.0), "43.1k");
        assert_eq!(count(2_870_000.0), "2.87M");
        assert_eq!(count(310_283_520.0), "310M");
        assert_eq!(count(512.0), "512");
        assert_eq!(flops(2.314e12), "2.31 TFLOP");
        assert_eq!(bytes(36.0 * 1024.0 * 1024.0), "36 MiB");
        for (seconds, text) in [
            (0.42, "0.4 s"),
            (42.4, "42 s"),
            (125.0, "2 min 5 s"),
            (720.0, "12 min"),
            (12_000.0, "3 h 20 min"),
            (216_000.0, "2.5 days"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
