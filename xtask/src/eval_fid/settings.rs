//! The settings of sampling that an evaluation is made with.

/// The settings of one evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Settings {
    pub(super) cfg: f64,
    pub(super) top_k: f64,
    pub(super) top_p: f64,
    pub(super) temperature: f64,
}

impl Settings {
    /// Name of the folder of an evaluation.
    pub(super) fn name(&self, pictures: u64, seed: u64) -> String {
        let heat = if self.temperature == 1.0 { String::new() } else { format!("-t{}", self.temperature) };
        format!("cfg{}-k{}-p{}{heat}-n{pictures}-s{seed}", self.cfg, self.top_k, self.top_p)
    }

    pub(super) fn arguments(&self) -> [String; 8] {
        let value = |number: f64| number.to_string();
        [
            "--cfg".into(),
            value(self.cfg),
            "--top-k".into(),
            value(self.top_k),
            "--top-p".into(),
            value(self.top_p),
            "--temperature".into(),
            value(self.temperature),
        ]
    }
}
