//! A block: attention and feed-forward, each modulated and gated by AdaLN.
//!
//! Source: `models/basic_var.py` of the published code.

use tch::{Kind, Tensor};
use var_tokenizer::torch::kernels::{BlockStep, gated_add, gelu, layer_norm_modulate, linear};
use var_tokenizer::torch::recomputed;
use var_tokenizer::weights::{Builder, Init};

use super::attention::{CachedLayer, Context, SelfAttention};
use super::initialisation::Deviations;
use crate::config::{MLP_RATIO, TransformerConfig};
use crate::error::{Error, Result};

/// Added to the variance in each LayerNorm.
pub(crate) const EPSILON: f64 = 1e-6;

/// Gates, scales and shifts of one block for a batch: six parts of `[B, 1, C]`.
#[derive(Debug)]
pub struct Modulation {
    parts: Vec<Tensor>,
}

impl Modulation {
    /// From `[B, 6, C]`, in the order γ1 γ2 scale1 scale2 shift1 shift2.
    fn new(all: &Tensor) -> Self {
        Self { parts: all.unbind(1).iter().map(|t| t.unsqueeze(1).contiguous()).collect() }
    }

    /// That of the first `rows` images.
    pub(super) fn first(&self, rows: i64) -> Self {
        let first = |part: &Tensor| part.narrow(0, 0, rows.min(part.size().first().copied().unwrap_or(rows)));
        Self { parts: self.parts.iter().map(first).collect() }
    }

    /// Gate, scale and shift of branch 0 (attention) or 1 (feed-forward).
    fn branch(&self, i: usize) -> Option<(&Tensor, &Tensor, &Tensor)> {
        Some((self.parts.get(i)?, self.parts.get(2 + i)?, self.parts.get(4 + i)?))
    }
}

/// The projection from an activated condition to six parts.
#[derive(Debug)]
pub(crate) struct AdaLn {
    weight: Tensor,
    bias: Tensor,
}

impl AdaLn {
    /// `weight` is its initialisation. The published one scales the projection of a block, but not a shared projection;
    /// there it scales the offsets of the blocks instead.
    pub(crate) fn new(mut b: Builder<'_>, width: usize, weight: Init) -> Self {
        let c = width as i64;
        Self {
            weight: b.parameter("weight", &[6 * c, c], weight),
            bias: b.parameter("bias", &[6 * c], Init::Constant(0.0)),
        }
    }

    fn share(&self) -> Self {
        Self { weight: self.weight.shallow_clone(), bias: self.bias.shallow_clone() }
    }

    /// `[B, C]` → `[B, 6, C]` in `f32`, multiplied in `kind`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(&self, activated: &Tensor, kind: Kind) -> Result<Tensor> {
        let batch = activated.size().first().copied().unwrap_or(0);
        let parts = linear(&activated.to_kind(kind), &self.weight, Some(&self.bias))?;
        Ok(parts.view([batch, 6, -1]).to_kind(Kind::Float))
    }
}

/// The source of the modulation of a block.
#[derive(Debug)]
enum Condition {
    /// Its own projection.
    Own(AdaLn),
    /// Offsets `[1, 1, 6, C]` on the shared projection.
    Offsets(Tensor),
    /// The same for every class: offsets `[1, 1, 6, C]` on open gates and plain norms.
    Fixed(Tensor),
}

/// One transformer block.
#[derive(Debug)]
pub(crate) struct Block {
    attention: SelfAttention,
    fc1: (Tensor, Tensor),
    fc2: (Tensor, Tensor),
    condition: Condition,
}

impl Block {
    pub(crate) fn new(mut b: Builder<'_>, config: &TransformerConfig, init: &Deviations) -> Self {
        let c = config.width as i64;
        let hidden = c * MLP_RATIO as i64;
        let offsets = match (config.adaln, config.shared_adaln) {
            (true, false) => None,
            (true, true) => Some(b.parameter("ada_gss", &[1, 1, 6, c], init.adaln_offsets())),
            (false, _) => Some(b.parameter("ada_gss", &[1, 1, 6, c], Init::Constant(0.0))),
        };
        let attention = SelfAttention::new(b.sub("attn"), config, init);
        let zero = Init::Constant(0.0);
        let mut ffn = b.sub("ffn");
        let mut layer = |name: &str, shape: [i64; 2], weight: Init| {
            let mut b = ffn.sub(name);
            (b.parameter("weight", &shape, weight), b.parameter("bias", &shape[..1], zero))
        };
        let fc1 = layer("fc1", [hidden, c], init.plain());
        let fc2 = layer("fc2", [c, hidden], init.branch_output());
        let condition = match offsets {
            Some(offsets) if config.adaln => Condition::Offsets(offsets),
            Some(offsets) => Condition::Fixed(offsets),
            None => Condition::Own(AdaLn::new(b.sub("ada_lin.1"), config.width, init.adaln())),
        };
        Self { attention, fc1, fc2, condition }
    }

    /// An empty cache of its attention.
    ///
    /// # Errors
    /// When memory runs out.
    pub(super) fn cached(&self, batch: i64, room: i64, kind: Kind) -> Result<CachedLayer> {
        self.attention.cached(batch, room, kind)
    }

    /// Modulation for an activated condition `[B, C]`; `shared` is the output of the shared projection, `[B, 6, C]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn modulation(
        &self,
        activated: &Tensor,
        shared: Option<&Tensor>,
        kind: Kind,
    ) -> Result<Modulation> {
        Ok(match (&self.condition, shared) {
            (Condition::Own(adaln), _) => Modulation::new(&adaln.forward(activated, kind)?),
            (Condition::Offsets(offsets), Some(shared)) => {
                Modulation::new(&(shared + offsets.squeeze_dim(0)))
            }
            (Condition::Offsets(offsets), None) => Modulation::new(&offsets.squeeze_dim(0)),
            (Condition::Fixed(offsets), _) => {
                let open =
                    Tensor::from_slice(&[1.0_f32, 1.0, 0.0, 0.0, 0.0, 0.0]).to_device(offsets.device());
                let batch = activated.size().first().copied().unwrap_or(1);
                Modulation::new(
                    &(offsets.squeeze_dim(0) + open.view([1, 6, 1])).expand([batch, -1, -1], false),
                )
            }
        })
    }

    /// The residual stream `[B, l, C]` in `f32` → the same; the branches compute in `kind`. `index` is the number of the
    /// block in the cache; `drop_path` `[2, B]` multiplies the two branches.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        modulation: &Modulation,
        index: usize,
        context: &mut Context<'_>,
        drop_path: Option<&Tensor>,
        kind: Kind,
    ) -> Result<Tensor> {
        if let (Context::Cached(cache), None) = (&mut *context, drop_path) {
            let layer = cache.layer(index)?;
            if let Some(x) = self.step(x, modulation, layer, kind)? {
                return Ok(x);
            }
        }
        let mut x = x.shallow_clone();
        for branch in 0..2 {
            let Some((gate, scale, shift)) = modulation.branch(branch) else { continue };
            let input = layer_norm_modulate(&x, scale, shift, EPSILON, kind)?;
            let output = if branch == 0 {
                self.attention.forward(&input, index, context)?
            } else {
                self.feed_forward(&input)?
            };
            // A dropped branch is a closed gate.
            let gate = match drop_path {
                Some(keep) => gate * keep.get(branch as i64).view([-1, 1, 1]),
                None => gate.shallow_clone(),
            };
            x = gated_add(&x, &output, &gate)?;
        }
        Ok(x)
    }

    /// [`Block::forward`] in one piece, for a few tokens; `None` if there are more, or on other devices.
    fn step(
        &self,
        x: &Tensor,
        modulation: &Modulation,
        layer: &mut CachedLayer,
        kind: Kind,
    ) -> Result<Option<Tensor>> {
        let [g1, g2, scale1, scale2, shift1, shift2] = modulation.parts.as_slice() else { return Ok(None) };
        let (heads, qkv, projection) = self.attention.parts();
        let CachedLayer { cache, bias, temperature } = layer;
        let step = BlockStep {
            modulation: [g1, g2, scale1, scale2, shift1, shift2],
            qkv: (qkv, bias),
            projection,
            expand: (&self.fc1.0, &self.fc1.1),
            contract: (&self.fc2.0, &self.fc2.1),
            heads,
            epsilon: EPSILON,
        };
        if !step.fits(x, kind) {
            return Ok(None);
        }
        Ok(Some(step.run(x, cache, self.attention.mode(temperature.as_ref()))?))
    }

    /// [`Block::forward`] on all steps at once, which end at `ends`. Keeps only `x` and the modulation for the backward
    /// pass, which computes the rest again. Gradients are the same.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward_recomputed(
        &self,
        x: &Tensor,
        modulation: &Modulation,
        ends: &[i64],
        drop_path: Option<&Tensor>,
        kind: Kind,
    ) -> Result<Tensor> {
        let block = self.share();
        let (ends, drop_path) = (ends.to_vec(), drop_path.map(Tensor::shallow_clone));
        let inputs: Vec<Tensor> =
            std::iter::once(x).chain(&modulation.parts).map(Tensor::shallow_clone).collect();
        recomputed(&inputs, move |inputs| {
            let (x, parts) =
                inputs.split_first().ok_or_else(|| Error::Config("a block has no input".into()))?;
            let modulation = Modulation { parts: parts.iter().map(Tensor::shallow_clone).collect() };
            block.forward(x, &modulation, 0, &mut Context::TeacherForced(&ends), drop_path.as_ref(), kind)
        })
    }

    /// Another handle of the same parameters; copies no values.
    fn share(&self) -> Self {
        let pair = |(weight, bias): &(Tensor, Tensor)| (weight.shallow_clone(), bias.shallow_clone());
        let condition = match &self.condition {
            Condition::Own(adaln) => Condition::Own(adaln.share()),
            Condition::Offsets(offsets) => Condition::Offsets(offsets.shallow_clone()),
            Condition::Fixed(offsets) => Condition::Fixed(offsets.shallow_clone()),
        };
        Self { attention: self.attention.share(), fc1: pair(&self.fc1), fc2: pair(&self.fc2), condition }
    }

    fn feed_forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = gelu(&linear(x, &self.fc1.0, Some(&self.fc1.1))?)?;
        linear(&hidden, &self.fc2.0, Some(&self.fc2.1))
    }
}
