//! The place of a task in a SLURM step, and host lists in SLURM's compact form.
//!
//! Variables: "OUTPUT ENVIRONMENT VARIABLES" in the manual of srun.

use super::place::{Lookup, Place, number, port};
use crate::error::{Error, Result};

/// Number of ports for the store. The job's number selects one.
const PORTS: u64 = 20_000;
/// The first of these ports.
const FIRST_PORT: u64 = 20_000;

/// The place that `SLURM_PROCID`, `SLURM_NTASKS`, `SLURM_LOCALID`, `SLURM_JOB_ID` and the step's host list
/// describe; `None` outside a step. `MASTER_ADDR` and `MASTER_PORT` override the first host and the port of the job's
/// number.
///
/// # Errors
/// When a variable is missing or invalid.
pub(super) fn place(lookup: Lookup) -> Result<Option<Place>> {
    let Some(rank) = number(lookup, "SLURM_PROCID")? else { return Ok(None) };
    let world = match number(lookup, "SLURM_STEP_NUM_TASKS")? {
        Some(tasks) => Some(tasks),
        None => number(lookup, "SLURM_NTASKS")?,
    };
    let Some(world) = world else { return Ok(None) };
    let mut place = Place {
        rank,
        world,
        local_rank: number(lookup, "SLURM_LOCALID")?.unwrap_or(0),
        address: String::new(),
        port: 0,
        hosted: false,
        attempt: 0,
    };
    if world < 2 {
        return Ok(Some(place));
    }
    place.address = match lookup("MASTER_ADDR").filter(|address| !address.trim().is_empty()) {
        Some(address) => address.trim().to_owned(),
        None => {
            let names = ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"];
            let list = names.iter().find_map(|name| lookup(name)).ok_or_else(|| {
                Error::config(
                    "SLURM_PROCID is set, but neither SLURM_STEP_NODELIST nor MASTER_ADDR says where rank 0 \
                     is; start the ranks with srun, or set MASTER_ADDR",
                )
            })?;
            hosts(&list)?.into_iter().next().unwrap_or_default()
        }
    };
    place.port = match port(lookup)? {
        Some(port) => port,
        None => {
            let job: u64 = number(lookup, "SLURM_JOB_ID")?.ok_or_else(|| {
                Error::config("SLURM_PROCID is set, but SLURM_JOB_ID is not; set MASTER_PORT")
            })?;
            u16::try_from(FIRST_PORT + job % PORTS).unwrap_or(u16::MAX)
        }
    };
    Ok(Some(place))
}

/// Most hosts in a list.
const MOST_HOSTS: usize = 1 << 16;

/// The hosts of a compact list, in order: `gpu[01-03,7],login` is gpu01, gpu02, gpu03, gpu7, login. A name
/// may have several brackets (`rack[1-2]n[1-4]`); leading zeros set the width.
///
/// # Errors
/// When brackets or numbers do not fit together.
pub(crate) fn hosts(list: &str) -> Result<Vec<String>> {
    let wrong = |what: &str| {
        Error::config(format!("the host list '{list}' {what}; expected a form such as node[01-03,7],other"))
    };
    let mut found = Vec::new();
    for name in split_outside(list).ok_or_else(|| wrong("has brackets that do not match"))? {
        let mut expanded = vec![String::new()];
        let mut rest = name.trim();
        if rest.is_empty() {
            return Err(wrong("has an empty name"));
        }
        while let Some((head, tail)) = rest.split_once('[') {
            let (inside, after) =
                tail.split_once(']').ok_or_else(|| wrong("has brackets that do not match"))?;
            let numbers = numbers(inside).ok_or_else(|| wrong("has a range that is none"))?;
            if expanded.len().saturating_mul(numbers.len()) > MOST_HOSTS {
                return Err(wrong("names too many hosts"));
            }
            expanded =
                expanded.iter().flat_map(|e| numbers.iter().map(move |n| format!("{e}{head}{n}"))).collect();
            rest = after;
        }
        found.extend(expanded.into_iter().map(|e| format!("{e}{rest}")));
    }
    Ok(found)
}

/// The parts between commas that are not in brackets.
fn split_outside(list: &str) -> Option<Vec<&str>> {
    let mut inside = false;
    for c in list.chars() {
        match (c, inside) {
            ('[', false) => inside = true,
            (']', true) => inside = false,
            ('[' | ']', _) => return None,
            _ => {}
        }
    }
    let parts = list.split(move |c| {
        inside = (inside || c == '[') && c != ']';
        c == ',' && !inside
    });
    (!inside).then(|| parts.collect())
}

/// `01-03,7` as 01, 02, 03, 7.
fn numbers(inside: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for part in inside.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (first, last): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        if !digits(from) || !digits(to) || last < first || last - first >= MOST_HOSTS {
            return None;
        }
        all.extend((first..=last).map(|n| format!("{n:0width$}", width = from.len())));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_lists_are_expanded_in_order() {
        let cases = [
            ("n1", "n1"),
            ("n1,n2", "n1 n2"),
            ("gpu[01-03,7],login", "gpu01 gpu02 gpu03 gpu7 login"),
            ("a[8-11]", "a8 a9 a10 a11"),
            ("a[098-101]", "a098 a099 a100 a101"),
            ("rack[1-2]n[1-2].site", "rack1n1.site rack1n2.site rack2n1.site rack2n2.site"),
            ("a[1,3],b[2],c", "a1 a3 b2 c"),
        ];
        for (list, expected) in cases {
            assert_eq!(hosts(list).unwrap().join(" "), expected, "{list}");
        }
    }

    #[test]
    fn lists_that_are_none_are_refused() {
        for list in
            ["", "a[1-", "a]1[", "a[[1]]", "a[3-1]", "a[x]", "a[]", "a,,b", "a[1-99999999999]", "a[+1]"]
        {
            let message = hosts(list).unwrap_err().to_string();
            assert!(message.contains("host list") && message.contains("node[01-03,7]"), "{message}");
        }
    }

    #[test]
    fn a_step_gives_rank_world_first_host_and_port() {
        let variables = [
            ("SLURM_PROCID", "5"),
            ("SLURM_NTASKS", "8"),
            ("SLURM_LOCALID", "1"),
            ("SLURM_JOB_ID", "123456"),
            ("SLURM_JOB_NODELIST", "node[07-08],x1"),
        ];
        let find = |name: &str| variables.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned());
        let found = place(&find).unwrap().unwrap();
        assert_eq!((found.rank, found.world, found.local_rank), (5, 8, 1));
        assert_eq!((found.address.as_str(), found.port), ("node07", 23_456));
        // A step on part of the job, and an address of the person's.
        let more = |name: &str| match name {
            "SLURM_STEP_NODELIST" => Some("x1".to_owned()),
            "SLURM_STEP_NUM_TASKS" => Some("6".to_owned()),
            "MASTER_PORT" => Some("4000".to_owned()),
            _ => find(name),
        };
        let found = place(&more).unwrap().unwrap();
        assert_eq!((found.world, found.address.as_str(), found.port), (6, "x1", 4000));
        let bare = |name: &str| find(name).filter(|_| name != "SLURM_JOB_NODELIST");
        assert!(place(&bare).unwrap_err().to_string().contains("MASTER_ADDR"));
    }
}
