//! How the programs read their command lines.

use std::any::TypeId;
use std::collections::BTreeSet;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Parser};

use crate::runtime::panics::silence_expected;
use crate::runtime::progress::{Show, set_of_program};

/// Names of the flags that a person gave, with `_` for `-`; those that have their defaults are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given(BTreeSet<String>);

impl Given {
    /// The flags with these names.
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(str::to_owned).collect())
    }

    /// Whether the person gave the flag `name`.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The flags of the innermost subcommand of `command`.
    fn in_matches(command: &Command, matches: &ArgMatches) -> Self {
        if let Some((name, matches)) = matches.subcommand()
            && let Some(command) = command.find_subcommand(name)
        {
            return Self::in_matches(command, matches);
        }
        // Matches name groups of flags as well.
        let flags = command.get_arguments().map(|flag| flag.get_id().as_str());
        Self::of(flags.filter(|name| {
            matches.ids().any(|id| id.as_str() == *name)
                && matches.value_source(name) == Some(ValueSource::CommandLine)
        }))
    }
}

/// Reads the command line of this process: the first call of every `main`. A wrong one, `--help` and `--version` end the
/// process, as with [`Parser::parse`]. It also silences panics that this crate turns into errors, and lets downloads show
/// their progress unless `--quiet` was given.
pub fn parse<C: Parser>() -> (C, Given) {
    silence_expected();
    let mut command = accepting_negative_numbers(C::command());
    let mut matches = command.clone().get_matches();
    let given = Given::in_matches(&command, &matches);
    // On standard error: also with `--json`.
    set_of_program(Show::from_flags(false, given.has("quiet")));
    match C::from_arg_matches_mut(&mut matches) {
        Ok(parsed) => (parsed, given),
        Err(e) => e.format(&mut command).exit(),
    }
}

/// `command`, where a negative number after a flag is the flag's value, not an unknown flag: the message is then
/// about the number.
fn accepting_negative_numbers(command: Command) -> Command {
    let accept = |arg: Arg| match arg.get_action().takes_values() {
        false => arg,
        // `-1e-3` and `-inf` are no numbers to clap.
        true if arg.get_value_parser().type_id() == TypeId::of::<f64>() => arg.allow_hyphen_values(true),
        true => arg.allow_negative_numbers(true),
    };
    command.mut_args(accept).mut_subcommands(accepting_negative_numbers)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[derive(Parser)]
    struct Example {
        #[command(subcommand)]
        command: Inner,
    }

    #[derive(clap::Subcommand)]
    enum Inner {
        Work {
            #[arg(long, default_value_t = 1.5)]
            cfg: f64,
            #[arg(long, default_value_t = 7)]
            seed: u64,
            #[arg(long)]
            quiet: bool,
        },
    }

    fn read(words: &[&str]) -> Result<ArgMatches, clap::Error> {
        accepting_negative_numbers(Example::command()).try_get_matches_from(words)
    }

    #[test]
    fn a_negative_number_after_a_flag_is_its_value() {
        for (text, value) in [("-1.5", -1.5), ("-1e-3", -1e-3), ("-inf", f64::NEG_INFINITY)] {
            let matches = read(&["x", "work", "--cfg", text]).unwrap();
            assert_eq!(matches.subcommand().unwrap().1.get_one::<f64>("cfg"), Some(&value));
        }
        let message = read(&["x", "work", "--seed", "-1"]).unwrap_err().to_string();
        assert!(message.contains("invalid value '-1' for '--seed <SEED>'"), "{message}");
        // Another flag is still no value, and a switch takes none.
        assert!(read(&["x", "work", "--cfg", "--quiet"]).is_err());
        assert!(read(&["x", "work", "--quiet", "-1"]).is_err());
    }

    #[test]
    fn flags_with_their_defaults_are_not_given() {
        let given =
            Given::in_matches(&Example::command(), &read(&["x", "work", "--seed", "7", "--quiet"]).unwrap());
        assert_eq!(given, Given::of(["seed", "quiet"]));
        assert!(given.has("seed") && !given.has("cfg"));
    }
}
