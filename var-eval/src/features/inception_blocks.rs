//! The blocks of Inception-v3 as the FID network has them.
//!
//! They differ from the usual Inception-v3 in two ways: average pools do not count padding, and the pool branch of the
//! last block takes maxima. Source: the TensorFlow graph of 2015-12-05, with the module names of pytorch-fid's
//! `inception.py`.

use tch::{Device, Tensor};

use super::layers::{Activation, Convolution, Geometry};
use super::weights::TensorSource;
use crate::error::Result;

/// Epsilon of every batch norm.
const EPSILON: f64 = 1e-3;

/// Where layers come from: the tensors below a name.
pub(super) struct Part<'a> {
    pub source: &'a mut dyn TensorSource,
    pub device: Device,
    pub name: String,
}

impl Part<'_> {
    /// Convolution, batch norm and ReLU called `NAME.leaf`.
    pub fn convolution(&mut self, leaf: &str, geometry: Geometry) -> Result<Convolution> {
        self.activated(leaf, geometry, Activation::Relu)
    }

    /// A block's 1×1 convolution.
    fn pointwise(&mut self, leaf: &str, inputs: i64, outputs: i64) -> Result<Convolution> {
        self.convolution(leaf, Geometry::square(inputs, outputs, 1))
    }

    fn activated(&mut self, leaf: &str, geometry: Geometry, activation: Activation) -> Result<Convolution> {
        let name = if self.name.is_empty() { leaf.to_owned() } else { format!("{}.{leaf}", self.name) };
        let names = (format!("{name}.conv"), format!("{name}.bn"));
        Convolution::normalised(self.source, self.device, (&names.0, &names.1), EPSILON, geometry, activation)
    }
}

/// A filter of `rows` × `columns` that keeps the size.
fn flat(inputs: i64, outputs: i64, rows: i64, columns: i64) -> Geometry {
    Geometry { kernel: [rows, columns], ..Geometry::square(inputs, outputs, 1) }.same()
}

/// A chain of layers.
type Chain = Vec<Convolution>;

fn run(chain: &[Convolution], x: &Tensor) -> Result<Tensor> {
    let mut y = x.shallow_clone();
    for layer in chain {
        y = layer.forward(&y)?;
    }
    Ok(y)
}

/// How a block's pool branch works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    Mean,
    Maximum,
}

/// The branch that pools 3×3 and then mixes channels.
#[derive(Debug)]
struct PoolBranch {
    pool: Pool,
    mix: Convolution,
}

impl PoolBranch {
    fn new(part: &mut Part<'_>, pool: Pool, inputs: i64, outputs: i64) -> Result<Self> {
        let activation = if pool == Pool::Mean { Activation::None } else { Activation::Relu };
        let mix = part.activated("branch_pool", Geometry::square(inputs, outputs, 1), activation)?;
        Ok(Self { pool, mix })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if self.pool == Pool::Maximum {
            return self.mix.forward(&x.f_max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false)?);
        }
        // A mean without padding and a 1×1 convolution commute. With the convolution first, the pool has a tenth of the
        // channels.
        let mixed = self.mix.forward(x)?;
        let mut y = mixed.f_avg_pool2d([3, 3], [1, 1], [1, 1], false, false, None)?;
        Ok(y.f_relu_()?)
    }
}

/// One block: branches with the same input. Their outputs are concatenated.
#[derive(Debug)]
pub(super) struct Block {
    branches: Vec<Branch>,
}

#[derive(Debug)]
enum Branch {
    Chain(Chain),
    /// A chain, then two parallel convolutions.
    Fork(Chain, [Convolution; 2]),
    Pool(PoolBranch),
    /// A maximum of 3×3 with stride 2, without convolution.
    Reduce,
}

impl Block {
    /// `[B, inputs, 35, 35]` → `[B, 224 + pool, 35, 35]`.
    pub fn a(mut p: Part<'_>, inputs: i64, pool: i64) -> Result<Self> {
        let square = Geometry::square;
        Ok(Self {
            branches: vec![
                Branch::Chain(vec![p.pointwise("branch1x1", inputs, 64)?]),
                Branch::Chain(vec![
                    p.pointwise("branch5x5_1", inputs, 48)?,
                    p.convolution("branch5x5_2", square(48, 64, 5).same())?,
                ]),
                Branch::Chain(vec![
                    p.pointwise("branch3x3dbl_1", inputs, 64)?,
                    p.convolution("branch3x3dbl_2", square(64, 96, 3).same())?,
                    p.convolution("branch3x3dbl_3", square(96, 96, 3).same())?,
                ]),
                Branch::Pool(PoolBranch::new(&mut p, Pool::Mean, inputs, pool)?),
            ],
        })
    }

    /// `[B, inputs, 35, 35]` → `[B, 480 + inputs, 17, 17]`.
    pub fn b(mut p: Part<'_>, inputs: i64) -> Result<Self> {
        let square = Geometry::square;
        Ok(Self {
            branches: vec![
                Branch::Chain(vec![p.convolution("branch3x3", square(inputs, 384, 3).stride(2))?]),
                Branch::Chain(vec![
                    p.pointwise("branch3x3dbl_1", inputs, 64)?,
                    p.convolution("branch3x3dbl_2", square(64, 96, 3).same())?,
                    p.convolution("branch3x3dbl_3", square(96, 96, 3).stride(2))?,
                ]),
                Branch::Reduce,
            ],
        })
    }

    /// `[B, inputs, 17, 17]` → `[B, 768, 17, 17]`, `width` channels inside.
    pub fn c(mut p: Part<'_>, inputs: i64, width: i64) -> Result<Self> {
        Ok(Self {
            branches: vec![
                Branch::Chain(vec![p.pointwise("branch1x1", inputs, 192)?]),
                Branch::Chain(vec![
                    p.pointwise("branch7x7_1", inputs, width)?,
                    p.convolution("branch7x7_2", flat(width, width, 1, 7))?,
                    p.convolution("branch7x7_3", flat(width, 192, 7, 1))?,
                ]),
                Branch::Chain(vec![
                    p.pointwise("branch7x7dbl_1", inputs, width)?,
                    p.convolution("branch7x7dbl_2", flat(width, width, 7, 1))?,
                    p.convolution("branch7x7dbl_3", flat(width, width, 1, 7))?,
                    p.convolution("branch7x7dbl_4", flat(width, width, 7, 1))?,
                    p.convolution("branch7x7dbl_5", flat(width, 192, 1, 7))?,
                ]),
                Branch::Pool(PoolBranch::new(&mut p, Pool::Mean, inputs, 192)?),
            ],
        })
    }

    /// `[B, inputs, 17, 17]` → `[B, 512 + inputs, 8, 8]`.
    pub fn d(mut p: Part<'_>, inputs: i64) -> Result<Self> {
        let square = Geometry::square;
        Ok(Self {
            branches: vec![
                Branch::Chain(vec![
                    p.pointwise("branch3x3_1", inputs, 192)?,
                    p.convolution("branch3x3_2", square(192, 320, 3).stride(2))?,
                ]),
                Branch::Chain(vec![
                    p.pointwise("branch7x7x3_1", inputs, 192)?,
                    p.convolution("branch7x7x3_2", flat(192, 192, 1, 7))?,
                    p.convolution("branch7x7x3_3", flat(192, 192, 7, 1))?,
                    p.convolution("branch7x7x3_4", square(192, 192, 3).stride(2))?,
                ]),
                Branch::Reduce,
            ],
        })
    }

    /// `[B, inputs, 8, 8]` → `[B, 2048, 8, 8]`; the pool branch takes maxima in the last block.
    pub fn e(mut p: Part<'_>, inputs: i64, last: bool) -> Result<Self> {
        let square = Geometry::square;
        let pool = if last { Pool::Maximum } else { Pool::Mean };
        Ok(Self {
            branches: vec![
                Branch::Chain(vec![p.pointwise("branch1x1", inputs, 320)?]),
                Branch::Fork(
                    vec![p.pointwise("branch3x3_1", inputs, 384)?],
                    [
                        p.convolution("branch3x3_2a", flat(384, 384, 1, 3))?,
                        p.convolution("branch3x3_2b", flat(384, 384, 3, 1))?,
                    ],
                ),
                Branch::Fork(
                    vec![
                        p.pointwise("branch3x3dbl_1", inputs, 448)?,
                        p.convolution("branch3x3dbl_2", square(448, 384, 3).same())?,
                    ],
                    [
                        p.convolution("branch3x3dbl_3a", flat(384, 384, 1, 3))?,
                        p.convolution("branch3x3dbl_3b", flat(384, 384, 3, 1))?,
                    ],
                ),
                Branch::Pool(PoolBranch::new(&mut p, pool, inputs, 192)?),
            ],
        })
    }

    /// The concatenation of the branches over channels, and the output of the first branch.
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let mut outputs = Vec::with_capacity(self.branches.len() + 2);
        for branch in &self.branches {
            match branch {
                Branch::Chain(chain) => outputs.push(run(chain, x)?),
                Branch::Fork(chain, [left, right]) => {
                    let y = run(chain, x)?;
                    outputs.push(left.forward(&y)?);
                    outputs.push(right.forward(&y)?);
                }
                Branch::Pool(pool) => outputs.push(pool.forward(x)?),
                Branch::Reduce => outputs.push(x.f_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)?),
            }
        }
        let joined = Tensor::f_cat(&outputs, 1)?;
        Ok((joined, outputs.into_iter().next()))
    }
}
