//! The transformer: embeddings, blocks, head. Training and sampling share one forward pass.
//!
//! Source: section 3.2 of the paper and `models/var.py` of the published code.

pub mod attention;
pub mod block;
pub mod embedding;
pub mod head;
pub mod initialisation;

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};
use var_tokenizer::ScaleSchedule;
use var_tokenizer::weights::{Checkpoint, Parameters, Role, StateDict, Storage, safetensors};

pub use attention::{Context, KeyValueCache};
pub use block::Modulation;
pub use initialisation::Initialisation;

use crate::config::TransformerConfig;
use crate::error::{Error, Result};
use block::{AdaLn, Block};
use embedding::Embedding;
use head::Head;

/// Metadata key of the configuration in our `.safetensors` files.
pub const CONFIG_KEY: &str = "transformer_config";

/// Ends of names in released checkpoints that have no weights.
const IGNORED: [&str; 3] = ["lvl_1L", "attn_bias_for_masking", "zero_k_bias"];

/// Whether a file may have this name besides the weights.
fn ignored(name: &str) -> bool {
    IGNORED.iter().any(|end| name.ends_with(end))
}

/// Matrices of the blocks in `kind`; embeddings, AdaLN's offsets and the head in `f32`.
fn storage(kind: Kind) -> Storage {
    let keep = |name: &str| {
        let matrix = name.ends_with(".weight");
        !matrix || !(name.starts_with("blocks.") || name.starts_with("shared_ada_lin."))
    };
    Storage { matrices: kind, keep }
}

/// VAR transformer.
///
/// Parameters are `f32`. Blocks compute in the type of [`Transformer::set_compute_kind`], embeddings and head in `f32`; the
/// factors of the head's product may be rounded to that type.
#[derive(Debug)]
pub struct Transformer {
    config: TransformerConfig,
    parameters: Parameters,
    embedding: Embedding,
    shared_adaln: Option<AdaLn>,
    blocks: Vec<Block>,
    head: Head,
    compute: Kind,
    recompute: bool,
}

/// AdaLN's output for a batch of conditions: one entry per block, and that of the head.
#[derive(Debug)]
pub struct Modulations {
    blocks: Vec<Modulation>,
    head: head::HeadModulation,
}

impl Modulations {
    /// Those of the first `rows` conditions.
    pub(crate) fn first(&self, rows: i64) -> Self {
        Self { blocks: self.blocks.iter().map(|m| m.first(rows)).collect(), head: self.head.first(rows) }
    }
}

impl Transformer {
    /// A transformer on `device`, initialised from `seed`; without a seed, zeros that a file will replace.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(
        config: &TransformerConfig,
        initialisation: &Initialisation,
        device: Device,
        seed: Option<u64>,
    ) -> Result<Self> {
        Self::with(config, initialisation, Parameters::new(device, seed, Storage::PLAIN), Kind::Float)
    }

    /// A transformer that adds its parameters to the empty `parameters`, and computes in `kind`.
    fn with(
        config: &TransformerConfig,
        initialisation: &Initialisation,
        mut parameters: Parameters,
        kind: Kind,
    ) -> Result<Self> {
        config.validate()?;
        let init = initialisation.for_config(config);
        let mut b = parameters.builder();
        let embedding = Embedding::new(b.sub_here(), config, &init);
        let shared_adaln =
            config.shared_adaln.then(|| AdaLn::new(b.sub("shared_ada_lin.1"), config.width, init.plain()));
        let blocks =
            (0..config.depth).map(|i| Block::new(b.sub(format_args!("blocks.{i}")), config, &init)).collect();
        let head = Head::new(b, config, &init);
        Ok(Self {
            config: config.clone(),
            parameters,
            embedding,
            shared_adaln,
            blocks,
            head,
            compute: kind,
            recompute: false,
        })
    }

    /// Reads a transformer from a weight file of any layout. Our own files contain the configuration; for others it
    /// follows from names and shapes. The schedule is then the published one with these numbers of scales and tokens, or
    /// the only one that fits.
    ///
    /// # Errors
    /// When the file is damaged, has no transformer, or its tensors do not fit together.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let dict = checkpoint.part(Role::Transformer)?;
        let config = TransformerConfig::of(dict, ScaleSchedule::stated_in(&checkpoint).as_ref(), None)?;
        Self::of(dict, &config, device)
    }

    /// The transformer of `config` with the tensors of `dict`, in `f32`.
    ///
    /// # Errors
    /// When the tensors do not fit. This is checked before memory is taken for them.
    pub fn of(dict: &StateDict, config: &TransformerConfig, device: Device) -> Result<Self> {
        Self::filled(dict, config, Parameters::new(device, None, Storage::PLAIN), Kind::Float)
    }

    /// A transformer with the tensors of `dict` in `parameters`, if they fit.
    fn filled(
        dict: &StateDict,
        config: &TransformerConfig,
        parameters: Parameters,
        kind: Kind,
    ) -> Result<Self> {
        let plain = Initialisation::default();
        Self::with(config, &plain, Parameters::outline(), kind)?.parameters.check(dict, ignored)?;
        let mut model = Self::with(config, &plain, parameters, kind)?;
        model.load_tensors(dict)?;
        Ok(model)
    }

    /// The transformer of `config` with the tensors of `dict`, for inference without gradients: the matrices of the blocks
    /// are stored in `kind`, and compute in it. Takes no more memory than these.
    ///
    /// # Errors
    /// When the tensors do not fit. This is checked before memory is taken for them.
    pub fn for_inference(
        dict: &StateDict,
        config: &TransformerConfig,
        device: Device,
        kind: Kind,
    ) -> Result<Self> {
        let model = Self::filled(dict, config, Parameters::new(device, None, storage(kind)), kind)?;
        model.parameters.set_requires_grad(false);
        Ok(model)
    }

    /// Copies tensors with the released names into the parameters.
    ///
    /// # Errors
    /// Lists every missing, unexpected and mis-shaped tensor.
    pub fn load_tensors(&mut self, dict: &StateDict) -> Result<()> {
        self.parameters.load(dict, ignored)
    }

    /// Writes weights and configuration; returns the file's SHA-256.
    ///
    /// # Errors
    /// When the disk is full or the folder cannot be written. An older file stays.
    pub fn save(&self, path: &Path) -> Result<String> {
        safetensors::write(path, &self.parameters.to_map(), &self.metadata()?)
    }

    /// The metadata that [`Transformer::load`] needs in a file of these weights.
    ///
    /// # Errors
    /// Never in practice: the configuration is plain data.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>> {
        let text = serde_json::to_string(&self.config).map_err(|e| Error::Config(e.to_string()))?;
        Ok(BTreeMap::from([(CONFIG_KEY.to_owned(), text)]))
    }

    /// The configuration.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// All parameters by their released names.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// All parameters, to change them.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// The device of the parameters.
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    /// Makes the blocks compute in `kind` (`Float` or `BFloat16`).
    pub fn set_compute_kind(&mut self, kind: Kind) {
        self.compute = kind;
    }

    /// The type that the blocks compute in.
    pub fn compute_kind(&self) -> Kind {
        self.compute
    }

    /// Whether the backward pass computes each block again instead of keeping its intermediate tensors: less memory, a third
    /// more work. Gradients are bit-equal.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
    }

    /// Stores the matrices of the blocks in the compute type, for inference without casts. Not for training.
    pub fn freeze(&mut self) {
        self.parameters.set_requires_grad(false);
        self.parameters.store_as(storage(self.compute));
    }

    /// Condition vectors `[B, C]` (`f32`) of `labels` `[B]`; the label `classes` means "no class".
    pub fn condition(&self, labels: &Tensor) -> Tensor {
        self.embedding.condition(labels)
    }

    /// AdaLN of every block for `condition` `[B, C]`. It depends on nothing else, so sampling computes it once per image.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn modulations(&self, condition: &Tensor) -> Result<Modulations> {
        let activated = condition.silu();
        let shared = match &self.shared_adaln {
            Some(adaln) => Some(adaln.forward(&activated, self.compute)?),
            None => None,
        };
        let blocks = self.blocks.iter().map(|b| b.modulation(&activated, shared.as_ref(), self.compute));
        Ok(Modulations { blocks: blocks.collect::<Result<_>>()?, head: self.head.modulation(&activated)? })
    }

    /// An empty cache for `batch` sequences.
    ///
    /// # Errors
    /// When memory runs out.
    pub(crate) fn cache(&self, batch: i64) -> Result<KeyValueCache> {
        let room = self.config.schedule.tokens() as i64;
        let layers = self.blocks.iter().map(|block| block.cached(batch, room, self.compute));
        Ok(KeyValueCache::new(layers.collect::<Result<_>>()?))
    }

    /// Input of the first step, `[B, l_1, C]` in `f32`.
    pub fn embed_first(&self, condition: &Tensor) -> Tensor {
        self.embedding.first(condition)
    }

    /// Input of the positions from `begin` on, from their vectors `[B, l, z]`: `[B, l, C]` in `f32`.
    pub fn embed_vectors(&self, vectors: &Tensor, begin: usize) -> Tensor {
        self.embedding.later(vectors, begin)
    }

    /// Runs blocks and head on embedded tokens `[B, l, C]`: logits `[B, l, V]` in `f32`.
    ///
    /// `drop_path` `[depth, 2, B]` multiplies the branches (0 drops one, 1/keep scales it up).
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn run(
        &self,
        tokens: &Tensor,
        modulations: &Modulations,
        context: &mut Context<'_>,
        drop_path: Option<&Tensor>,
    ) -> Result<Tensor> {
        let x = self.run_blocks(tokens, modulations, context, drop_path)?;
        self.head.forward(&x, &modulations.head, self.compute)
    }

    /// Runs the blocks alone, as [`Transformer::run`]: `[B, l, C]` in `f32`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn run_blocks(
        &self,
        tokens: &Tensor,
        modulations: &Modulations,
        context: &mut Context<'_>,
        drop_path: Option<&Tensor>,
    ) -> Result<Tensor> {
        // The residual stream is f32, whatever the type of the branches.
        let mut x = tokens.shallow_clone();
        for (i, (block, modulation)) in self.blocks.iter().zip(&modulations.blocks).enumerate() {
            let branches = drop_path.map(|masks| masks.get(i as i64));
            let again = match context {
                Context::TeacherForced(ends) if self.recompute => Some(*ends),
                _ => None,
            };
            x = match again {
                Some(ends) => {
                    block.forward_recomputed(&x, modulation, ends, branches.as_ref(), self.compute)?
                }
                None => block.forward(&x, modulation, i, context, branches.as_ref(), self.compute)?,
            };
        }
        Ok(x)
    }

    /// Teacher-forced logits `[B, l, V]` in `f32` of the first `steps` steps.
    ///
    /// `labels` `[B]` (i64); `vectors` `[B, l − l_1, z]` are [`TransformerConfig::model_input`], up to these steps;
    /// `drop_path` as in [`Transformer::run`].
    ///
    /// # Errors
    /// When the vectors do not cover these steps, or libtorch fails.
    pub fn forward(
        &self,
        labels: &Tensor,
        vectors: &Tensor,
        steps: usize,
        drop_path: Option<&Tensor>,
    ) -> Result<Tensor> {
        let config = &self.config;
        let first = config.step(0).len();
        let expected = if steps == 0 { 0 } else { config.step(steps - 1).end };
        let (_, found, _) = vectors.size3()?;
        if steps == 0 || steps > config.steps() || found as usize + first != expected {
            return Err(Error::Config(format!(
                "input vectors for {found} tokens, expected {} for the first {steps} of {} steps (schedule {})",
                expected.saturating_sub(first),
                config.steps(),
                config.schedule
            )));
        }
        let condition = self.condition(labels);
        let modulations = self.modulations(&condition)?;
        let tokens = Tensor::cat(&[self.embed_first(&condition), self.embed_vectors(vectors, first)], 1);
        let ends = config.ends(steps);
        self.run(&tokens, &modulations, &mut Context::TeacherForced(&ends), drop_path)
    }
}
