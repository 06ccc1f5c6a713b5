//! The rank of this process, from the environment of torchrun, a script or SLURM.

use super::place::{Lookup, Place, number, port};
use super::slurm;
use crate::error::{Error, Result};

impl Place {
    /// The place that the environment of this process describes; `None` for a process on its own.
    ///
    /// # Errors
    /// As [`Place::read`].
    pub fn from_environment() -> Result<Option<Self>> {
        Self::read(&|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// The place that the variables behind `lookup` describe: `RANK`, `WORLD_SIZE`, `MASTER_ADDR`,
    /// `MASTER_PORT` (and `LOCAL_RANK`, `TORCHELASTIC_RESTART_COUNT`, `TORCHELASTIC_USE_AGENT_STORE`); or,
    /// without `RANK`, those of a SLURM step. A world of one is a process on its own.
    ///
    /// # Errors
    /// When some variables are missing or invalid.
    pub(crate) fn read(lookup: Lookup) -> Result<Option<Self>> {
        let place = if lookup("RANK").is_some() {
            Self::torch(lookup)?
        } else if let Some(place) = slurm::place(lookup)? {
            place
        } else if lookup("WORLD_SIZE").is_some_and(|size| size.trim() != "1") {
            return Err(Error::config(
                "WORLD_SIZE is set in the environment, but RANK is not; set both, or start the ranks with \
                 torchrun or srun",
            ));
        } else {
            return Ok(None);
        };
        if place.world == 0 || place.rank >= place.world {
            return Err(Error::config(format!(
                "rank {} of {}: ranks are numbered from 0, and there must be fewer than the world's size",
                place.rank, place.world
            )));
        }
        Ok(Some(place).filter(|place| place.world > 1))
    }

    fn torch(lookup: Lookup) -> Result<Self> {
        let needed = ["WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"];
        let alone = number::<usize>(lookup, "WORLD_SIZE")? == Some(1);
        let missing: Vec<&str> =
            needed.into_iter().filter(|name| lookup(name).is_none_or(|v| v.trim().is_empty())).collect();
        if !missing.is_empty() && !alone {
            return Err(Error::config(format!(
                "RANK is set in the environment, but {} {} not; set RANK, WORLD_SIZE, MASTER_ADDR and \
                 MASTER_PORT, or none of them",
                missing.join(" and "),
                if missing.len() == 1 { "is" } else { "are" }
            )));
        }
        let rank = number(lookup, "RANK")?.unwrap_or(0);
        Ok(Self {
            rank,
            world: number(lookup, "WORLD_SIZE")?.unwrap_or(0),
            local_rank: number(lookup, "LOCAL_RANK")?.unwrap_or(rank),
            address: lookup("MASTER_ADDR").unwrap_or_default().trim().to_owned(),
            port: if alone { 0 } else { port(lookup)?.unwrap_or(0) },
            hosted: hosted(lookup)?,
            attempt: number(lookup, "TORCHELASTIC_RESTART_COUNT")?.unwrap_or(0),
        })
    }
}

/// Whether another program serves the store. c10d reads the same variable, and fails on other values.
fn hosted(lookup: Lookup) -> Result<bool> {
    match lookup("TORCHELASTIC_USE_AGENT_STORE").as_deref().map(str::to_lowercase).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(Error::config(format!(
            "TORCHELASTIC_USE_AGENT_STORE is '{other}' in the environment; use True or False, or unset it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Place>> {
        Place::read(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned()))
    }

    const TORCHRUN: [(&str, &str); 8] = [
        ("RANK", "3"),
        ("WORLD_SIZE", "4"),
        ("LOCAL_RANK", "1"),
        ("LOCAL_WORLD_SIZE", "2"),
        ("MASTER_ADDR", "node-1"),
        ("MASTER_PORT", "29500"),
        ("TORCHELASTIC_USE_AGENT_STORE", "True"),
        ("TORCHELASTIC_RESTART_COUNT", "2"),
    ];

    #[test]
    fn what_torchrun_sets_is_understood() {
        let place = read(&TORCHRUN).unwrap().unwrap();
        let expected = Place {
            rank: 3,
            world: 4,
            local_rank: 1,
            address: "node-1".into(),
            port: 29500,
            hosted: true,
            attempt: 2,
        };
        assert_eq!(place, expected);
    }

    #[test]
    fn nothing_and_a_world_of_one_mean_a_process_on_its_own() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("RANK", "0"), ("WORLD_SIZE", "1")]).unwrap(), None);
        // Scripts export these for programs that need them.
        assert_eq!(read(&[("MASTER_ADDR", "a"), ("MASTER_PORT", "1")]).unwrap(), None);
        assert_eq!(read(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "1")]).unwrap(), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let refused = |variables: &[(&str, &str)], parts: &[&str]| {
            let message = read(variables).unwrap_err().to_string();
            for part in parts {
                assert!(message.contains(part), "'{part}' is not in: {message}");
            }
        };
        refused(&[("RANK", "0")], &["WORLD_SIZE and MASTER_ADDR and MASTER_PORT are not"]);
        refused(&TORCHRUN[..5], &["MASTER_PORT is not"]);
        refused(&[("WORLD_SIZE", "2")], &["RANK is not"]);
        let with = |change: (&'static str, &'static str)| -> Vec<(&str, &str)> {
            TORCHRUN.iter().map(|pair| if pair.0 == change.0 { change } else { *pair }).collect()
        };
        refused(&with(("RANK", "4")), &["rank 4 of 4"]);
        refused(&with(("RANK", "-1")), &["RANK is '-1'"]);
        refused(&with(("WORLD_SIZE", "four")), &["WORLD_SIZE is 'four'"]);
        refused(&with(("MASTER_PORT", "70000")), &["MASTER_PORT is '70000'"]);
        refused(&with(("MASTER_PORT", "0")), &["MASTER_PORT is 0"]);
        refused(&with(("MASTER_PORT", "ssh")), &["MASTER_PORT is 'ssh'", "a port from 1 to 65535"]);
        refused(&with(("TORCHELASTIC_USE_AGENT_STORE", "")), &["TORCHELASTIC_USE_AGENT_STORE is ''"]);
    }
}
