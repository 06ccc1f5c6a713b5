//! The finished stages of a sweep, with the results of their programs, as in `sweep.json`.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use var_tokenizer::encode::EncodeSummary;
use var_tokenizer::reconstruct::ReconstructSummary;
use var_train::records::TokenizerResult;

/// A finished stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FinishedStage<T> {
    /// Seconds that it took.
    pub seconds: f64,
    /// The last event of its program; `None` if there is none, or if another version wrote it.
    #[serde(deserialize_with = "readable", bound(deserialize = "T: DeserializeOwned"))]
    pub result: Option<T>,
}

/// The finished stages, except the trainings of the sizes. The fields are in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FinishedStages {
    /// Reconstructions of held-out images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconstruction: Option<FinishedStage<ReconstructSummary>>,
    /// Sample grids by name: `samples of 3x96`. Their program has no result.
    #[serde(flatten)]
    pub samples: BTreeMap<String, FinishedStage<()>>,
    /// Training of the tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<FinishedStage<TokenizerResult>>,
    /// Encoding of the images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<FinishedStage<EncodeSummary>>,
}

impl FinishedStages {
    /// Whether no stage is finished.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The result, if it has the form that this version writes. Nothing but the report needs it.
fn readable<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: &str = r#""tokens":{"seconds":1.5,"result":{"event":"done","train":42,"val":6,"bad":1,"images_per_second":64.5,"out":"tokens.h5"}}"#;

    fn read(text: &str) -> FinishedStages {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_stage_is_read_and_written_to_the_byte() {
        let text = format!(
            "{}{TOKENS}}}",
            r#"{"reconstruction":{"seconds":0.5,"result":{"event":"done","scores":{"psnr":19.5,"l1":0.25},"images":6,"bad":0,"out":"strip.png","folder":null}},"samples of 1x32":{"seconds":0.5,"result":null},"samples of 2x32":{"seconds":0.25,"result":null},"tokenizer":{"seconds":2.5,"result":{"event":"done","parameters":157055,"psnr":19.5,"codes_used":31.0,"perplexity":26.5,"codes_per_scale":[2.0],"bad":0,"seconds":0.5,"precision":"f32","tokenizer":"t.safetensors","peak_memory_bytes":null}},"#
        );
        let stages = read(&text);
        assert_eq!(serde_json::to_string(&stages).unwrap(), text);
        assert_eq!((stages.samples.len(), stages.is_empty(), read("{}").is_empty()), (2, false, true));
    }

    #[test]
    fn a_result_of_another_form_is_left_out_and_its_stage_stays_finished() {
        let stages =
            read(&format!(r#"{{"tokenizer":{{"seconds":2.5,"result":{{"psnr":"high"}}}},{TOKENS}}}"#));
        assert_eq!(stages.tokenizer, Some(FinishedStage { seconds: 2.5, result: None }));
        assert_eq!(stages.tokens.unwrap().result.unwrap().bad, 1);
    }
}
