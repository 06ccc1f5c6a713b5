//! The settings of sampling that an evaluation is made with.

/// The settings of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Settings {
    pub(super) cfg: f64,
    pub(super) top_k: f64,
    pub(super) top_p: f64,
    pub(super) temperature: f64,
    /// The last scale with guidance; `None`: all have it.
    pub(super) guided_to: Option<f64>,
    /// Number of scales before a smaller model continues; `None`: all.
    pub(super) large_scales: Option<f64>,
}

impl Settings {
    /// Name of the folder of an evaluation.
    pub(super) fn name(&self, pictures: u64, seed: u64) -> String {
        let mut name = format!("cfg{}-k{}-p{}", self.cfg, self.top_k, self.top_p);
        let changed = (self.temperature != 1.0).then_some(self.temperature);
        for (letter, value) in [("t", changed), ("g", self.guided_to), ("l", self.large_scales)] {
            if let Some(value) = value {
                name += &format!("-{letter}{value}");
            }
        }
        format!("{name}-n{pictures}-s{seed}")
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        let plain = [
            ("--cfg", self.cfg),
            ("--top-k", self.top_k),
            ("--top-p", self.top_p),
            ("--temperature", self.temperature),
        ];
        let plain = plain.map(|(flag, value)| (flag, value.to_string()));
        let guided = self.guided_to.map(|last| ("--guide-scales", format!("1-{last}")));
        let large = self.large_scales.map(|scales| ("--large-scales", scales.to_string()));
        plain
            .into_iter()
            .chain(guided)
            .chain(large)
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }
}
