//! A request for a law of a table.

use std::path::PathBuf;

use clap::ValueEnum;

use super::objective::Objective;
use crate::error::{Error, Result};

/// Draws of a bootstrap, unless a request says otherwise.
pub const DRAWS: u64 = 1000;

/// Exponents per variable on the grid of starts, unless a request says otherwise.
pub const GRID: usize = 9;

/// Most draws, and most exponents per variable.
const MOST: (u64, usize) = (1_000_000, 1000);

/// A law, or what whole training curves show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Law {
    /// E + A·X^−alpha
    Power,
    /// As power, for error rates: without E unless it is asked for
    Error,
    /// E + A·N^−alpha + B·D^−beta
    Joint,
    /// As joint, for data that are seen several times
    Repetition,
    /// L(C) of training curves, their envelope, over-fitted runs
    Frontier,
    /// The best N of each budget
    Isoflop,
    /// The best split of compute, from coefficients
    Optimal,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Parameters.
    N,
    /// Tokens seen.
    D,
    /// FLOPs of training.
    C,
    /// The loss, or an error rate.
    Loss,
    /// Tokens that differ.
    Unique,
    /// Name of the run.
    Run,
    /// Name of the size.
    Size,
    /// Seed of the run.
    Seed,
    /// Training step.
    Step,
}

/// The variable of a power law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Variable {
    /// Parameters
    N,
    /// Tokens seen
    D,
    /// FLOPs of training
    C,
}

/// How intervals are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Interval {
    /// Profile likelihood
    Profile,
    /// The curvature at the minimum
    Hessian,
    /// Laws of the rows drawn with replacement; percentiles
    Bootstrap,
    /// No intervals
    None,
}

/// What an interval counts as independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Unit {
    /// One mean of all rows with equal variables
    Size,
    /// Every row
    Row,
}

/// The word of a value, as on the command line and in fits.json.
pub(super) fn word(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
}

impl Role {
    /// Whether its column holds positive numbers.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::N | Self::D | Self::C | Self::Loss | Self::Unique)
    }
}

impl Variable {
    /// The role of its column.
    pub(super) fn role(self) -> Role {
        match self {
            Self::N => Role::N,
            Self::D => Role::D,
            Self::C => Role::C,
        }
    }
}

/// What is fitted to a table.
#[derive(Debug, Clone)]
pub struct FitRequest {
    /// The table: CSV, with a header. Only [`Law::Optimal`] needs none.
    pub table: Option<PathBuf>,
    /// Roles, and the columns that have them.
    pub columns: Vec<(Role, String)>,
    /// The law.
    pub law: Law,
    /// The variable of a power law.
    pub variable: Variable,
    /// The irreducible part; `None` fits it.
    pub given: Option<f64>,
    /// `None` takes that of the law: squares, or log-log with a given part; Huber with 1e-3 for joint and repetition.
    pub objective: Option<Objective>,
    /// How intervals are computed.
    pub interval: Interval,
    /// What they count as independent.
    pub unit: Unit,
    /// Level of the intervals.
    pub level: f64,
    /// Draws of a bootstrap.
    pub draws: u64,
    /// Seed of a bootstrap.
    pub seed: u64,
    /// Exponents per variable on the grid of starts.
    pub grid: usize,
    /// Where the law is evaluated.
    pub at: Vec<Vec<(Role, f64)>>,
    /// Budgets of compute, for the best split.
    pub compute: Vec<f64>,
    /// Losses whose compute is asked for.
    pub targets: Vec<f64>,
    /// Coefficients of [`Law::Optimal`].
    pub coefficients: Vec<(String, f64)>,
}

impl Default for FitRequest {
    /// A power law of parameters, with profiles of 95%.
    fn default() -> Self {
        Self {
            table: None,
            columns: Vec::new(),
            law: Law::Power,
            variable: Variable::N,
            given: None,
            objective: None,
            interval: Interval::Profile,
            unit: Unit::Size,
            level: 0.95,
            draws: DRAWS,
            seed: 0,
            grid: GRID,
            at: Vec::new(),
            compute: Vec::new(),
            targets: Vec::new(),
            coefficients: Vec::new(),
        }
    }
}

impl FitRequest {
    /// Refuses numbers out of range, and settings without effect.
    pub(crate) fn check(&self) -> Result<()> {
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(Error::config(format!("level {}: expected a number between 0 and 1", self.level)));
        }
        if !(1..=MOST.0).contains(&self.draws) || !(2..=MOST.1).contains(&self.grid) {
            return Err(Error::config(format!(
                "{} draws, {} exponents per variable: expected 1 to {} and 2 to {}",
                self.draws, self.grid, MOST.0, MOST.1
            )));
        }
        if self.given.is_some_and(|e| !e.is_finite() || e < 0.0) {
            return Err(Error::config("the irreducible part must be 0 or more, or `fitted`"));
        }
        let numbers = self.at.iter().flatten().map(|(_, v)| v).chain(&self.compute).chain(&self.targets);
        if let Some(bad) = numbers.into_iter().find(|v| !v.is_finite() || **v <= 0.0) {
            return Err(Error::config(format!("{bad}: expected a number above 0")));
        }
        let law = word(&self.law);
        let needed = self.evaluated_at();
        let whole = |at: &Vec<(Role, f64)>| needed.iter().all(|role| at.iter().any(|(r, _)| r == role));
        if !self.at.is_empty() && (needed.is_empty() || !self.at.iter().all(whole)) {
            let roles: Vec<String> = needed.iter().map(|role| format!("{}=NUMBER", word(role))).collect();
            return Err(Error::config(match roles.as_slice() {
                [] => format!("the law {law} is not evaluated at points; leave --at out"),
                _ => format!("the law {law} is evaluated at {}; name all of them in --at", roles.join(",")),
            }));
        }
        let asks_to_split = !self.compute.is_empty() || !self.targets.is_empty();
        if asks_to_split && !matches!(self.law, Law::Joint | Law::Optimal) {
            return Err(Error::config(format!(
                "the law {law} does not split compute; take joint or optimal, or leave --compute and --target-loss out"
            )));
        }
        if self.law != Law::Optimal && !self.coefficients.is_empty() {
            return Err(Error::config("--coefficients are for the law optimal; leave them out, or take it"));
        }
        let line = matches!(self.law, Law::Power | Law::Error) && self.given.is_some();
        if self.objective == Some(Objective::LogLog) && !line {
            return Err(Error::config(
                "objective loglog: needs the law power or error, and --irreducible NUMBER",
            ));
        }
        Ok(())
    }

    /// What the law is evaluated at.
    fn evaluated_at(&self) -> Vec<Role> {
        match self.law {
            Law::Power | Law::Error => vec![self.variable.role()],
            Law::Joint | Law::Repetition => vec![Role::N, Role::D],
            Law::Frontier | Law::Isoflop | Law::Optimal => Vec::new(),
        }
    }
}
