//! Scores with protocol and warnings, as `metrics.json` and as a Markdown table.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use var_tokenizer::files::write_atomically;

use crate::error::{Error, Result};
use crate::features::inception;
use crate::features::network::Identity;
use crate::metrics::bootstrap::Interval;
use crate::protocol::{Protocol, SetStamp};
use crate::score::Quantity;

#[doc(inline)]
pub use crate::error::Failure;
#[doc(inline)]
pub use crate::warnings::{Code, Side, Warning};

/// One number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What kind of number it is.
    pub metric: Quantity,
    /// The name to publish it under.
    pub name: String,
    /// The number.
    pub value: f64,
    /// The class, if the number is about one class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Number of images of the samples and of the reference.
    pub n: (Option<u64>, Option<u64>),
    /// Standard deviation over the splits or subsets, if the number is their mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Bootstrap interval, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// How it was computed.
    pub convention: Cow<'static, str>,
}

impl Figure {
    /// Fails if one of its numbers is not finite.
    ///
    /// # Errors
    /// Names the number.
    pub(crate) fn check_finite(&self) -> Result<()> {
        let interval = self.interval.iter().flat_map(|interval| [interval.low, interval.high]);
        match [self.value].into_iter().chain(self.deviation).chain(interval).find(|x| !x.is_finite()) {
            None => Ok(()),
            Some(x) => {
                Err(Error::measure(format!("{} is {x}: the features are too large or damaged", self.name)))
            }
        }
    }

    /// A number about all classes, without deviation, interval or number of images.
    pub(crate) fn new(
        metric: Quantity,
        name: String,
        value: f64,
        convention: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            metric,
            name,
            value,
            class: None,
            n: (None, None),
            deviation: None,
            interval: None,
            convention: convention.into(),
        }
    }
}

/// Scores of samples, with their protocol. Only a measurement makes one; `metrics.json` is read back as one.
///
/// ```no_run
/// use var_eval::{Quantity, ScoreReport};
///
/// let report: ScoreReport = serde_json::from_str(&std::fs::read_to_string("scores/metrics.json")?)?;
/// println!("{:?}", report.value(Quantity::Fd));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "done")]
#[non_exhaustive]
pub struct ScoreReport {
    /// The numbers.
    pub metrics: Vec<Figure>,
    /// Metrics that failed.
    #[serde(default)]
    pub failed: Vec<Failure>,
    /// What makes the numbers doubtful.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// How they were measured.
    pub protocol: Protocol,
}

/// The name of a Fréchet distance. It is an FID only with FID's own network.
pub fn distance_name(network: &Identity) -> String {
    if network.network == inception::NAME {
        format!("FID ({}, {} preprocessing)", network.network, network.preprocessing)
    } else {
        format!("FD-{}", network.network)
    }
}

/// The name of another metric. It has its usual name only with Inception.
pub(crate) fn named(usual: &str, short: &str, network: &Identity) -> String {
    if network.network == inception::NAME {
        format!("{usual} ({}, {} preprocessing)", network.network, network.preprocessing)
    } else {
        format!("{short}-{}", network.network)
    }
}

impl ScoreReport {
    /// The number of this kind, or the first of several; `None` if it was not measured.
    pub fn value(&self, quantity: Quantity) -> Option<f64> {
        self.metrics.iter().find(|figure| figure.metric == quantity).map(|figure| figure.value)
    }

    /// The error about the metrics that failed; `None` if all succeeded.
    pub fn failure(&self) -> Option<Error> {
        let mut metrics: Vec<Quantity> = self.metrics.iter().map(|figure| figure.metric).collect();
        metrics.dedup();
        let (failed, measured) = (self.failed.clone(), metrics.len());
        let asked = failed.len() + measured;
        (!failed.is_empty()).then_some(Error::Metrics { failed, asked })
    }

    /// Writes `metrics.json` and `metrics.md` into the folder `out`.
    ///
    /// # Errors
    /// When the disk is full or the folder cannot be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        let place = out.join("metrics.json");
        let mut json = serde_json::to_string_pretty(self).map_err(|e| Error::file(&place, e.to_string()))?;
        json.push('\n');
        write_atomically(&place, json.as_bytes())?;
        Ok(write_atomically(&out.join("metrics.md"), self.markdown().as_bytes())?)
    }

    /// The report as Markdown: tables of the numbers, the protocol and the warnings.
    pub fn markdown(&self) -> String {
        let mut text =
            String::from("| metric | value | N (samples / reference) | computed as |\n|---|---|---|---|\n");
        let count = |n: Option<u64>| n.map_or_else(|| "not stated".to_owned(), |n| n.to_string());
        for figure in &self.metrics {
            let class = figure.class.as_ref().map(|class| format!(", {}", cell(class))).unwrap_or_default();
            let spread =
                figure.deviation.map(|deviation| format!(" ± {}", digits(deviation))).unwrap_or_default();
            let interval = figure.interval.map(|interval| {
                let Interval { low, high, level, draws, .. } = interval;
                format!(" ({:.0}%: {} to {}, {draws} draws)", 100.0 * level, digits(low), digits(high))
            });
            let _ = writeln!(
                text,
                "| {}{class} | {}{spread}{} | {} / {} | {} |",
                cell(&figure.name),
                digits(figure.value),
                interval.unwrap_or_default(),
                count(figure.n.0),
                count(figure.n.1),
                figure.convention
            );
        }
        if !self.failed.is_empty() {
            text.push_str("\n| failed | |\n|---|---|\n");
            for Failure { metric, reason, .. } in &self.failed {
                let _ = writeln!(text, "| {metric} | {} |", cell(reason));
            }
        }
        text.push_str("\n| protocol | |\n|---|---|\n");
        for (name, value) in self.protocol_rows() {
            let _ = writeln!(text, "| {name} | {} |", cell(&value));
        }
        if !self.warnings.is_empty() {
            text.push_str("\n| warning | about | |\n|---|---|---|\n");
            for warning in &self.warnings {
                let _ =
                    writeln!(text, "| {} | {} | {} |", warning.code, warning.side, cell(&warning.message));
            }
        }
        text
    }

    fn protocol_rows(&self) -> Vec<(&'static str, String)> {
        let p = &self.protocol;
        let mut rows = vec![
            ("network", format!("{}, weights {}", p.network.network, p.network.weights_sha256)),
            ("preprocessing", p.network.preprocessing.clone()),
            ("samples", stamp(&p.samples)),
            ("reference", stamp(&p.reference)),
        ];
        rows.extend(p.reference_images.as_ref().map(|images| ("reference images", stamp(images))));
        let sampler = match &p.sampler {
            None => "unknown: no settings next to the images".to_owned(),
            Some(s) => {
                let number = |x: Option<f64>| x.map_or_else(|| "?".to_owned(), |x| x.to_string());
                let whole = |x: Option<u64>| x.map_or_else(|| "?".to_owned(), |x| x.to_string());
                format!(
                    "cfg {} ({}), top-k {}, top-p {}, temperature {}, seed {}, {} per class, more_smooth {}, {}{}, by {}; \
                     model {}, tokenizer {}",
                    number(s.cfg),
                    s.guidance.as_deref().unwrap_or("?"),
                    whole(s.top_k),
                    number(s.top_p),
                    match &s.temperatures {
                        Some(list) => list.iter().map(f64::to_string).collect::<Vec<_>>().join(","),
                        None => number(s.temperature),
                    },
                    whole(s.seed),
                    whole(s.per_class),
                    s.more_smooth.map_or("?", |on| if on { "on" } else { "off" }),
                    s.precision.as_deref().unwrap_or("?"),
                    [
                        s.kept.map(|kept| format!(", the best {kept} kept by a classifier")),
                        s.guided_scales.as_ref().map(|scales| format!(", guidance at scales {scales}")),
                        s.large_scales.map(|n| format!(
                            ", from scale {} on by the smaller model {}",
                            n + 1,
                            s.small_model_sha256.as_deref().unwrap_or("?")
                        )),
                    ]
                    .into_iter()
                    .flatten()
                    .collect::<String>(),
                    s.program.as_deref().unwrap_or("?"),
                    s.model_sha256.as_deref().unwrap_or("?"),
                    s.tokenizer_sha256.as_deref().unwrap_or("?"),
                )
            }
        };
        rows.push(("sampling", sampler));
        rows.push(("pixels", p.pixels.clone()));
        rows.push(("rounding", p.rounding.clone()));
        rows.push(("program", p.program.clone()));
        rows
    }
}

fn stamp(set: &SetStamp) -> String {
    let mut text = format!("{} ({}", set.source.display(), set.kind.name());
    match set.n {
        Some(n) => text.push_str(&format!(", N = {n}")),
        None => text.push_str(", N not stated"),
    }
    if let (Some((w, h)), Some((wide, high))) = (set.smallest, set.largest) {
        text.push_str(&format!(", {w}×{h}"));
        if (w, h) != (wide, high) {
            text.push_str(&format!(" to {wide}×{high}"));
        }
    }
    if let (Some(classes), Some((least, most))) = (set.classes, set.per_class) {
        let each = if least == most { least.to_string() } else { format!("{least} to {most}") };
        text.push_str(&format!(", {classes} classes of {each}"));
    }
    if set.bad > 0 {
        text.push_str(&format!(", {} unreadable images skipped", set.bad));
    }
    if let Some(rule) = set.pixels {
        text.push_str(&format!(", pixels as {rule}"));
    }
    format!("{text}), SHA-256 {}", set.sha256)
}

/// Four decimals, or three digits for small numbers.
pub(crate) fn digits(value: f64) -> String {
    let small = value != 0.0 && value.abs() < 0.05;
    if small { format!("{value:.2e}") } else { format!("{value:.4}") }
}

/// `text` for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = concat!(
        r#"{"event":"done","metrics":[{"metric":"fd","name":"FD-x","value":1.5,"class":"blue","n":[12,null],"deviation":0.5,"#,
        r#""interval":{"low":1.0,"high":2.5,"level":0.5,"draws":3},"convention":"as usual"}],"#,
        r#""failed":[{"metric":"kid","reason":"too few"}],"#,
        r#""warnings":[{"code":"few-pictures","side":"samples","message":"12 images"}],"#,
        r#""protocol":{"program":"var-eval 0.1.0","#,
        r#""network":{"network":"x","weights_sha256":"e3","preprocessing":"bytes","width":24,"classes":3,"spatial":6},"#,
        r#""samples":{"source":"samples.npz","kind":"pictures","pixels":"stored","n":12,"bad":1,"smallest":[4,4],"#,
        r#""largest":[8,8],"classes":3,"per_class":[2,5],"sha256":"57"},"#,
        r#""reference":{"source":"ref.npz","kind":"statistics","pixels":null,"n":null,"bad":0,"smallest":null,"largest":null,"#,
        r#""classes":null,"per_class":null,"sha256":"a2"},"#,
        r#""sampler":{"program":"var-model 0.1.0","model_sha256":"d8","tokenizer_sha256":"51","cfg":1.5,"guidance":"ramp","#,
        r#""top_k":900,"top_p":0.5,"temperature":1.0,"more_smooth":false,"seed":0,"per_class":4,"precision":"f32","kept":0.25},"#,
        r#""reference_images":{"source":"ref.npz","kind":"pictures","pixels":"shown","n":48,"bad":0,"smallest":[8,8],"#,
        r#""largest":[8,8],"classes":1,"per_class":[48,48],"sha256":"b7"},"#,
        r#""pixels":"8-bit RGB","rounding":"bytes"}}"#
    );

    #[test]
    fn a_report_with_its_whole_protocol_is_read_and_written_to_the_byte() {
        let report: ScoreReport = serde_json::from_str(WHOLE).unwrap();
        assert_eq!(serde_json::to_string(&report).unwrap(), WHOLE);
        assert_eq!(report.value(Quantity::Fd), Some(1.5));
    }

    #[test]
    fn reports_of_earlier_versions_without_newer_keys_are_read() {
        let mut value: serde_json::Value = serde_json::from_str(WHOLE).unwrap();
        let object = |value: &mut serde_json::Value, pointer: &str, keys: &[&str]| {
            let object = value.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            for key in keys {
                assert!(object.remove(*key).is_some(), "{key}");
            }
        };
        object(&mut value, "", &["event", "failed", "warnings"]);
        object(&mut value, "/metrics/0", &["class", "deviation", "interval"]);
        object(&mut value, "/protocol", &["reference_images", "sampler"]);
        for set in ["/protocol/samples", "/protocol/reference"] {
            object(&mut value, set, &["pixels"]);
        }
        let report: ScoreReport = serde_json::from_value(value).unwrap();
        assert!(report.failed.is_empty() && report.protocol.samples.pixels.is_none());
        assert_eq!(report.protocol.network.width, 24);
    }

    #[test]
    fn small_numbers_keep_three_digits_and_their_sign() {
        assert_eq!(digits(-0.000_02), "-2.00e-5");
        assert_eq!(digits(0.0), "0.0000");
        assert_eq!(digits(12.345_67), "12.3457");
    }
}
