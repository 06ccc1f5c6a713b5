//! Golden cases of `kind: vae`: latent, ids, reconstructions, losses, gradients.

use tch::Tensor;

use super::{Case, FEATURES, IMAGES, LOSSES, images, tokenizer};
use crate::runtime::error::Result;

/// Checks everything that the case expects.
///
/// # Errors
/// When the manifest is not whole.
pub(crate) fn check(case: &mut Case) -> Result<()> {
    let vae = tokenizer(case, "weights")?;
    let images = images(case, vae.config())?;
    let latent = tch::no_grad(|| vae.latent(&images))?;
    case.close("f", &latent, FEATURES);
    let ids = vae.encode(&images)?;
    case.exact("ids", &ids);
    let latents = tch::no_grad(|| vae.quantizer().latents(&ids))?;
    case.close("f_hat", &Tensor::stack(&latents, 1), FEATURES);
    case.close("images", &vae.decode_scales(&ids)?, IMAGES);
    case.close("model_input", &vae.to_model_input(&ids)?, FEATURES);

    vae.parameters().set_requires_grad(true);
    let output = vae.training_forward(&images, None)?;
    let mean = tch::Reduction::Mean;
    let loss = output.reconstruction.l1_loss(&images, mean)
        + output.reconstruction.mse_loss(&images, mean)
        + &output.vq_loss;
    case.close("reconstruction", &output.reconstruction, IMAGES);
    case.relative("vq_loss", &output.vq_loss, LOSSES);
    case.relative("loss", &loss, LOSSES);
    loss.f_backward()?;
    case.gradients(vae.parameters());
    Ok(())
}
