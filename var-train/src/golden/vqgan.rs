//! Golden cases of the tokenizer's perceptual and adversarial training.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use var_eval::golden::lpips::{PackageHeads, heads, trunk};
use var_eval::metrics::lpips::{Lpips, Trunk};
use var_tokenizer::golden::Case;
use var_tokenizer::quantizer::{Quantizer, ScaleDropout};
use var_tokenizer::weights::{Parameters, Storage, portable};
use var_tokenizer::{PhiSharing, ScaleSchedule, TokenizerConfig};

use crate::error::{Error, Result};
use crate::settings::AdversaryTraining;
use crate::tokenizer::augment::{augment, blur};
use crate::tokenizer::discriminator::{Discriminator, Shape, Statistics};
use crate::tokenizer::losses::{AdversarialLoss, LeCam, adaptive_weight};
use crate::tokenizer::perceptual::Perceptual;

/// Tolerance of losses, weights and augmented images.
const EXACT: f64 = 1e-5;
/// Tolerance of logits and buffers: absolute and relative.
const LOGITS: f64 = 1e-4;
/// Tolerance of gradients, relative in norm.
const GRADIENT: f64 = 1e-3;
/// Tolerance of perceptual distances, relative.
const DISTANCE: f64 = 2e-4;
/// The heads of the `lpips` package, in the folder of golden cases.
const HEADS: &str = "eval/lpips/lpips_v0.1_heads.npz";

/// Checks a case whose kind starts with `vqgan_`, but `vqgan_step`.
pub(super) fn check(case: &mut Case) -> Result<()> {
    match case.text("kind") {
        "vqgan_disc" => discriminators(case),
        "vqgan_losses" => losses(case),
        "vqgan_weight" => weights(case),
        "vqgan_lpips_grad" => distances(case),
        "vqgan_diffaug" => augmentations(case),
        "vqgan_scale_dropout" => scale_dropout(case),
        other => {
            let text = format!("unknown kind {other}");
            case.fail("case", text);
            Ok(())
        }
    }
}

/// The entries of the list `key` of the manifest.
pub(super) fn list(case: &Case, key: &str) -> Vec<Value> {
    case.manifest.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The number `key` of an entry.
pub(super) fn number(entry: &Value, key: &str) -> Result<f64> {
    entry
        .get(key)
        .and_then(Value::as_f64)
        .ok_or_else(|| Error::config(format!("manifest: no number '{key}'")))
}

/// Images `[batch, 3, height, width]` in [-1, 1] of the stream `name`.
pub(super) fn images(name: &str, seed: u64, shape: &[i64]) -> Tensor {
    portable::uniform(name, seed, shape) * 2.0 - 1.0
}

/// The shape of the images of an entry.
fn image_shape(entry: &Value) -> Result<[i64; 4]> {
    let side = |key: &str| Ok::<_, Error>(number(entry, key)? as i64);
    Ok([side("batch")?, 3, side("height")?, side("width")?])
}

/// A portable discriminator in training, of the shape that `entry` has.
pub(super) fn discriminator(entry: &Value, seed: u64) -> Result<Discriminator> {
    let shape = Shape {
        layers: number(entry, "n_layers")? as usize,
        width: number(entry, "ndf")? as usize,
        spectral_norm: false,
    };
    let mut found = Discriminator::new(shape, Device::Cpu, None)?;
    portable::fill(found.parameters_mut(), seed + 2);
    found.parameters().set_requires_grad(true);
    Ok(found)
}

/// The settings of the published adversary: no regulariser, no augmentation, statistics of each batch.
pub(super) fn published(loss: AdversarialLoss, weight: f64) -> AdversaryTraining {
    AdversaryTraining {
        weight,
        loss,
        start: 0.0,
        ramp: 0.0,
        spectral_norm: false,
        joint_batch: false,
        running_statistics: false,
        augment: false,
        lecam: 0.0,
        ..AdversaryTraining::default()
    }
}

fn discriminators(case: &mut Case) -> Result<()> {
    let seed = case.number("seed")?;
    for entry in list(case, "configurations") {
        let name = entry["name"].as_str().unwrap_or("?").to_owned();
        let d = discriminator(&entry, seed)?;
        case.weights_in(&format!("{name}.weights"), &entry["weights"], d.parameters());
        let off = (d.parameters().count() as f64 - number(&entry, "parameters")?).abs();
        case.record(&format!("{name}.parameters"), Some(off), 0.0, None);
        let x = images(&format!("disc.{name}.image"), seed, &image_shape(&entry)?).set_requires_grad(true);
        let logits = d.forward(&x, Statistics::Batch)?;
        let cotangent = portable::normal(&format!("disc.{name}.cotangent"), seed, &logits.size());
        (&logits * cotangent).sum(Kind::Float).f_backward()?;
        case.close(&format!("{name}.logits_train"), &logits, LOGITS);
        compare_in_norm(case, &format!("{name}.grad_input"), &x.grad(), GRADIENT);
        case.gradients_of(&format!("{name}."), d.parameters());
        for entry in d.parameters().entries().iter().filter(|entry| !entry.trainable) {
            case.close(&format!("{name}.{}", entry.name), &entry.tensor, LOGITS);
        }
        let logits = tch::no_grad(|| d.forward(&x, Statistics::Running))?;
        case.close(&format!("{name}.logits_eval"), &logits, LOGITS);
    }
    Ok(())
}

fn losses(case: &mut Case) -> Result<()> {
    let seed = case.number("seed")?;
    let shape: Vec<i64> = case.numbers("logits_shape")?.iter().map(|&n| n as i64).collect();
    let (hinge, logistic) = (AdversarialLoss::Hinge, AdversarialLoss::Logistic);
    type Loss = fn(AdversarialLoss, &Tensor, &Tensor) -> Result<Tensor>;
    let of_d: Loss = |loss, real, fake| loss.discriminator(real, fake);
    let of_g: Loss = |loss, _, fake| loss.generator(fake);
    let all = [
        ("d_hinge", hinge, of_d),
        ("d_logistic", logistic, of_d),
        ("g_linear", hinge, of_g),
        ("g_logistic", logistic, of_g),
    ];
    for (name, kind, loss) in all {
        let logits = |which: &str| {
            (portable::normal(&format!("logits.{which}"), seed, &shape) * 2.0).set_requires_grad(true)
        };
        let (real, fake) = (logits("real"), logits("fake"));
        let value = loss(kind, &real, &fake)?;
        value.f_backward()?;
        case.relative(name, &value, EXACT);
        for (which, logits) in [("real", &real), ("fake", &fake)] {
            let key = format!("{name}.grad_{which}");
            if case.has(&key) {
                case.close(&key, &logits.grad(), EXACT);
            }
        }
    }
    let extremes: Vec<f32> =
        list(case, "extremes").iter().filter_map(Value::as_f64).map(|x| x as f32).collect();
    let extremes = Tensor::from_slice(&extremes);
    case.relative("d_hinge_of_extremes", &hinge.discriminator(&extremes, &extremes)?, EXACT);
    case.relative("d_logistic_of_extremes", &logistic.discriminator(&extremes, &extremes)?, EXACT);
    case.relative("g_logistic_of_extremes", &logistic.generator(&extremes)?, EXACT);
    let mut lecam = LeCam::new(0.999);
    let (mut values, mut averages) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let logits = |which: &str, shift: f64| {
            portable::normal(&format!("lecam.{round}.{which}"), seed, &shape) * 0.5 + shift
        };
        let (real, fake) = (logits("real", 1.0), logits("fake", -1.0));
        let mean = |t: &Tensor| t.mean(Kind::Float).double_value(&[]);
        lecam.update(mean(&real), mean(&fake));
        values.push(lecam.penalty(&real, &fake)?);
        averages.extend([lecam.real, lecam.fake]);
    }
    case.relative("lecam", &Tensor::stack(&values, 0), EXACT);
    case.close("lecam_averages", &Tensor::from_slice(&averages).view([4, 2]), EXACT);
    gradient_penalty(case, seed)
}

/// R1, which no run uses: it shows that the discriminator can be differentiated twice.
fn gradient_penalty(case: &mut Case, seed: u64) -> Result<()> {
    let entry = case.manifest.get("r1").cloned().unwrap_or_default();
    let d = discriminator(&entry, seed)?;
    let x = images("r1.image", seed, &image_shape(&entry)?).set_requires_grad(true);
    let sum = d.forward(&x, Statistics::Running)?.f_sum(Kind::Float)?;
    let gradient = Tensor::f_run_backward(&[sum], &[&x], true, true)?.pop().unwrap_or_default();
    let penalty =
        gradient.square().flatten(1, -1).sum_dim_intlist(&[1_i64][..], false, Kind::Float).mean(Kind::Float);
    (&penalty * 0.5).f_backward()?;
    case.relative("r1", &penalty, LOGITS);
    case.gradients_of("r1.", d.parameters());
    Ok(())
}

fn weights(case: &mut Case) -> Result<()> {
    let seed = case.number("seed")?;
    let shape: Vec<i64> = case.numbers("shape")?.iter().map(|&n| n as i64).collect();
    let mut found = Vec::new();
    for (i, row) in list(case, "rows").iter().enumerate() {
        let gradient = |which: &str| -> Result<Tensor> {
            let scale = Tensor::from(number(row, &format!("{which}_scale"))? as f32);
            Ok(portable::normal(&format!("weight.{i}.{which}"), seed, &shape) * scale)
        };
        let weight = adaptive_weight(&gradient("reconstruction")?, &gradient("adversarial")?)?;
        found.push(weight * number(row, "weight")?);
    }
    case.relative("adaptive", &Tensor::from_slice(&found), EXACT);
    let starts = list(case, "starts");
    let wrong = starts.iter().filter(|row| {
        let at = |i: usize| row.get(i).and_then(Value::as_f64).unwrap_or(f64::NAN);
        // A run of 1000 steps, so that the published start is a share of it.
        let settings = AdversaryTraining { start: at(1) / 1000.0, ..published(AdversarialLoss::Hinge, 1.0) };
        settings.factor(at(0) as u64, 1000) != at(2)
    });
    let wrong = wrong.count();
    if starts.is_empty() {
        case.fail("factor by step", "the manifest has no rows under 'starts'");
    } else {
        case.record("factor by step", Some(wrong as f64), 0.0, Some(format!("of {} differ", starts.len())));
    }
    Ok(())
}

fn distances(case: &mut Case) -> Result<()> {
    let seed = case.number("seed")?;
    for (i, run) in list(case, "runs").iter().enumerate() {
        let shape = image_shape(run)?;
        let x = images(&format!("lpips_grad.{i}.image"), seed, &shape);
        let noise = portable::normal(&format!("lpips_grad.{i}.noise"), seed, &shape) * 0.25;
        let reconstruction = (&x + noise).clamp(-1.0, 1.0).set_requires_grad(true);
        let net = run["net"].as_str().unwrap_or_default();
        let lpips = network(case, net, run["heads"] == "portable", seed)?;
        let layers = lpips.per_layer(&x, &reconstruction)?;
        case.relative(&format!("{i}.per_layer"), &layers, DISTANCE);
        let distances = layers.sum_dim_intlist(&[1_i64][..], false, Kind::Float);
        case.relative(&format!("{i}.distance"), &distances, DISTANCE);
        let mean = Perceptual::of(lpips).distance(&x, &reconstruction)?;
        mean.f_backward()?;
        let gradient = reconstruction.grad().to_kind(Kind::Double);
        if case.has(&format!("{i}.grad")) {
            compare_in_norm(case, &format!("{i}.grad"), &gradient, GRADIENT);
        }
        case.relative(&format!("{i}.grad_norm"), &gradient.norm(), GRADIENT);
        let per_image =
            gradient.flatten(1, -1).square().sum_dim_intlist(&[1_i64][..], false, Kind::Double).sqrt();
        case.relative(&format!("{i}.grad_norm_per_picture"), &per_image, GRADIENT);
        if let Some(head) = case.take(&format!("{i}.grad_head")) {
            let off = (gradient.flatten(0, -1).narrow(0, 0, head.numel() as i64) - head).abs().max();
            let largest = gradient.abs().max().double_value(&[]);
            case.record(&format!("{i}.grad_head"), Some(off.double_value(&[]) / largest), GRADIENT, None);
        }
    }
    Ok(())
}

/// LPIPS with portable trunk, and portable heads or the package's.
pub(super) fn network(case: &Case, net: &str, portable_heads: bool, seed: u64) -> Result<Lpips> {
    let kind: Trunk = net.parse()?;
    let mut weights = trunk(net, seed);
    if portable_heads {
        return Ok(Lpips::new(kind, &mut weights, &mut heads(net, seed), Device::Cpu)?);
    }
    let path = package_heads(case.folder())?;
    Ok(Lpips::new(kind, &mut weights, &mut PackageHeads { path: &path, net }, Device::Cpu)?)
}

/// The file of the package's heads, in a folder of golden cases around `folder` or around the current folder.
fn package_heads(folder: &Path) -> Result<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let around = folder.ancestors().chain(here.ancestors());
    let mut places = around.flat_map(|a| {
        ["", "golden", "shared/golden", "var-eval/tests/golden"].map(|below| a.join(below).join(HEADS))
    });
    places.find(|path| path.is_file()).ok_or_else(|| {
        Error::file(HEADS, "is missing: the case needs it in a folder of golden cases above its own folder")
    })
}

fn augmentations(case: &mut Case) -> Result<()> {
    let seed = case.number("seed")?;
    for (i, run) in list(case, "runs").iter().enumerate() {
        let shape = image_shape(run)?;
        let image = || images(&format!("diffaug.{i}.image"), seed, &shape);
        let draws = portable::uniform(&format!("diffaug.{i}.draws"), seed, &[7, shape[0]]);
        let numbers = |key: &str| run[key].as_array().cloned().unwrap_or_default();
        for cutout in numbers("cutouts").iter().filter_map(Value::as_f64) {
            let x = image().set_requires_grad(true);
            let y = augment(&x, &draws, cutout)?;
            (&y * portable::normal(&format!("diffaug.{i}.cotangent"), seed, &shape))
                .sum(Kind::Float)
                .f_backward()?;
            case.close(&format!("{i}.cut{cutout:?}.result"), &y, EXACT);
            case.close(&format!("{i}.cut{cutout:?}.grad"), &x.grad(), EXACT);
        }
        for fade in numbers("fades").iter().filter_map(Value::as_f64) {
            let key = format!("{i}.blur{fade:?}");
            // The published filter fails where it is wider than the image, so the case leaves it out.
            if case.has(&key) {
                case.close(&key, &blur(&image(), fade)?, EXACT);
            }
        }
    }
    Ok(())
}

fn scale_dropout(case: &mut Case) -> Result<()> {
    let seed = case.number("seed")?;
    let schedule = ScaleSchedule::new(case.numbers("patch_nums")?)?;
    let z = case.number("z")? as usize;
    let commitment = case.manifest.get("commitment").and_then(Value::as_f64).unwrap_or(f64::NAN);
    let config = TokenizerConfig {
        latent_channels: z,
        vocabulary: case.number("V")? as usize,
        phi: PhiSharing::Partial(case.number("share")? as usize),
        commitment,
        schedule: schedule.clone(),
        ..TokenizerConfig::published()
    };
    let dropout = ScaleDropout::new(case.numbers("kept_scales")?);
    let side = schedule.last_side() as i64;
    let shape = [case.number("batch")? as i64, z as i64, side, side];
    let latent = (portable::normal("scale_dropout.latent", seed, &shape) * 1.5).set_requires_grad(true);
    let quantizer = |config: &TokenizerConfig| {
        let mut parameters = Parameters::new(Device::Cpu, None, Storage::PLAIN);
        let made = Quantizer::new(parameters.builder().sub("quantize"), config);
        portable::fill(&mut parameters, seed);
        parameters.set_requires_grad(true);
        (made, parameters)
    };
    // Without commitment the loss is the codebook's alone.
    let (plain, _) = quantizer(&TokenizerConfig { commitment: 0.0, ..config.clone() });
    let codebook = plain.training_pass(&latent.detach(), Some(&dropout))?.loss;
    let (made, parameters) = quantizer(&config);
    let pass = made.training_pass(&latent, Some(&dropout))?;
    case.relative("codebook_loss", &codebook, EXACT);
    case.relative("commitment_loss", &(&pass.loss - &codebook), EXACT);
    case.close("f_hat", &pass.latent, EXACT);
    let cotangent = portable::normal("scale_dropout.cotangent", seed, &shape);
    (&pass.loss + (&pass.latent * cotangent).sum(Kind::Float)).f_backward()?;
    compare_in_norm(case, "grad_latent", &latent.grad(), GRADIENT);
    case.gradients(&parameters);
    Ok(())
}

/// Compares with the expected tensor of the same name: the norm of the difference, relative to its norm.
pub(super) fn compare_in_norm(case: &mut Case, name: &str, found: &Tensor, tolerance: f64) {
    let Some(expected) = case.take(name) else { return };
    if found.size() != expected.size() {
        return case.fail(name, format!("shape {:?}, expected {:?}", found.size(), expected.size()));
    }
    let expected = expected.to_kind(Kind::Double);
    let off = (found.detach().to_kind(Kind::Double) - &expected).norm().double_value(&[]);
    case.record(name, Some(off / expected.norm().double_value(&[]).max(1e-12)), tolerance, None);
}
