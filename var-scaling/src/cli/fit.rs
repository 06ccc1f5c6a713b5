//! Flags of `var-scaling fit`.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use var_scaling::error::{Error, Result};
use var_scaling::regression::{FitRequest, fit_table};
use var_scaling::report;
use var_tokenizer::progress::say;

use super::{FitArgs, tables, warn};

#[derive(Args)]
#[command(after_help = "Examples:
  var-scaling fit runs/sweep-emoji-nano
  var-scaling fit runs/cifar --irreducible loss_all=4.8 --irreducible loss_last=4.7
  var-scaling fit --csv runs.csv --columns n=params,loss=val_loss --law power
  var-scaling fit --csv runs.csv --columns n=params,d=tokens,loss=val_loss --law joint \\
      --compute 1e21 --target-loss 2.2
  var-scaling fit --csv curves.csv --columns run=run,n=params,c=flops,loss=loss,step=step --law frontier
  var-scaling fit --csv none.csv --law optimal --coefficients E=1.8,A=480,alpha=.35,B=2100,beta=.37 --compute 1e21

In a table, rows without a positive number where one is needed are left out and named. The laws, with alpha above 0:
  power, error  E + A·X^−alpha of --variable          joint    E + A·N^−alpha + B·D^−beta (D = C/6N without d)
  repetition    joint, for data seen several times     frontier L(C) of whole curves, envelope, over-fitted runs
  isoflop       the best N of each budget c            optimal  the best split of compute, from --coefficients
Exit status: 0 also where the rows carry no law (the status says why), 2 bad input.")]
pub struct Fit {
    /// Sweep folder
    #[arg(required_unless_present = "csv", conflicts_with = "csv")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    fit: FitArgs,
    /// A table of runs instead of a sweep folder: CSV with a header
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Columns by role: n, d, c, loss, run, size, seed, step or unique, for example n=params,loss=val_loss
    #[arg(long, value_name = "ROLE=COLUMN,…", value_delimiter = ',', requires = "csv")]
    columns: Vec<String>,
    /// The law: power, error, joint, repetition, frontier, isoflop or optimal
    #[arg(long, value_name = "NAME", default_value = "power", requires = "csv")]
    law: String,
    /// The variable of power and error: n, d or c
    #[arg(long, value_name = "ROLE", default_value = "n", requires = "csv")]
    variable: String,
    /// squares, log-squares, loglog or huber=DELTA [default: squares; loglog with a given irreducible part; huber=1e-3 for
    /// joint and repetition]
    #[arg(long, value_name = "NAME", requires = "csv")]
    objective: Option<String>,
    /// Intervals: profile, hessian or none; there are none for huber
    #[arg(long, value_name = "NAME", default_value = "profile", requires = "csv")]
    interval: String,
    /// What an interval counts as independent: size (one mean of rows with equal variables) or row
    #[arg(long, value_name = "NAME", default_value = "size", requires = "csv")]
    unit: String,
    /// Level of the intervals
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, requires = "csv")]
    level: f64,
    /// Evaluate the law here, for example n=1e9,d=2e10; can be repeated
    #[arg(long, value_name = "ROLE=VALUE,…", requires = "csv")]
    at: Vec<String>,
    /// Budgets of compute to split (joint, optimal)
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "csv")]
    compute: Vec<f64>,
    /// Losses whose compute is asked for (joint, optimal)
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "csv")]
    target_loss: Vec<f64>,
    /// Coefficients of the law optimal
    #[arg(long, value_name = "NAME=VALUE,…", value_delimiter = ',', requires = "csv")]
    coefficients: Vec<String>,
    /// Folder for fits.json of a table
    #[arg(long, value_name = "DIR", default_value = ".", requires = "csv")]
    out: PathBuf,
    /// Print the content of fits.json
    #[arg(long)]
    json: bool,
}

impl Fit {
    pub fn run(&self) -> Result<()> {
        match (&self.csv, &self.folder) {
            (Some(table), _) => self.table(table.clone()),
            (None, Some(folder)) => {
                let (fits, skipped) = report::fit(folder, &self.fit.options()?)?;
                warn(&skipped);
                Ok(if self.json {
                    say(serde_json::to_string_pretty(&fits).unwrap_or_default())
                } else {
                    say(format_args!("{}{}", tables::laws(&fits), folder.join("fits.json").display()))
                }?)
            }
            (None, None) => Err(Error::config("name a sweep folder, or a table with --csv")),
        }
    }

    fn table(&self, table: PathBuf) -> Result<()> {
        let request = FitRequest {
            table,
            columns: self.columns.iter().map(|text| pair(text)).collect::<Result<_>>()?,
            law: self.law.clone(),
            variable: self.variable.clone(),
            given: self.given()?,
            objective: self.objective.clone(),
            interval: self.interval.clone(),
            unit: self.unit.clone(),
            level: self.level,
            at: self.at.iter().map(|text| text.split(',').map(value).collect()).collect::<Result<_>>()?,
            compute: self.compute.clone(),
            targets: self.target_loss.clone(),
            coefficients: self.coefficients.iter().map(|text| value(text)).collect::<Result<_>>()?,
        };
        let file = fit_table(&request, &self.out)?;
        if self.json {
            return Ok(say(format_args!("{file:#}"))?);
        }
        let dropped = file["table"]["dropped"].as_array().cloned().unwrap_or_default();
        let dropped: Vec<String> = dropped
            .iter()
            .map(|row| {
                format!("line {} left out: {}", row["line"], row["reason"].as_str().unwrap_or_default())
            })
            .collect();
        warn(&dropped);
        Ok(say(format_args!("{}{}", summary(&file["laws"][0]), self.out.join("fits.json").display()))?)
    }

    /// The irreducible part of a table's law.
    fn given(&self) -> Result<Option<f64>> {
        let bad = || Error::config("--irreducible: with --csv, give one number, or `fitted`");
        match self.fit.irreducible.as_slice() {
            [] => Ok(if self.law == "error" { Some(0.0) } else { None }),
            [text] if text == "fitted" => Ok(None),
            [text] => text.parse().map(Some).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }
}

/// `NAME=TEXT`.
fn pair(text: &str) -> Result<(String, String)> {
    let pair = text.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    pair.ok_or_else(|| Error::config(format!("{text}: expected NAME=VALUE")))
}

/// `NAME=NUMBER`.
fn value(text: &str) -> Result<(String, f64)> {
    let (name, value) = pair(text)?;
    let value = value.parse().map_err(|_| Error::config(format!("{text}: {value} is not a number")))?;
    Ok((name, value))
}

/// Status, coefficients and answers, one per line.
fn summary(law: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| number(value), str::to_owned);
    let mut out = format!("{}: {}", text(&law["law"]), text(&law["status"]));
    for key in ["bound", "unidentified"] {
        if let Some(value) = law.get(key) {
            out.push_str(&format!(" ({key}: {})", value.to_string().trim_matches(['"', '[', ']'])));
        }
    }
    out.push('\n');
    for (name, one) in law["coefficients"].as_object().into_iter().flatten() {
        out.push_str(&format!("  {name:<6} {}{}\n", number(&one["value"]), ends(one)));
    }
    for one in law["predictions"].as_array().into_iter().flatten() {
        out.push_str(&format!("  loss {}{}\n", number(&one["loss"]), ends(one)));
    }
    for one in law["optimal"]["points"].as_array().into_iter().flatten() {
        let [c, n, d, loss] = ["C", "N", "D", "loss"].map(|key| number(&one[key]));
        out.push_str(&format!("  C {c}: N {n}, D {d}, loss {loss}\n"));
    }
    for one in law["optimal"]["compute_for"].as_array().into_iter().flatten() {
        let c = if one["C"].is_null() { "not reachable".into() } else { format!("C {}", number(&one["C"])) };
        out.push_str(&format!("  loss {}: {c}\n", number(&one["target"])));
    }
    for key in ["n_opt", "d_opt"] {
        if let Some(exponent) = law[key]["exponent"].as_f64() {
            out.push_str(&format!("  {key} ∝ C^{exponent:.4}\n"));
        }
    }
    for one in law["overfitted"].as_array().into_iter().flatten() {
        let (best, last) = (number(&one["best"]), number(&one["last"]));
        out.push_str(&format!(
            "  over-fitted: {}, best {best} at step {}, last {last}\n",
            text(&one["run"]),
            one["best_step"]
        ));
    }
    for one in law["outliers"].as_array().into_iter().flatten() {
        out.push_str(&format!("  outlier: line {}\n", one["line"]));
    }
    out
}

fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(v) if v != 0.0 && !(1e-3..1e5).contains(&v.abs()) => format!("{v:.4e}"),
        Some(v) => format!("{v:.5}"),
        None => "–".into(),
    }
}

/// The interval, where there is one.
fn ends(one: &Value) -> String {
    let (low, high) = (&one["low"], &one["high"]);
    if low.is_null() && high.is_null() {
        return String::new();
    }
    format!(" ({} to {})", number(low), number(high))
}
