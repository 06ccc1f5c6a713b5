//! The place of a process among the ranks, and its environment variables.

use crate::error::{Error, Result};

/// The place of a process among the ranks, and where they meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub world: usize,
    /// Number of this process on its machine, from 0.
    pub local_rank: usize,
    /// Host name or address of the store.
    pub address: String,
    /// Port of the store.
    pub port: u16,
    /// Whether another program serves the store (torchrun's agent, the launcher); otherwise rank 0 does.
    pub hosted: bool,
    /// Number of restarts of the ranks at the same store.
    pub attempt: u64,
}

impl Place {
    /// The only rank, which serves its own store at any free port.
    pub fn alone() -> Self {
        let address = "127.0.0.1".to_owned();
        Self { rank: 0, world: 1, local_rank: 0, address, port: 0, hosted: false, attempt: 0 }
    }
}

/// Reads an environment variable, which may be empty.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The whole number of a variable.
pub(super) fn number<T: std::str::FromStr>(lookup: Lookup, name: &str) -> Result<Option<T>> {
    let Some(text) = lookup(name) else { return Ok(None) };
    let parsed = text.trim().parse().map_err(|_| {
        let range = if name == "MASTER_PORT" { "a port from 1 to 65535" } else { "a whole number in range" };
        Error::config(format!("{name} is '{text}' in the environment; expected {range}"))
    })?;
    Ok(Some(parsed))
}

/// `MASTER_PORT`, if it is set.
pub(super) fn port(lookup: Lookup) -> Result<Option<u16>> {
    match number::<u16>(lookup, "MASTER_PORT")? {
        Some(0) => Err(Error::config("MASTER_PORT is 0; choose a port from 1 to 65535")),
        port => Ok(port),
    }
}
