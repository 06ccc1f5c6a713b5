//! Networks by name, and where their weights come from.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tch::Device;

use super::colour::{self, ColourGrid};
use super::efficientnet::{self, EfficientNetLite0};
use super::inception::{self, Inception};
use super::network::FeatureNetwork;
use super::preprocess::{InceptionInput, unknown};
use super::torchscript::{self, ModuleSettings, TorchScript};
use crate::error::{Error, Result};
use crate::published::INCEPTION;

/// Folder of fetched weights in a clone; `cargo xtask setup --features` creates it.
const FOLDER: &str = ".features";
/// The default network's file in it.
const DEFAULT_FILE: &str = "efficientnet_lite0.pth";
/// Names another folder of that kind.
pub const VARIABLE: &str = "VAR_FEATURES";

/// The available networks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum NetworkName {
    /// [`EfficientNetLite0`], whose weights `cargo xtask setup --features` fetches.
    #[default]
    EfficientNetLite0,
    /// [`Inception`], whose weights are fetched from where pytorch-fid publishes them, unless the user gives them.
    InceptionFid,
    /// [`TorchScript`]; the user gives the module.
    TorchScript,
    /// [`ColourGrid`], for trials and tests: needs no weights, but its distances say nothing about the content.
    ColourGrid,
}

/// All networks; the last is for trials and not listed in messages.
const ALL: [NetworkName; 4] = [
    NetworkName::EfficientNetLite0,
    NetworkName::InceptionFid,
    NetworkName::TorchScript,
    NetworkName::ColourGrid,
];

impl NetworkName {
    /// The name on the command line and in [`super::network::Identity`].
    pub fn name(self) -> &'static str {
        match self {
            Self::EfficientNetLite0 => efficientnet::NAME,
            Self::InceptionFid => inception::NAME,
            Self::TorchScript => torchscript::NAME,
            Self::ColourGrid => colour::NAME,
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for NetworkName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let [first, second, third, _] = ALL.map(Self::name);
        let found = ALL.into_iter().find(|name| name.name() == text);
        found.ok_or_else(|| unknown("network", text, &[first, second, third]))
    }
}

/// A network to load, with its settings.
#[derive(Debug, Clone, Default)]
pub struct NetworkChoice {
    /// Which network.
    pub name: NetworkName,
    /// File of the weights, or of the module; the default network and Inception find their own.
    pub weights: Option<PathBuf>,
    /// Preprocessing of `inception-fid`; other networks have only one.
    pub preprocessing: Option<InceptionInput>,
    /// Preprocessing and output of a TorchScript module.
    pub module: ModuleSettings,
    /// Number of threads of libtorch in this process; `None` leaves it unchanged.
    pub threads: Option<usize>,
}

impl NetworkChoice {
    /// The network called `name`, with default settings.
    ///
    /// # Errors
    /// When the name is unknown; lists the known ones.
    pub fn named(name: &str) -> Result<Self> {
        Ok(Self { name: name.parse()?, ..Self::default() })
    }

    /// Checks that the weights are there, if they are a file of this machine.
    ///
    /// # Errors
    /// When they are missing.
    #[doc(hidden)]
    pub fn check_weights(&self) -> Result<()> {
        match &self.weights {
            Some(file) if !file.exists() => Err(Error::file(file, "no such file or folder")),
            None if self.name == NetworkName::EfficientNetLite0 => default_weights().map(drop),
            _ => Ok(()),
        }
    }

    /// Loads the network onto `device`.
    ///
    /// # Errors
    /// When the weights are missing, cannot be read or do not fit; when a setting is out of range or for another network.
    pub fn open(&self, device: Device) -> Result<Box<dyn FeatureNetwork>> {
        if let Some(way) = self.preprocessing.filter(|_| self.name != NetworkName::InceptionFid) {
            let message = format!("preprocessing {way} is for {}, not for {}", inception::NAME, self.name);
            return Err(Error::config(message));
        }
        if let Some(threads) = self.threads {
            let threads = i32::try_from(threads).ok().filter(|n| (1..=4096).contains(n));
            tch::set_num_threads(threads.ok_or_else(|| Error::config("threads: expected 1 to 4096"))?);
        }
        Ok(match self.name {
            NetworkName::EfficientNetLite0 => {
                let weights = self.weights.clone().map_or_else(default_weights, Ok)?;
                Box::new(EfficientNetLite0::load(&weights, device)?)
            }
            NetworkName::InceptionFid => {
                let weights = self.weights.clone().map_or_else(|| INCEPTION.fetch(), Ok)?;
                Box::new(Inception::load(&weights, self.preprocessing.unwrap_or_default(), device)?)
            }
            NetworkName::TorchScript => {
                let module = self.weights.as_ref().ok_or_else(|| {
                    let needed = "the file of the module, saved with torch.jit.save";
                    Error::config(format!("network {} needs {needed}", self.name))
                })?;
                Box::new(TorchScript::load(module, self.module.clone(), device)?)
            }
            NetworkName::ColourGrid => Box::new(ColourGrid::default()),
        })
    }
}

/// The weights of the default network: in the folder that `VAR_FEATURES` names, else in a folder `.features` above the
/// program (`target/` is inside the clone) or above the current folder.
///
/// # Errors
/// When they are missing; says how to get them.
pub fn default_weights() -> Result<PathBuf> {
    fetched(DEFAULT_FILE, efficientnet::NAME)
}

/// The file `name` that `cargo xtask setup --features` fetches: the weights of the network `what`.
///
/// # Errors
/// When it is missing; says how to get it.
#[doc(hidden)]
pub fn fetched(name: &str, what: &str) -> Result<PathBuf> {
    let starts = [std::env::current_exe(), std::env::current_dir()].into_iter().flatten().collect::<Vec<_>>();
    find_fetched((name, what), std::env::var_os(VARIABLE), &starts)
}

fn find_fetched((name, what): (&str, &str), named: Option<OsString>, starts: &[PathBuf]) -> Result<PathBuf> {
    if let Some(folder) = named.filter(|folder| !folder.is_empty()) {
        let path = Path::new(&folder).join(name);
        if path.is_file() {
            return Ok(path);
        }
        let message = format!("{VARIABLE} names this folder, but it does not hold {name}");
        return Err(Error::file(folder, message));
    }
    let above = starts.iter().flat_map(|start| start.ancestors());
    let found = above.map(|folder| folder.join(FOLDER).join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::config(format!(
            "the weights of {what} are missing: fetch them with `cargo xtask setup --features`, or name the file"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_weights_are_found_above_the_program_and_where_the_variable_says() {
        let clone = tempfile::tempdir().unwrap();
        let program = clone.path().join("target/release/var-eval");
        let starts = [program];
        let message =
            find_fetched((DEFAULT_FILE, efficientnet::NAME), None, &starts).unwrap_err().to_string();
        assert!(message.contains("cargo xtask setup --features"), "{message}");
        std::fs::create_dir(clone.path().join(FOLDER)).unwrap();
        let file = clone.path().join(FOLDER).join(DEFAULT_FILE);
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_fetched((DEFAULT_FILE, efficientnet::NAME), None, &starts).unwrap(), file);
        assert_eq!(find_fetched((DEFAULT_FILE, efficientnet::NAME), Some("".into()), &starts).unwrap(), file);
        assert_eq!(
            find_fetched((DEFAULT_FILE, efficientnet::NAME), Some(clone.path().join(FOLDER).into()), &[])
                .unwrap(),
            file
        );
        // A folder that is named and holds nothing is an error, and not another network's file.
        let message = find_fetched((DEFAULT_FILE, efficientnet::NAME), Some(clone.path().into()), &starts)
            .unwrap_err()
            .to_string();
        assert!(message.contains(VARIABLE) && message.contains(DEFAULT_FILE), "{message}");
    }
}
