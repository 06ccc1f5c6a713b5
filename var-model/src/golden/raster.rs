//! Golden cases of `kind: raster`: the published class in raster order, with its one-scale tokenizer.

use tch::{Kind, Reduction, Tensor};
use var_tokenizer::VqVae;
use var_tokenizer::golden::{Case, FEATURES, IMAGES, LOSSES, images};

use super::{Subject, check_sampling};
use crate::Transformer;
use crate::error::Result;
use crate::sampling::Sampler;

/// Checks everything that the case expects.
///
/// # Errors
/// When the manifest is incomplete, or libtorch fails.
pub(super) fn check(case: &mut Case, subject: &Subject) -> Result<()> {
    let Subject { model, tokenizer, labels, ids, features } = subject;
    tch::no_grad(|| check_tokenizer(case, tokenizer))?;
    let vectors = model.config().model_input(tokenizer.quantizer(), ids)?;
    case.close("model_input", &vectors, *features);
    let no_class = labels.full_like(model.config().classes as i64);
    let steps = model.config().steps();
    let unconditional = tch::no_grad(|| model.forward(&no_class, &vectors, steps, None))?;
    case.close("logits_no_class", &unconditional, *features);
    model.parameters().set_requires_grad(true);
    check_losses(case, model, labels, ids, &vectors, *features)?.f_backward()?;
    case.gradients(model.parameters());
    check_sampling(case, &Sampler::new(model, tokenizer)?, labels)
}

fn check_tokenizer(case: &mut Case, tokenizer: &VqVae) -> Result<()> {
    let images = images(case, tokenizer.config())?;
    case.close("f", &tokenizer.latent(&images)?, FEATURES);
    let ids = tokenizer.encode(&images)?;
    case.exact("tokens", &ids);
    if let [latent] = tokenizer.quantizer().latents(&ids)?.as_slice() {
        case.close("f_hat", latent, FEATURES);
        let decoded = tokenizer.decode_latent(latent)?.clamp(-1.0, 1.0);
        case.close("image", &((decoded + 1.0) * 0.5), IMAGES);
    }
    Ok(())
}

/// Compares the teacher-forced pass. Returns its loss, for the backward pass.
fn check_losses(
    case: &mut Case,
    model: &Transformer,
    labels: &Tensor,
    ids: &Tensor,
    vectors: &Tensor,
    features: f64,
) -> Result<Tensor> {
    let logits = model.forward(labels, vectors, model.config().steps(), None)?;
    case.close("logits", &logits, features);
    let (rows, targets) = (logits.view([-1, model.config().vocabulary as i64]), ids.view([-1]));
    let entropy = rows.cross_entropy_loss::<Tensor>(&targets, None, Reduction::None, -100, 0.0).view_as(ids);
    let loss = entropy.mean(Kind::Float);
    case.relative("loss", &loss, LOSSES);
    let per_position = entropy.mean_dim([0_i64].as_slice(), false, Kind::Float);
    case.relative("loss_per_position", &per_position, LOSSES);
    let smoothed = rows.cross_entropy_loss::<Tensor>(&targets, None, Reduction::Mean, -100, 0.1);
    case.relative("smoothed_loss", &smoothed, LOSSES);
    let wrong = logits.argmax(-1, false).not_equal_tensor(ids).to_kind(Kind::Float);
    case.relative("error_rate", &wrong.mean(Kind::Float), LOSSES);
    Ok(loss)
}
