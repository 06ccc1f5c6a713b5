//! Reports of a training run: steps, validations, results and plans.
//!
//! `metrics.jsonl`, `result.json`, the last JSON event and the plan of a dry run are written from these types. They read
//! the same files back. Fields stand in the order of the files.

mod plan;
mod result;
mod step;
mod validation;

use serde::{Deserialize, Serialize};

pub use plan::{Estimate, ModelPlan, TokenizerPlan};
pub use result::{ModelResult, TokenizerResult};
pub use step::{AdversaryLosses, Losses, ModelLosses, Rates, StepReport, TokenizerLosses};
pub use validation::{ModelScores, Scores, TokenizerScores, Validation};

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum MetricsLine {
    /// One training step.
    Train(StepReport),
    /// One validation.
    Val(Validation),
    /// A line of another kind. This version writes none.
    #[serde(other)]
    Other,
}

/// A line of `metrics.jsonl`, of which only the step counts.
#[derive(Deserialize)]
struct Line {
    step: u64,
}

/// The step of a line of `metrics.jsonl`; `None` when the line is damaged.
pub(crate) fn step_of(line: &str) -> Option<u64> {
    serde_json::from_str::<Line>(line).ok().map(|line| line.step)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn back<T: Serialize + for<'a> Deserialize<'a>>(text: &str) -> String {
        serde_json::to_string(&serde_json::from_str::<T>(text).unwrap()).unwrap()
    }

    #[test]
    fn every_line_of_a_kept_log_keeps_its_keys_and_values() {
        let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/before/run/metrics.jsonl");
        let text = std::fs::read_to_string(log).unwrap();
        assert!(text.lines().count() > 20);
        for line in text.lines() {
            // Reading may change the last digit of a number, here and there alike.
            let plain: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(back::<MetricsLine>(line), plain.to_string());
        }
    }

    #[test]
    fn lines_with_and_without_every_optional_key_are_read_and_written_to_the_byte() {
        for line in [
            r#"{"kind":"train","step":30,"loss":0.25,"l1":0.5,"l2":0.125,"vq":0.0,"lr":0.001,"wd":0.05,"grad_norm":1.5,"images":240,"tokens":5040,"seconds":0.5}"#,
            r#"{"kind":"train","step":30,"loss":0.25,"l1":0.5,"l2":0.125,"vq":0.5,"alarm":"scale 1×1","used_per_scale":[0.5],"perplexity_per_scale":[1.5],"lr":0.001,"wd":0.05,"images":240,"tokens":5040,"seconds":0.5,"images_per_second":4.5,"tokens_per_second":9.5,"flops_per_second":2.5,"mfu":0.5,"data_wait":0.25}"#,
            r#"{"kind":"train","step":2,"loss_all":3.5,"err_all":0.5,"loss_per_scale":[3.5],"err_per_scale":[0.5],"loss":1.5,"loss_scale":2048.0,"scales":1,"newest_weight":1.0,"lr":0.001,"wd":0.05,"images":2,"tokens":4,"seconds":0.5}"#,
            r#"{"kind":"val","step":9,"psnr":19.5,"l1":0.5,"l2":0.25,"images":2,"tokens":4,"seconds":0.5}"#,
            r#"{"kind":"val","step":9,"psnr":19.5,"l1":0.5,"l2":0.25,"codes_used":31.0,"perplexity":26.5,"codes_per_scale":[2.0],"perplexity_per_scale":[1.5],"alarm":"scale 1×1","images":2,"tokens":4,"seconds":0.5}"#,
        ] {
            assert_eq!(back::<MetricsLine>(line), line);
        }
        let line = serde_json::from_str(r#"{"kind":"samples","step":9}"#).unwrap();
        assert_eq!(MetricsLine::Other, line);
    }

    #[test]
    fn results_and_plans_are_read_and_written_to_the_byte() {
        let text = r#"{"event":"done","parameters":6465,"tokens":3360,"flops":86415360.0,"six_n_d":130334400.0,"val_loss_all":2.5,"val_loss_last":2.625,"val_err_all":0.5,"val_err_last":0.625,"val_loss_per_scale":[1.25],"seconds":0.5,"precision":"f32","depth":1,"width":16,"heads":1,"peak_memory_bytes":150917120.0}"#;
        assert_eq!(back::<ModelResult>(text), text);
        let text = r#"{"event":"done","parameters":157055,"psnr":19.5,"codes_used":31.0,"perplexity":null,"codes_per_scale":[2.0],"bad":0,"seconds":0.5,"precision":"f32","tokenizer":"t.safetensors","peak_memory_bytes":null}"#;
        assert_eq!(back::<TokenizerResult>(text), text);
        let text = r#"{"parameters":1,"steps":2,"images":3,"flops":4.0,"memory_bytes":5.0,"train_pictures":6,"val_pictures":7,"process_bytes":8.0,"precision":"f32","assumed_flops_per_second":9.0,"estimated_seconds":10.0}"#;
        assert_eq!(back::<TokenizerPlan>(text), text);
    }
}
