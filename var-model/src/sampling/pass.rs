//! One transformer on its way through the steps: its conditions, and its keys and values so far.

use tch::Tensor;

use crate::error::Result;
use crate::transformer::{Context, KeyValueCache, Modulations, Transformer};

/// A transformer in the middle of sampling a batch. Guided rows come twice: with their class, then without.
pub(super) struct Pass<'a> {
    model: &'a Transformer,
    /// `[rows, C]`
    condition: Tensor,
    modulations: Modulations,
    cache: KeyValueCache,
}

impl<'a> Pass<'a> {
    /// At the start, for the labels of all rows.
    ///
    /// # Errors
    /// When memory runs out or libtorch fails.
    pub(super) fn new(model: &'a Transformer, rows: &[i64]) -> Result<Self> {
        let condition = model.condition(&Tensor::from_slice(rows).to_device(model.device()));
        let modulations = model.modulations(&condition)?;
        let cache = model.cache(rows.len() as i64)?;
        Ok(Self { model, condition, modulations, cache })
    }

    /// Number of rows.
    fn rows(&self) -> i64 {
        self.condition.size().first().copied().unwrap_or(0)
    }

    /// Keeps the first `rows` rows, which drops the others from all later steps.
    pub(super) fn keep_first(&mut self, rows: i64) {
        if rows < self.rows() {
            self.condition = self.condition.narrow(0, 0, rows);
            self.modulations = self.modulations.first(rows);
            self.cache.keep_first(rows);
        }
    }

    /// Embedded tokens `[rows, l, C]` of the step that begins at position `begin`, from its input vectors `[B, l, z]`;
    /// `None` at the first step.
    fn embed(&self, vectors: Option<&Tensor>, begin: usize) -> Tensor {
        let Some(vectors) = vectors else { return self.model.embed_first(&self.condition) };
        let embedded = self.model.embed_vectors(vectors, begin);
        let batch = embedded.size().first().copied().unwrap_or(1).max(1);
        let times = self.rows() / batch;
        if times > 1 { embedded.repeat([times, 1, 1]) } else { embedded }
    }

    /// Logits `[rows, l, V]` of the step that begins at position `begin`, from its input vectors `[B, l, z]` (`None` at
    /// the first step).
    ///
    /// # Errors
    /// When libtorch fails.
    pub(super) fn logits(&mut self, vectors: Option<&Tensor>, begin: usize) -> Result<Tensor> {
        let tokens = self.embed(vectors, begin);
        self.model.run(&tokens, &self.modulations, &mut Context::Cached(&mut self.cache), None)
    }

    /// As [`Pass::logits`] for a step whose tokens are known: only its keys and values are needed.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(super) fn read(&mut self, vectors: Option<&Tensor>, begin: usize) -> Result<()> {
        let tokens = self.embed(vectors, begin);
        let mut context = Context::Cached(&mut self.cache);
        self.model.run_blocks(&tokens, &self.modulations, &mut context, None).map(drop)
    }
}
