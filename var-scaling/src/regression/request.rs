//! A request for a law of a table.

use std::path::PathBuf;

use super::table::ROLES;
use crate::error::{Error, Result};

/// All laws.
pub(super) const LAWS: [&str; 7] =
    ["power", "error", "joint", "repetition", "frontier", "isoflop", "optimal"];

/// What is fitted to a table.
#[derive(Debug, Clone)]
pub struct FitRequest {
    /// The table: CSV, with a header.
    pub table: PathBuf,
    /// Roles and the columns that have them. Roles: n (parameters), d (tokens seen), c (FLOPs), loss, run, size, seed, step,
    /// unique (tokens that differ).
    pub columns: Vec<(String, String)>,
    /// `power`, `error`, `joint`, `repetition`, `frontier`, `isoflop` or `optimal`.
    pub law: String,
    /// The variable of `power` and `error`: n, d or c.
    pub variable: String,
    /// The irreducible part; `None` fits it.
    pub given: Option<f64>,
    /// `squares`, `log-squares`, `loglog` or `huber=DELTA`; `None` takes that of the law.
    pub objective: Option<String>,
    /// `profile`, `hessian` or `none`.
    pub interval: String,
    /// What an interval counts as independent: `size` (one mean of all rows with equal variables) or `row`.
    pub unit: String,
    /// Level of the intervals.
    pub level: f64,
    /// Where the law is evaluated: values by role.
    pub at: Vec<Vec<(String, f64)>>,
    /// Budgets of compute, for the best split.
    pub compute: Vec<f64>,
    /// Losses whose compute is asked for.
    pub targets: Vec<f64>,
    /// Coefficients of the law `optimal`.
    pub coefficients: Vec<(String, f64)>,
}

impl FitRequest {
    /// Refuses unknown names and numbers out of range.
    pub(super) fn check(&self) -> Result<()> {
        let one_of = |what: &str, value: &str, all: &[&str]| {
            if all.contains(&value) {
                return Ok(());
            }
            Err(Error::config(format!("{what} {value}: expected one of {}", all.join(", "))))
        };
        one_of("law", &self.law, &LAWS)?;
        one_of("variable", &self.variable, &["n", "d", "c"])?;
        one_of("interval", &self.interval, &["profile", "hessian", "none"])?;
        one_of("unit", &self.unit, &["size", "row"])?;
        for (role, _) in &self.columns {
            one_of("column of", role, &ROLES)?;
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return Err(Error::config(format!("level {}: expected a number between 0 and 1", self.level)));
        }
        if self.given.is_some_and(|e| !e.is_finite() || e < 0.0) {
            return Err(Error::config("the irreducible part must be 0 or more, or `fitted`"));
        }
        let numbers = self.at.iter().flatten().map(|(_, v)| v).chain(&self.compute).chain(&self.targets);
        match numbers.into_iter().find(|v| !v.is_finite() || **v <= 0.0) {
            Some(bad) => Err(Error::config(format!("{bad}: expected a number above 0"))),
            None => Ok(()),
        }
    }
}
