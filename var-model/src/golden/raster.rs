//! Golden cases of `kind: raster`: the published class in raster order, with its one-scale tokenizer.

use tch::Kind;
use var_tokenizer::VqVae;
use var_tokenizer::golden::{Case, FEATURES, IMAGES, LOSSES, images};

use super::{Subject, check_sampling, teacher_forced};
use crate::error::Result;
use crate::sampling::Sampler;

/// Checks everything that the case expects.
///
/// # Errors
/// When the manifest is incomplete, or libtorch fails.
pub(super) fn check(case: &mut Case, subject: &Subject, gradients: bool) -> Result<()> {
    let Subject { model, tokenizer, labels, ids, features } = subject;
    let config = model.config();
    tch::no_grad(|| check_tokenizer(case, tokenizer))?;
    let vectors = config.model_input(tokenizer.quantizer(), ids)?;
    case.close("model_input", &vectors, *features);
    let no_class = labels.full_like(config.classes as i64);
    let unconditional = tch::no_grad(|| model.forward(&no_class, &vectors, config.steps(), None))?;
    case.close("logits_no_class", &unconditional, *features);
    model.parameters().set_requires_grad(gradients);
    let (entropy, _) = teacher_forced(case, subject, &vectors)?;
    let per_position = entropy.mean_dim([0_i64].as_slice(), false, Kind::Float);
    case.relative("loss_per_position", &per_position, LOSSES);
    if gradients {
        entropy.mean(Kind::Float).f_backward()?;
        case.gradients(model.parameters());
    }
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
