//! Flags of `var-scaling forecast`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use var_scaling::error::{Error, Result};
use var_scaling::fit::{Forecast, ForecastRequest, forecast};
use var_scaling::quantity::interval;
use var_scaling::result_line::Metric;
use var_scaling::results::Results;
use var_tokenizer::progress::say;

use super::{FitArgs, warn};

#[derive(Args)]
#[command(after_help = "Examples:
  var-scaling forecast runs/laws --params 1e7 --tokens 4e6
  var-scaling forecast runs/laws --compute 1e15,1e16 --target-loss 4.2
  var-scaling forecast runs/sweep-emoji-nano --params 1e7      (a sweep of one length)

The law is fitted to all finished trainings. A forecast far outside of them is a guess: the reach says how far it is.
Exit status: 0 also where the trainings do not give a law (the status says why), 2 bad input.")]
pub struct ForecastArgs {
    /// Sweep folder, or a CSV table with the columns of results.jsonl
    folder: PathBuf,
    /// Parameters of the model
    #[arg(long, value_name = "N")]
    params: Option<f64>,
    /// Training tokens of the model, for a sweep with several lengths
    #[arg(long, value_name = "N", requires = "params")]
    tokens: Option<f64>,
    /// Budgets of compute in FLOPs, to split into parameters and tokens
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    compute: Vec<f64>,
    /// Losses whose compute is asked for
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    target_loss: Vec<f64>,
    /// Of a sweep with several lengths: the law of parameters of the length that most sizes have
    #[arg(long, conflicts_with_all = ["tokens", "compute", "target_loss"])]
    one_length: bool,
    /// The score: loss_all or loss_last
    #[arg(long, value_name = "NAME", default_value = "loss_all")]
    metric: String,
    #[command(flatten)]
    fit: FitArgs,
    /// Print the forecast as JSON
    #[arg(long)]
    json: bool,
}

impl ForecastArgs {
    pub fn run(&self) -> Result<()> {
        let losses = |metric: &Metric| matches!(metric, Metric::LossAll | Metric::LossLast);
        let metric = Metric::from_key(&self.metric).filter(losses).ok_or_else(|| {
            Error::config(format!("metric {}: expected loss_all or loss_last", self.metric))
        })?;
        let request = ForecastRequest {
            parameters: self.params,
            tokens: self.tokens,
            compute: self.compute.clone(),
            targets: self.target_loss.clone(),
            one_length: self.one_length,
        };
        let results = Results::open(&self.folder)?;
        warn(&results.skipped);
        let found = forecast(&results, metric, &self.fit.options()?, &request)?;
        if self.json {
            return Ok(say(serde_json::to_string_pretty(&found).unwrap_or_default())?);
        }
        Ok(say(text(&found).trim_end())?)
    }
}

fn text(found: &Forecast) -> String {
    let word = |key: &str| found.law.get(key).and_then(Value::as_str).unwrap_or_default().replace('_', " ");
    let mut text = format!("law {} of {} trainings: {}\n", word("law"), found.runs, word("status"));
    if let Some(loss) = found.loss {
        let percent = 100.0 * found.level;
        text += &format!("{} {loss:.4}\n", found.metric);
        for (what, ends) in [("the law", found.of_law), ("one training", found.of_training)] {
            text += &format!("  {percent:.0}% of {what}: {}\n", interval(ends, 4));
        }
    }
    for reach in &found.reach {
        text += &format!("  outside: {reach}\n");
    }
    text + &super::fit::splits(&Value::Object(found.law.clone()))
}
