//! The trainings of a sweep and their samples. Several may run at a time, each in a slot of the machine.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::call::Call;
use super::child::{Ending, POLL};
use super::launch::Running;
use super::outcome::result_line;
use super::samples::sample_arguments;
use super::slots::environment;
use super::stages::{Launcher, TOKENS};
use super::training::model_arguments;
use crate::error::Result;
use crate::fit::{Forecast, ForecastsFile};
use crate::json_text::without_mark;
use crate::request::PlannedRun;
use crate::results::Results;
use crate::results_file;

/// Time before a training starts again, for the first time; then twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Maximum of this time.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Exit status of a training that lost a rank.
const LOST_RANK: i32 = 4;

/// A training that waits for a slot.
#[derive(Debug, Clone, Copy)]
struct Waiting<'a> {
    run: &'a PlannedRun,
    /// Number of times that it started again in this call.
    again: usize,
    not_before: Option<Instant>,
}

/// A program that runs in a slot.
#[derive(Debug)]
struct Job<'a> {
    slot: usize,
    run: &'a PlannedRun,
    again: usize,
    call: Call,
    running: Running,
}

/// The piece of the samples of a run.
fn samples_of(run: &PlannedRun) -> String {
    format!("samples of {}", run.name)
}

/// Whether a training that ended so may succeed if it starts again.
fn worth_another(ending: &Ending) -> bool {
    match ending {
        Ending::Interrupted => true,
        Ending::Failed { code, .. } => code.is_none() || *code == Some(LOST_RANK),
        Ending::Done(_) => false,
    }
}

impl<'a> Launcher<'a> {
    /// Trains and samples all unfinished runs: those that are held out last, after a forecast.
    pub(super) fn runs(&mut self) -> Result<()> {
        let (held_out, fitted): (Vec<&PlannedRun>, Vec<&PlannedRun>) =
            self.plan.runs.iter().partition(|run| run.held_out);
        self.in_slots(fitted)?;
        if !held_out.is_empty() && self.forecast(&held_out)? {
            self.in_slots(held_out)?;
        }
        Ok(())
    }

    /// Writes a forecast of the held-out runs, unless there is one. Returns whether they may train.
    fn forecast(&mut self, held_out: &[&PlannedRun]) -> Result<bool> {
        let mut file = ForecastsFile::read(&self.root)?.unwrap_or_default();
        let (late, new): (Vec<&PlannedRun>, Vec<&PlannedRun>) = held_out
            .iter()
            .filter(|run| !file.has(&run.name, run.parameters, run.tokens))
            .partition(|run| self.is_done(run));
        for run in late {
            self.warn(format!("{}: no forecast, because it was trained before it was held out", run.name));
        }
        if new.is_empty() {
            return Ok(true);
        }
        let names =
            |runs: &[&PlannedRun]| runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(", ");
        let unfinished: Vec<&PlannedRun> =
            self.plan.runs.iter().filter(|run| !run.held_out && !self.is_done(run)).collect();
        if !unfinished.is_empty() {
            self.warn(format!(
                "{} waits: a forecast needs all other sizes first, and these did not finish: {}",
                names(&new),
                names(&unfinished)
            ));
            return Ok(false);
        }
        let new = new.into_iter().map(|run| (run.name.clone(), run.parameters, run.tokens));
        let new = ForecastsFile::new(&Results::open(&self.root)?, self.fit, new)?;
        for size in &new.sizes {
            let losses: Vec<String> = size.forecasts.iter().map(Forecast::words).collect();
            let losses =
                if losses.is_empty() { "none, no law has its length".into() } else { losses.join("; ") };
            let text = format!("{}: forecast before its training: {losses}", size.name);
            self.progress.note(&text);
        }
        file.add(new);
        file.write(&self.root)?;
        Ok(true)
    }

    /// Trains and samples the unfinished of these runs. A failure does not stop the others.
    fn in_slots(&mut self, mut order: Vec<&'a PlannedRun>) -> Result<()> {
        if self.jobs > 1 && !self.starter.queues() {
            // The longest first: otherwise it may run alone at the end.
            order.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        }
        let mut waiting: VecDeque<Waiting<'a>> =
            order.into_iter().map(|run| Waiting { run, again: 0, not_before: None }).collect();
        let mut free: Vec<usize> = (0..self.jobs).rev().collect();
        let mut jobs: Vec<Job<'a>> = Vec::new();
        loop {
            while self.stop.count() == 0
                && let Some(slot) = free.pop()
            {
                let ready = |w: &Waiting<'_>| w.not_before.is_none_or(|time| time <= Instant::now());
                let Some(next) = waiting.iter().position(ready).and_then(|i| waiting.remove(i)) else {
                    free.push(slot);
                    break;
                };
                match self.begin(next, slot)? {
                    Some(job) => jobs.push(job),
                    None => free.push(slot),
                }
            }
            if jobs.is_empty() && (waiting.is_empty() || self.stop.count() > 0) {
                return self.stop.check();
            }
            std::thread::sleep(POLL);
            for mut job in std::mem::take(&mut jobs) {
                let Some(ending) = self.look(&job.call, &mut job.running)? else {
                    jobs.push(job);
                    continue;
                };
                match self.after(&job, ending, &mut waiting)? {
                    Some(next) => jobs.push(next),
                    None => free.push(job.slot),
                }
            }
        }
    }

    /// Starts what is next for a run, in a slot: nothing if it is complete.
    fn begin(&mut self, waiting: Waiting<'a>, slot: usize) -> Result<Option<Job<'a>>> {
        let run = waiting.run;
        if self.is_done(run) {
            self.progress.skip(&run.name);
            return self.sample(run, slot);
        }
        let folder = self.folder_of(run);
        self.wait_for_lock(&folder)?;
        let call = self.training_call(run);
        // An earlier call trained the size, but stopped before it wrote the result.
        if let Some(result) = read_json(&folder.join("result.json")) {
            self.progress.skip(&run.name);
            self.progress.note(&format!("{}: read its result from {}", run.name, folder.display()));
            self.keep(run, &result, &call.log)?;
            return self.sample(run, slot);
        }
        self.folder.begin_run(&run.name, &run.settings())?;
        self.note_saved(&call)?;
        self.job(run, slot, waiting.again, call).map(Some)
    }

    /// The training of a run.
    pub(super) fn training_call(&self, run: &PlannedRun) -> Call {
        let folder = self.folder_of(run);
        let (tokens, tokenizer) = (self.root.join(TOKENS), self.tokenizer_file());
        Call {
            name: run.name.clone(),
            program: self.programs.train.clone(),
            arguments: model_arguments(run, &tokens, &tokenizer, &folder, &self.place),
            run: Some(folder),
            log: self.root.join("runs").join(format!("{}.log", run.name)),
        }
    }

    /// The sample grid of a run.
    pub(super) fn sample_call(&self, run: &PlannedRun) -> Call {
        let (folder, out) = (self.folder_of(run), self.grid_of(run));
        Call {
            name: samples_of(run),
            program: self.programs.model.clone(),
            arguments: sample_arguments(self.plan, run, &folder, &out, &self.place),
            run: None,
            log: self.root.join("logs").join(format!("samples-{}.log", run.name)),
        }
    }

    /// Starts the sample grid of a finished run, unless there is one.
    fn sample(&mut self, run: &'a PlannedRun, slot: usize) -> Result<Option<Job<'a>>> {
        if self.grid_of(run).is_file() || !self.is_done(run) {
            self.progress.skip(&samples_of(run));
            return Ok(None);
        }
        let call = self.sample_call(run);
        self.job(run, slot, 0, call).map(Some)
    }

    fn job(&mut self, run: &'a PlannedRun, slot: usize, again: usize, call: Call) -> Result<Job<'a>> {
        self.stop.check()?;
        let running = self.starter.start(&call, &environment(slot, self.jobs), &self.stop)?;
        self.progress.begin(&call.name);
        Ok(Job { slot, run, again, call, running })
    }

    /// Keeps what a job has made, and starts what follows it in its slot.
    fn after(
        &mut self,
        job: &Job<'a>,
        ending: Ending,
        waiting: &mut VecDeque<Waiting<'a>>,
    ) -> Result<Option<Job<'a>>> {
        let (run, call) = (job.run, &job.call);
        let done = matches!(ending, Ending::Done(_));
        let seconds = self.progress.end(&call.name, done);
        if self.stop.count() > 0 && !done {
            self.tell_what_goes_on(&job.running);
            return Ok(None);
        }
        if call.run.is_none() {
            if let Some(stage) = self.image(call, ending, seconds, &self.grid_of(run)) {
                let name = call.name.clone();
                self.folder.finish_stage(|stages| {
                    stages.samples.insert(name, stage);
                })?;
            }
            return Ok(None);
        }
        let kept = || read_json(&self.folder_of(run).join("result.json"));
        let ending = match ending {
            // A training that SLURM stopped before its time was up ends well, but has no result.
            Ending::Done(event) if self.starter.queues() && event.is_none() && kept().is_none() => {
                Ending::Interrupted
            }
            other => other,
        };
        if worth_another(&ending) && job.again < self.retries {
            let wait = (FIRST_WAIT * 2_u32.saturating_pow(u32::try_from(job.again).unwrap_or(u32::MAX)))
                .min(LONGEST_WAIT);
            self.progress.note(&format!("{}: {}; starts again", run.name, how(&ending)));
            self.progress.again(&run.name);
            let not_before = Some(Instant::now() + wait);
            waiting.push_back(Waiting { run, again: job.again + 1, not_before });
            return Ok(None);
        }
        match ending {
            Ending::Done(event) => {
                let result = event.or_else(kept).unwrap_or(Value::Null);
                self.keep(run, &result, &call.log)?;
            }
            Ending::Failed { message, code } => {
                // The trainer will refuse to resume again.
                let refused = code == Some(2) && call.resumes();
                let again = if refused { "; to train it from the beginning, start it over" } else { "" };
                self.fail(run, &format!("{message}{again}"), &call.log);
            }
            interrupted => self.fail(run, &how(&interrupted), &call.log),
        }
        if self.stop.count() > 0 { Ok(None) } else { self.sample(run, job.slot) }
    }

    fn folder_of(&self, run: &PlannedRun) -> PathBuf {
        self.root.join("runs").join(&run.name)
    }

    fn grid_of(&self, run: &PlannedRun) -> PathBuf {
        self.root.join("samples").join(format!("{}.png", run.name))
    }

    /// Appends the result of a size to the results.
    fn keep(&mut self, run: &PlannedRun, result: &Value, log: &Path) -> Result<()> {
        let line = match result_line(self.plan, run, result) {
            Ok(line) => line,
            Err(why) => {
                self.fail(run, &why, log);
                return Ok(());
            }
        };
        results_file::append(&self.root.join("results.jsonl"), &line)?;
        self.progress.note(&format!(
            "{}: {} parameters, validation loss {:.4} (last scale {:.4}) in {}",
            run.name,
            crate::quantity::count(line.params as f64),
            line.val_loss_all,
            line.val_loss_last,
            crate::quantity::duration(line.seconds)
        ));
        self.done.push(line);
        Ok(())
    }

    fn fail(&mut self, run: &PlannedRun, why: &str, log: &Path) {
        self.progress.note(&format!(
            "{} failed: {why} (see {}); continuing with the other sizes",
            run.name,
            log.display()
        ));
        self.failed.push((run.name.clone(), why.to_owned()));
    }
}

/// How a training ended that has no result.
fn how(ending: &Ending) -> String {
    match ending {
        Ending::Failed { message, .. } => message.clone(),
        _ => "another process stopped it after it saved a checkpoint".into(),
    }
}

fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_str(without_mark(&std::fs::read_to_string(path).ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_go_better_starts_again() {
        let failed = |code| Ending::Failed { message: String::new(), code };
        assert!(worth_another(&Ending::Interrupted));
        assert!(worth_another(&failed(None)) && worth_another(&failed(Some(4))));
        assert!(!worth_another(&failed(Some(1))) && !worth_another(&failed(Some(2))));
        assert!(!worth_another(&Ending::Done(None)));
    }
}
