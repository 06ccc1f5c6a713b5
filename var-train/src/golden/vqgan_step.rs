//! The golden case `step`: the generator's and the discriminator's step, and two rounds after it.

use serde_json::Value;
use tch::{Kind, Tensor};
use var_tokenizer::golden::{Case, tokenizer_config};
use var_tokenizer::weights::portable;
use var_tokenizer::{LAST_LAYER, VqVae};

use super::vqgan::{compare_in_norm, discriminator, images, network, number, published};
use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::optimizer::{Optimizer, Update};
use crate::tokenizer::adversary::{Adversary, Judged, Verdict};
use crate::tokenizer::losses::AdversarialLoss;
use crate::tokenizer::objective::{Adversarial, Objective, Terms};
use crate::tokenizer::perceptual::Perceptual;

/// Tolerances of losses, of weight and norms, and of the total: of the first round, and of those after it.
const FIRST: [f64; 3] = [1e-5, 1e-4, 1e-3];
const LATER: [f64; 3] = [1e-4, 1e-3, 1e-3];
/// Tolerance of the change of parameters, relative in norm.
const CHANGE: f64 = 1e-2;

/// A run of the case: tokenizer, discriminator and both optimizers.
struct Rounds {
    vae: VqVae,
    adversary: Adversary,
    perceptual: Perceptual,
    optimizer: Optimizer,
    manifest: Value,
    seed: u64,
}

/// Columns of `rounds` by name.
type Row = Vec<(&'static str, f64)>;

impl Rounds {
    fn new(case: &Case) -> Result<Self> {
        let seed = case.number("seed")?;
        let mut vae = VqVae::new(&tokenizer_config(case)?, tch::Device::Cpu, None)?;
        portable::fill(vae.parameters_mut(), case.number("vae_seed")?);
        vae.parameters().set_requires_grad(true);
        let manifest = case.manifest.clone();
        let settings = published(AdversarialLoss::Hinge, number(&manifest, "w_adversarial")?);
        let adversary = Adversary::of(&settings, discriminator(&manifest, seed)?, seed, 0.0);
        let perceptual = Perceptual::of(network(case, case.text("perceptual"), true, seed)?);
        let optimizer = Optimizer::new(vae.parameters(), 0.5, 0.9, 1e-8, 0.0);
        Ok(Self { vae, adversary, perceptual, optimizer, manifest, seed })
    }

    fn weight(&self, key: &str) -> Result<f64> {
        number(&self.manifest, key)
    }

    fn images(&self, round: u64) -> Result<Tensor> {
        let side = self.weight("image_side")? as i64;
        let shape = [self.weight("batch")? as i64, 3, side, side];
        Ok(images(&format!("step.{round}.image"), self.seed, &shape))
    }

    /// Forward and backward of the generator. Gives the reconstruction and the terms.
    fn generator(&self, x: &Tensor, l2: f64, factor: f64) -> Result<(Tensor, Terms)> {
        let output = self.vae.training_forward(x, None)?;
        let places: Vec<u64> = (0..x.size().first().copied().unwrap_or(0) as u64).collect();
        let loss = |y: &Tensor| {
            self.adversary.generator(y, Judged { step: 0, places: &places, share: 1.0, blur: 0.0 })
        };
        let last_layer = self.vae.parameters().get(LAST_LAYER);
        let adversarial = (factor > 0.0).then_some(Adversarial {
            loss: &loss,
            weight: self.weight("w_adversarial")?,
            factor,
            last_layer,
        });
        let objective = Objective {
            l1: self.weight("w_l1")?,
            l2,
            vq: self.weight("w_vq")?,
            perceptual: Some((&self.perceptual, self.weight("w_perceptual")?)),
            adversarial,
            ranks: Ranks::ALONE,
        };
        let terms = objective.backward(x, &output.reconstruction, Some(&output.vq_loss), (1.0, true))?;
        Ok((output.reconstruction, terms))
    }

    fn judge(&mut self, x: &Tensor, y: &Tensor) -> Result<Verdict> {
        let places: Vec<u64> = (0..x.size().first().copied().unwrap_or(0) as u64).collect();
        self.adversary.judge(x, y, Judged { step: 0, places: &places, share: 1.0, blur: 0.0 })
    }

    /// One round. With `case`, compares the gradients of both steps.
    fn round(&mut self, round: u64, start: u64, case: Option<&mut Case>) -> Result<Row> {
        let x = self.images(round)?;
        let factor = if round < start { 0.0 } else { 1.0 };
        let (y, terms) = self.generator(&x, self.weight("w_l2")?, factor)?;
        let rate = self.weight("learning_rate")?;
        let ids = match case {
            Some(case) => {
                let ids = self.vae.encode(&x)?;
                case.exact("g.ids", &ids);
                let start = y.detach().flatten(0, -1);
                let start = if start.numel() > 20_000 { start.narrow(0, 0, 256) } else { y.detach() };
                case.close("reconstruction", &start, 1e-4);
                case.gradients_of("g.", self.vae.parameters());
                Some(case)
            }
            None => None,
        };
        let g_norm = self.optimizer.step(rate, 0.0)?;
        let (mut verdict, mut d_norm) = (Verdict::default(), 0.0);
        if factor > 0.0 {
            verdict = self.judge(&x, &y)?;
            if let Some(case) = ids {
                case.gradients_of("d.", self.adversary.discriminator().parameters());
            }
            d_norm = self.adversary.step(rate, &verdict)?;
        }
        Ok(vec![
            ("total", terms.total),
            ("l1", terms.l1),
            ("l2", terms.l2),
            ("perceptual", terms.perceptual),
            ("vq", terms.vq),
            ("g_loss", terms.adversarial),
            ("adaptive_weight", terms.weight),
            ("d_loss", verdict.loss),
            ("mean_logit_real", verdict.real_logit),
            ("mean_logit_fake", verdict.fake_logit),
            ("g_grad_norm", g_norm),
            ("d_grad_norm", d_norm),
        ])
    }
}

/// Checks the case.
pub(super) fn check(case: &mut Case) -> Result<()> {
    let mut rounds = Rounds::new(case)?;
    for (part, parameters) in
        [("vae", rounds.vae.parameters()), ("discriminator", rounds.adversary.discriminator().parameters())]
    {
        let table = case.manifest["weights"][part].clone();
        case.weights_in(&format!("weights of {part}"), &table, parameters);
    }
    let start = case.number("disc_start")?;
    let count = case.expected.get("rounds").and_then(|t| t.size().first().copied()).unwrap_or(0) as u64;
    let mut rows = Vec::new();
    for round in 0..count {
        let case = (round == start).then_some(&mut *case);
        rows.push(rounds.round(round, start, case)?);
    }
    compare_rounds(case, "rounds", &rows);
    changes(case, &rounds)?;
    let mut late = Rounds::new(case)?;
    let rows = [late.round(0, 1, None)?, late.round(1, 1, None)?];
    compare_rounds(case, "late.rounds", &rows);
    published_sums(case)
}

/// Compares the columns of each round.
fn compare_rounds(case: &mut Case, key: &str, rows: &[Row]) {
    let Some(expected) = case.take(key) else { return };
    let names: Vec<String> = super::vqgan::list(case, "columns")
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    if expected.size() != [rows.len() as i64, names.len() as i64] || names.is_empty() {
        return case.fail(key, format!("shape {:?} for {} rounds", expected.size(), rows.len()));
    }
    for (round, row) in rows.iter().enumerate() {
        let [losses, norms, total] = if round == 0 { FIRST } else { LATER };
        for (column, name) in names.iter().enumerate() {
            let quantity = format!("{key} {round} {name}");
            let Some((_, found)) = row.iter().find(|(own, _)| own == name) else {
                case.fail(&quantity, "unknown column");
                continue;
            };
            let expected = expected.double_value(&[round as i64, column as i64]);
            let off = (found - expected).abs();
            let relative = if expected == 0.0 { off } else { off / expected.abs() };
            match name.as_str() {
                "total" => case.record(&quantity, Some(off), total, None),
                "adaptive_weight" | "g_grad_norm" | "d_grad_norm" => {
                    case.record(&quantity, Some(relative), norms, None);
                }
                _ => case.record(&quantity, Some(relative), losses, None),
            }
        }
    }
}

/// Compares what the rounds changed: parameters less their initial values, and buffers.
fn changes(case: &mut Case, rounds: &Rounds) -> Result<()> {
    let names: Vec<String> =
        case.expected.keys().filter_map(|key| key.strip_prefix("after.").map(str::to_owned)).collect();
    for name in names {
        let key = format!("after.{name}");
        let (parameters, own, seed) = match name.strip_prefix("d.") {
            Some(own) => (rounds.adversary.discriminator().parameters(), own, rounds.seed + 2),
            None => (rounds.vae.parameters(), name.as_str(), case.number("vae_seed")?),
        };
        let Some(found) = parameters.get(own) else {
            case.fail(&key, "no such tensor");
            continue;
        };
        if name.contains("running_") {
            case.close(&key, found, 1e-4);
            continue;
        }
        let first = portable::tensor(own, seed, &found.size()).to_kind(Kind::Double);
        let change = found.detach().to_kind(Kind::Double) - &first;
        if let Some(expected) = case.expected.get_mut(&key) {
            *expected = expected.to_kind(Kind::Double) - first;
        }
        compare_in_norm(case, &key, &change, CHANGE);
    }
    Ok(())
}

/// Compares the sums that the published class gives, without the squared error.
fn published_sums(case: &mut Case) -> Result<()> {
    let mut rounds = Rounds::new(case)?;
    let x = rounds.images(0)?;
    let (y, on) = rounds.generator(&x, 0.0, 1.0)?;
    let (_, off) = Rounds::new(case)?.generator(&x, 0.0, 0.0)?;
    let verdict = rounds.judge(&x, &y)?;
    let found = [on.total, off.total, verdict.loss, on.weight, on.adversarial];
    let Some(expected) = case.take("published") else { return Ok(()) };
    let expected =
        Vec::<f64>::try_from(&expected.to_kind(Kind::Double)).map_err(|e| Error::config(e.to_string()))?;
    let names = ["total", "total before the start", "d_loss", "adaptive weight", "g_loss"];
    let [losses, weight, total] = FIRST;
    for ((name, found), (expected, tolerance)) in
        names.iter().zip(found).zip(expected.iter().zip([total, losses, losses, weight, losses]))
    {
        let off = (found - expected).abs() / if tolerance == total { 1.0 } else { expected.abs().max(1e-12) };
        case.record(&format!("published {name}"), Some(off), tolerance, None);
    }
    Ok(())
}
