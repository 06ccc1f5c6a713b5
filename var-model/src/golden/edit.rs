//! The `edit.*` tensors of a case: in-painting, out-painting and class-conditional editing.

use serde_json::Value;
use tch::Tensor;
use var_tokenizer::VqVae;
use var_tokenizer::golden::{self, Case, IMAGES};

use crate::edit::{FractionBox, LatentMask};
use crate::error::{Error, Result};
use crate::sampling::{Draws, Sampler, SamplingOptions};

/// Compares every task in the manifest's table `edit`.
///
/// # Errors
/// When the table is incomplete, or libtorch fails.
pub(crate) fn check(case: &mut Case, sampler: &Sampler, tokenizer: &VqVae) -> Result<()> {
    let tasks = case.manifest.get("edit").and_then(Value::as_object).cloned().unwrap_or_default();
    if tasks.is_empty() {
        // Cases of the released sizes have none.
        if !case.flag("big") {
            case.fail("edit", "the manifest has no tasks under 'edit'");
        }
        return Ok(());
    }
    let images = golden::images(case, tokenizer.config())?;
    case.close("edit.image", &images, 0.0);
    let ids = tokenizer.encode(&images)?;
    case.exact("edit.tokens", &ids);
    for (name, task) in &tasks {
        check_task(case, sampler, tokenizer, &ids, name, task)?;
    }
    Ok(())
}

fn check_task(
    case: &mut Case,
    sampler: &Sampler,
    tokenizer: &VqVae,
    ids: &Tensor,
    name: &str,
    task: &Value,
) -> Result<()> {
    let lacks = |key: &str| Error::Config(format!("edit.{name}: the manifest has no '{key}'"));
    let number = |key: &str| task.get(key).and_then(Value::as_f64).ok_or_else(|| lacks(key));
    let inpainting = task.get("inpainting").and_then(Value::as_bool).ok_or_else(|| lacks("inpainting"))?;
    let corners: Vec<f64> = task
        .get("box_y0_x0_y1_x1")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_f64).collect())
        .unwrap_or_default();
    let [y0, x0, y1, x1] = corners[..] else { return Err(lacks("box_y0_x0_y1_x1")) };
    let options = SamplingOptions {
        cfg: number("cfg")?,
        top_k: number("top_k")? as usize,
        top_p: number("top_p")?,
        ..SamplingOptions::default()
    };
    let schedule = &tokenizer.config().schedule;
    let mask = LatentMask::of_box(&FractionBox::new(y0, x0, y1, x1)?, schedule.last_side(), !inpainting);
    case.close(&format!("edit.{name}.mask"), &mask.tensor(), 0.0);
    let batch = ids.size2()?.0 as usize;
    let labels = vec![number("label")? as i64; batch];
    let draws = Draws::new(number("draw_seed")? as u64, (0..batch as u64).collect());
    let kept = mask.kept(ids.shallow_clone(), schedule)?;
    let sample = sampler.sample_around(&labels, &draws, &options, Some(&kept))?;
    case.exact(&format!("edit.{name}.sampled_ids"), &sample.ids);
    case.close(&format!("edit.{name}.image"), &((sample.images + 1.0) * 0.5), IMAGES);
    Ok(())
}
