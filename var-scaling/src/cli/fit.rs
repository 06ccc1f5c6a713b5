//! Flags of `var-scaling fit`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value;
use var_scaling::error::{Error, Result};
use var_scaling::import::{ImportRequest, import};
use var_scaling::regression::{self, FitRequest, Interval, Law, Objective, Role, Unit, Variable, fit_table};
use var_scaling::report;
use var_tokenizer::progress::{say, tell};

use super::{FitArgs, tables, warn};

#[derive(Args)]
#[command(after_help = "Examples:
  var-scaling fit runs/sweep-emoji-nano
  var-scaling fit runs/cifar --irreducible loss_all=4.8 --irreducible loss_last=4.7
  var-scaling fit --csv runs.csv --columns n=params,loss=val_loss --at n=1e9
  var-scaling fit --csv runs.csv --columns n=params,d=tokens,loss=val_loss --law joint \\
      --compute 1e21 --target-loss 2.2
  var-scaling fit --csv curves.csv --columns run=run,n=params,c=flops,loss=loss,step=step \\
      --law frontier
  var-scaling fit --import runs/*/metrics.jsonl --law joint
  var-scaling fit --import wandb.csv --runs runs.csv --law frontier
  var-scaling fit --law optimal --coefficients E=1.8,A=480,alpha=.35,B=2100,beta=.37 --compute 1e21

Rows of a table without a positive number where one is needed are left out and named. alpha and beta are above 0.
Without a column c, C is 6·N·D; without d, D is C/6N.
Exit status: 0 also where the rows do not give a law (the status says why), 2 bad input.")]
pub struct Fit {
    /// Sweep folder
    #[arg(required_unless_present_any = ["csv", "import", "coefficients"])]
    folder: Option<PathBuf>,
    #[command(flatten)]
    fit: FitArgs,
    #[command(flatten)]
    table: TableArgs,
    /// Print the content of fits.json
    #[arg(long)]
    json: bool,
}

/// A table instead of a sweep folder.
#[derive(Args)]
#[group(id = "table", multiple = true, conflicts_with = "folder")]
struct TableArgs {
    /// A table of runs instead of a sweep folder: CSV with a header
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Runs of other places: metrics.jsonl of var-train, or CSV exports of TensorBoard or Weights & Biases
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "csv")]
    import: Vec<PathBuf>,
    /// For exports, a CSV table with the columns run, n, tokens_per_step, and if known size and flops_per_step
    #[arg(long, value_name = "FILE", requires = "import")]
    runs: Option<PathBuf>,
    /// The loss to import [default: loss_all; of an export the only one]
    #[arg(long, value_name = "NAME", requires = "import")]
    metric: Option<String>,
    /// Columns by role: n, d, c, loss, unique, run, size, seed or step, for example n=params,loss=val_loss
    #[arg(long, value_name = "ROLE=COLUMN,…", value_delimiter = ',', requires = "csv")]
    columns: Vec<String>,
    /// The law [default: power]
    #[arg(long, value_name = "NAME")]
    law: Option<Law>,
    /// The variable of power and error [default: n]
    #[arg(long, value_name = "ROLE")]
    variable: Option<Variable>,
    /// squares, log-squares, loglog or huber=DELTA [default: squares; loglog with a given irreducible part; huber=1e-3 for
    /// joint and repetition]
    #[arg(long, value_name = "NAME")]
    objective: Option<Objective>,
    /// Intervals; for huber there is only the bootstrap [default: profile]
    #[arg(long, value_name = "NAME")]
    interval: Option<Interval>,
    /// What an interval counts as independent [default: size]
    #[arg(long, value_name = "NAME")]
    unit: Option<Unit>,
    /// Level of the intervals [default: 0.95]
    #[arg(long, value_name = "SHARE")]
    level: Option<f64>,
    /// Draws of the bootstrap [default: 1000]
    #[arg(long, value_name = "N")]
    draws: Option<u64>,
    /// Seed of the bootstrap [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Start from this number of exponents per variable [default: 9]
    #[arg(long, value_name = "N")]
    grid: Option<usize>,
    /// Evaluate the law here, for example n=1e9,d=2e10; can be repeated
    #[arg(long, value_name = "ROLE=VALUE,…")]
    at: Vec<String>,
    /// Budgets of compute to split (joint, optimal)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    compute: Vec<f64>,
    /// Losses whose compute is asked for (joint, optimal)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    target_loss: Vec<f64>,
    /// Coefficients of the law optimal
    #[arg(long, value_name = "NAME=VALUE,…", value_delimiter = ',')]
    coefficients: Vec<String>,
    /// Folder for fits.json of a table, and for the table of an import [default: runs/fit-TABLE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Fit {
    pub fn run(&self) -> Result<()> {
        match &self.folder {
            None => self.fit_table(),
            Some(folder) => {
                let (fits, skipped) = report::fit(folder, &self.fit.options()?)?;
                warn(&skipped);
                Ok(if self.json {
                    say(serde_json::to_string_pretty(&fits).unwrap_or_default())
                } else {
                    say(format_args!("{}{}", tables::laws(&fits), folder.join("fits.json").display()))
                }?)
            }
        }
    }

    fn fit_table(&self) -> Result<()> {
        let table = &self.table;
        let law = table.law.unwrap_or(Law::Power);
        let drawn = table.interval == Some(Interval::Bootstrap);
        if !drawn && (table.draws.is_some() || table.seed.is_some()) {
            return Err(Error::config(
                "--draws and --seed are for --interval bootstrap; take it, or leave them out",
            ));
        }
        let stem = || match (table.csv.as_deref().and_then(Path::file_stem), table.import.is_empty()) {
            (Some(stem), _) => stem.to_string_lossy().into_owned(),
            (None, true) => "optimal".into(),
            (None, false) => "import".into(),
        };
        let out = table.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("fit-{}", stem())));
        let (csv, columns) = if table.import.is_empty() {
            (table.csv.clone(), table.columns.iter().map(|text| column(text)).collect::<Result<_>>()?)
        } else {
            let (file, columns) = self.import(law, &out)?;
            (Some(file), columns)
        };
        let request = FitRequest {
            table: csv,
            columns,
            law,
            variable: table.variable.unwrap_or(Variable::N),
            given: self.given(law)?,
            objective: table.objective,
            interval: table.interval.unwrap_or(Interval::Profile),
            unit: table.unit.unwrap_or(Unit::Size),
            level: table.level.unwrap_or(0.95),
            draws: table.draws.unwrap_or(regression::DRAWS),
            seed: table.seed.unwrap_or_default(),
            grid: table.grid.unwrap_or(regression::GRID),
            at: table.at.iter().map(|text| place(text)).collect::<Result<_>>()?,
            compute: table.compute.clone(),
            targets: table.target_loss.clone(),
            coefficients: table.coefficients.iter().map(|text| value(text)).collect::<Result<_>>()?,
        };
        let file = fit_table(&request, &out)?;
        if self.json {
            return Ok(say(format_args!("{file:#}"))?);
        }
        let dropped = file["table"]["dropped"].as_array().into_iter().flatten();
        let dropped: Vec<String> = dropped
            .map(|row| {
                format!("line {} left out: {}", row["line"], row["reason"].as_str().unwrap_or_default())
            })
            .collect();
        warn(&dropped);
        Ok(say(format_args!("{}{}", summary(&file["laws"][0]), out.join("fits.json").display()))?)
    }

    /// Writes the runs of an import into a table in `out`, and gives its columns.
    fn import(&self, law: Law, out: &Path) -> Result<(PathBuf, Vec<(Role, String)>)> {
        let table = &self.table;
        let file = out.join("runs.csv");
        let request = ImportRequest {
            files: &table.import,
            runs: table.runs.as_deref(),
            metric: table.metric.as_deref(),
            curves: matches!(law, Law::Frontier | Law::Isoflop),
        };
        let (columns, skipped) = import(&request, &file)?;
        warn(&skipped);
        tell(format_args!("the table of these runs: {}", file.display()));
        let columns =
            columns.into_iter().map(|name| Ok((role(name)?, name.to_owned()))).collect::<Result<_>>()?;
        Ok((file, columns))
    }

    /// The irreducible part of a table's law.
    fn given(&self, law: Law) -> Result<Option<f64>> {
        let bad = || Error::config("--irreducible: for a table, give one number, or `fitted`");
        match self.fit.irreducible.as_slice() {
            [] => Ok((law == Law::Error).then_some(0.0)),
            [text] if text == "fitted" => Ok(None),
            [text] => text.parse().map(Some).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }
}

/// `ROLE=COLUMN`.
fn column(text: &str) -> Result<(Role, String)> {
    let (name, column) = pair(text)?;
    Ok((role(&name)?, column))
}

/// `ROLE=NUMBER,…`.
fn place(text: &str) -> Result<Vec<(Role, f64)>> {
    text.split(',')
        .map(|text| {
            let (name, value) = value(text)?;
            Ok((role(&name)?, value))
        })
        .collect()
}

fn role(name: &str) -> Result<Role> {
    let names = || Role::value_variants().iter().filter_map(Role::to_possible_value);
    Role::from_str(name, false).map_err(|_| {
        let names: Vec<String> = names().map(|v| v.get_name().to_owned()).collect();
        Error::config(format!("{name}: expected one of {}", names.join(", ")))
    })
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
    out.push_str(&splits(law));
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

/// The best split of budgets, and the compute for losses, one per line.
pub(super) fn splits(law: &Value) -> String {
    let mut out = String::new();
    for one in law["optimal"]["points"].as_array().into_iter().flatten() {
        let [c, n, d, loss] = ["C", "N", "D", "loss"].map(|key| number(&one[key]));
        out.push_str(&format!("  C {c}: N {n}, D {d}, loss {loss}\n"));
    }
    for one in law["optimal"]["compute_for"].as_array().into_iter().flatten() {
        let c = if one["C"].is_null() { "not reachable".into() } else { format!("C {}", number(&one["C"])) };
        out.push_str(&format!("  loss {}: {c}\n", number(&one["target"])));
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
