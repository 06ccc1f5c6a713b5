//! Training curves of other places as a table for fits: `metrics.jsonl` of var-train, and CSV exports of TensorBoard and
//! Weights & Biases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use var_tokenizer::files::{make_folder, write_atomically};
use var_train::records::{MetricsLine, ModelResult, Scores, Validation};

use crate::error::{Error, Result};
use crate::json_text::without_mark;
use crate::result_line::Metric;

/// Columns of the table, in their order; the names are the roles of `fit`.
const COLUMNS: [&str; 7] = ["run", "size", "n", "d", "c", "loss", "step"];

/// What to import.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportRequest<'a> {
    /// The files.
    pub files: &'a [PathBuf],
    /// A CSV table with what exports do not say: `run`, `n`, `tokens_per_step`, and perhaps `size` and `flops_per_step`.
    pub runs: Option<&'a Path>,
    /// Name of the loss; `None`: `loss_all` of var-train, the only one of an export.
    pub metric: Option<&'a str>,
    /// All validations of a run; else the last one.
    pub curves: bool,
}

/// A row of the table of runs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct RunFacts {
    run: String,
    n: f64,
    tokens_per_step: f64,
    #[serde(default)]
    size: Option<String>,
    #[serde(default)]
    flops_per_step: Option<f64>,
}

/// A row of the imported table.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    run: String,
    size: String,
    n: f64,
    d: f64,
    c: Option<f64>,
    loss: f64,
    step: u64,
}

/// Writes the table of the runs to `out`. Returns the columns that it has, and what was skipped.
///
/// # Errors
/// When a file cannot be read or has no loss, or no run can be used.
pub fn import(request: &ImportRequest<'_>, out: &Path) -> Result<(Vec<&'static str>, Vec<String>)> {
    let import = Import { request, facts: request.runs.map(read_runs).transpose()?.unwrap_or_default() };
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    for path in request.files {
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let text = String::from_utf8_lossy(&text);
        let text = without_mark(&text);
        let own = path.extension().is_some_and(|ending| ending == "jsonl");
        let found = if own { vec![import.metrics(path, text)?] } else { import.export(path, text)? };
        for run in found {
            match run {
                Ok(mut run) if request.curves => rows.append(&mut run),
                Ok(run) => rows.extend(run.into_iter().max_by_key(|row| row.step)),
                Err(why) => skipped.push(why),
            }
        }
    }
    if rows.is_empty() {
        let why = skipped.first().map_or_else(String::new, |why| format!(": {why}"));
        return Err(Error::config(format!("no run of these files can be used{why}")));
    }
    Ok((write(&rows, out)?, skipped))
}

/// Writes the rows. Returns the columns.
fn write(rows: &[Row], out: &Path) -> Result<Vec<&'static str>> {
    // Without compute, a fit takes 6·N·D.
    let compute = rows.iter().all(|row| row.c.is_some());
    let columns: Vec<&'static str> = COLUMNS.into_iter().filter(|name| compute || *name != "c").collect();
    let mut writer = csv::Writer::from_writer(Vec::new());
    let fail = |e: csv::Error| Error::file(out, e.to_string());
    writer.write_record(&columns).map_err(fail)?;
    for row in rows {
        let cell = |name: &&str| match *name {
            "run" => row.run.clone(),
            "size" => row.size.clone(),
            "n" => row.n.to_string(),
            "d" => row.d.to_string(),
            "c" => row.c.map_or_else(String::new, |c| c.to_string()),
            "loss" => row.loss.to_string(),
            _ => row.step.to_string(),
        };
        writer.write_record(columns.iter().map(cell)).map_err(fail)?;
    }
    if let Some(folder) = out.parent() {
        make_folder(folder)?;
    }
    let bytes = writer.into_inner().map_err(|e| Error::file(out, e.to_string()))?;
    write_atomically(out, &bytes)?;
    Ok(columns)
}

/// The table of runs, by name.
fn read_runs(path: &Path) -> Result<BTreeMap<String, RunFacts>> {
    let fail = |e: csv::Error| {
        let columns = "run, n, tokens_per_step, and if known size and flops_per_step";
        Error::file(path, format!("is not a table of runs with the columns {columns}: {e}"))
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path).map_err(fail)?;
    let rows = reader.deserialize::<RunFacts>().map(|row| row.map(|row| (row.run.clone(), row)));
    rows.collect::<std::result::Result<_, _>>().map_err(fail)
}

/// The rows of a run, or why it has none.
type Run = std::result::Result<Vec<Row>, String>;

struct Import<'a> {
    request: &'a ImportRequest<'a>,
    facts: BTreeMap<String, RunFacts>,
}

impl Import<'_> {
    /// The rows of a run of which a file has only steps and losses.
    fn by_facts(&self, run: &str, losses: Vec<(u64, f64)>) -> Run {
        let Some(known) = self.facts.get(run) else {
            return Err(format!(
                "{run}: its parameters and tokens are not known; add it to the table of runs"
            ));
        };
        let row = |(step, loss): (u64, f64)| Row {
            run: run.to_owned(),
            size: known.size.clone().unwrap_or_else(|| known.n.to_string()),
            n: known.n,
            d: known.tokens_per_step * step as f64,
            c: known.flops_per_step.map(|flops| flops * step as f64),
            loss,
            step,
        };
        Ok(losses.into_iter().filter(|(step, loss)| *step > 0 && loss.is_finite()).map(row).collect())
    }

    /// The validations of a `metrics.jsonl`.
    fn metrics(&self, path: &Path, text: &str) -> Result<Run> {
        let name = self.request.metric.unwrap_or(Metric::LossAll.key());
        let metric = Metric::from_key(name).ok_or_else(|| {
            Error::config(format!("{}: no score {name}; it has {}", path.display(), Metric::keys()))
        })?;
        let scored = |line: &str| match serde_json::from_str(line) {
            Ok(MetricsLine::Val(validation)) => match &validation.scores {
                Scores::Model(scores) => Some((metric.of(scores), validation)),
                Scores::Tokenizer(_) => None,
            },
            _ => None,
        };
        let validations: Vec<(f64, Validation)> = text.lines().filter_map(scored).collect();
        if validations.is_empty() {
            return Ok(Err(format!("{}: no validation of a transformer", path.display())));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let named = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let run = match (stem(path), std::path::absolute(folder).ok().and_then(|folder| named(&folder))) {
            (stem, Some(folder)) if stem == "metrics" => folder,
            (stem, _) => stem,
        };
        let result = std::fs::read_to_string(folder.join("result.json")).ok();
        let result = result.and_then(|text| serde_json::from_str::<ModelResult>(without_mark(&text)).ok());
        let Some(result) = result else {
            let losses = validations.iter().map(|(loss, validation)| (validation.step, *loss)).collect();
            return Ok(self.by_facts(&run, losses).map_err(|why| format!("{why} (result.json is missing)")));
        };
        let row = |(loss, validation): (f64, Validation)| Row {
            run: run.clone(),
            size: format!("{}x{}", result.depth, result.width),
            n: result.parameters as f64,
            d: validation.tokens as f64,
            c: Some(result.flops * validation.tokens as f64 / result.tokens.max(1) as f64),
            loss,
            step: validation.step,
        };
        let usable = validations.into_iter().filter(|(loss, v)| v.tokens > 0 && loss.is_finite());
        Ok(Ok(usable.map(row).collect()))
    }

    /// The runs of a CSV export: TensorBoard's has the columns `Wall time`, `Step` and `Value` and is one run; Weights &
    /// Biases' has `Step` and a column `RUN - METRIC` for each run.
    fn export(&self, path: &Path, text: &str) -> Result<Vec<Run>> {
        let fail = |e: csv::Error| Error::file(path, format!("is not a CSV table: {e}"));
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
        let header = reader.headers().map_err(fail)?.clone();
        let place = |name: &str| header.iter().position(|column| column.eq_ignore_ascii_case(name));
        let step = place("Step").ok_or_else(|| {
            let expected = "expected metrics.jsonl, or a CSV export of TensorBoard or Weights & Biases";
            Error::file(path, format!("has no column Step; {expected}"))
        })?;
        let columns = match place("Value") {
            Some(value) => vec![(value, stem(path))],
            None => self.runs_of(path, &header)?,
        };
        let mut losses: Vec<Vec<(u64, f64)>> = vec![Vec::new(); columns.len()];
        for record in reader.records() {
            let record = record.map_err(fail)?;
            let number = |place: usize| record.get(place).and_then(|text| text.parse::<f64>().ok());
            let Some(step) = number(step).filter(|step| *step >= 0.0) else { continue };
            for ((place, _), losses) in columns.iter().zip(&mut losses) {
                losses.extend(number(*place).map(|loss| (step as u64, loss)));
            }
        }
        Ok(columns.iter().zip(losses).map(|((_, run), losses)| self.by_facts(run, losses)).collect())
    }

    /// The columns `RUN - METRIC` of the wanted metric: place and run.
    fn runs_of(&self, path: &Path, header: &csv::StringRecord) -> Result<Vec<(usize, String)>> {
        let parts = |(i, column)| Some((i, str::rsplit_once(column, " - ")?));
        let columns: Vec<(usize, (&str, &str))> = header
            .iter()
            .enumerate()
            .filter_map(parts)
            // The range that a plot shows around each value.
            .filter(|(_, (_, metric))| !metric.ends_with("__MIN") && !metric.ends_with("__MAX"))
            .collect();
        let metrics: BTreeSet<&str> = columns.iter().map(|(_, (_, metric))| *metric).collect();
        let names = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(", ");
        let wanted = match (self.request.metric, metrics.first()) {
            (Some(asked), _) if metrics.contains(asked) => asked,
            (None, Some(only)) if metrics.len() == 1 => only,
            (None, Some(_)) => {
                let several = names(&metrics);
                return Err(Error::file(path, format!("has several metrics ({several}); name one")));
            }
            _ => {
                let columns = header.iter().collect::<Vec<_>>().join(", ");
                return Err(Error::file(
                    path,
                    format!("has no losses of this name; its columns are {columns}"),
                ));
            }
        };
        let runs = columns.into_iter().filter(|(_, (_, metric))| *metric == wanted);
        Ok(runs.map(|(i, (run, _))| (i, run.to_owned())).collect())
    }
}

/// The name of a file without its ending.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
