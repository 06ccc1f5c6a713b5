//! Networks by name: what a person chooses, and where the weights come from.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tch::Device;

use super::efficientnet::{self, EfficientNetLite0};
use super::inception::{self, Inception};
use super::network::FeatureNetwork;
use super::preprocess::{InceptionInput, unknown};
use super::torchscript::{self, ModuleSettings, TorchScript};
use crate::error::{Error, Result};

/// Folder of fetched weights in a clone; `cargo xtask setup --features` makes it.
const FOLDER: &str = ".features";
/// The default network's file in it.
const DEFAULT_FILE: &str = "efficientnet_lite0.pth";
/// Names another folder of that kind.
pub const VARIABLE: &str = "VAR_FEATURES";

/// The networks that there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum NetworkName {
    /// [`EfficientNetLite0`], whose weights `cargo xtask setup --features` fetches.
    #[default]
    EfficientNetLite0,
    /// [`Inception`]; the person gives the weights.
    InceptionFid,
    /// [`TorchScript`]; the person gives the module.
    TorchScript,
}

/// All of them.
const ALL: [NetworkName; 3] =
    [NetworkName::EfficientNetLite0, NetworkName::InceptionFid, NetworkName::TorchScript];

impl NetworkName {
    /// The name on the command line and in [`super::network::Identity`].
    pub fn name(self) -> &'static str {
        match self {
            Self::EfficientNetLite0 => efficientnet::NAME,
            Self::InceptionFid => inception::NAME,
            Self::TorchScript => torchscript::NAME,
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
        let names = ALL.map(Self::name);
        ALL.into_iter().find(|name| name.name() == text).ok_or_else(|| unknown("network", text, &names))
    }
}

/// What a person chooses.
#[derive(Debug, Clone, Default)]
pub struct NetworkChoice {
    /// Which network.
    pub name: NetworkName,
    /// File of the weights, or of the module; the default network finds its own.
    pub weights: Option<PathBuf>,
    /// How `inception-fid` prepares pictures; other networks have one way.
    pub preprocessing: Option<InceptionInput>,
    /// How a TorchScript module wants its pictures.
    pub module: ModuleSettings,
    /// Threads that libtorch computes with; its default (one a core) when absent.
    pub threads: Option<usize>,
}

impl NetworkChoice {
    /// The network called `name`, everything else by default.
    ///
    /// # Errors
    /// When there is none; lists the known ones.
    pub fn named(name: &str) -> Result<Self> {
        Ok(Self { name: name.parse()?, ..Self::default() })
    }

    /// Loads the network onto `device`. Call [`var_tokenizer::torch::start`] first.
    ///
    /// # Errors
    /// When weights are not given or not found, cannot be read or do not fit; when a setting is out of range or
    /// for another network.
    pub fn open(&self, device: Device) -> Result<Box<dyn FeatureNetwork>> {
        if let Some(way) = self.preprocessing.filter(|_| self.name != NetworkName::InceptionFid) {
            let message = format!("preprocessing {way} is for {}, not for {}", inception::NAME, self.name);
            return Err(var_tokenizer::Error::Config(message).into());
        }
        if let Some(threads) = self.threads {
            let threads = i32::try_from(threads).ok().filter(|n| (1..=4096).contains(n));
            tch::set_num_threads(
                threads
                    .ok_or_else(|| Error::from(var_tokenizer::Error::Config("threads: 1 to 4096".into())))?,
            );
        }
        let weights = self.weights()?;
        Ok(match self.name {
            NetworkName::EfficientNetLite0 => Box::new(EfficientNetLite0::load(&weights, device)?),
            NetworkName::InceptionFid => {
                Box::new(Inception::load(&weights, self.preprocessing.unwrap_or_default(), device)?)
            }
            NetworkName::TorchScript => Box::new(TorchScript::load(&weights, self.module.clone(), device)?),
        })
    }

    /// The file of the weights.
    fn weights(&self) -> Result<PathBuf> {
        let need = |what: &str| -> Error {
            var_tokenizer::Error::Config(format!("network {} needs {what}", self.name)).into()
        };
        match (&self.weights, self.name) {
            (Some(path), _) => Ok(path.clone()),
            (None, NetworkName::EfficientNetLite0) => default_weights(),
            (None, NetworkName::InceptionFid) => Err(need(
                "the file of its weights: pt_inception-2015-12-05-6726825d.pth, as pytorch-fid publishes it, or the \
                 same tensors as .safetensors",
            )),
            (None, NetworkName::TorchScript) => {
                Err(need("the file of the module, saved with torch.jit.save"))
            }
        }
    }
}

/// The default network's weights: in the folder that `VAR_FEATURES` names, else in a `.features` folder above the
/// program (a clone's `target/` lies in the clone) or above the current folder.
///
/// # Errors
/// When there are none; says how to get them.
pub fn default_weights() -> Result<PathBuf> {
    let starts = [std::env::current_exe(), std::env::current_dir()].into_iter().flatten().collect::<Vec<_>>();
    find_default(std::env::var_os(VARIABLE), &starts)
}

fn find_default(named: Option<OsString>, starts: &[PathBuf]) -> Result<PathBuf> {
    if let Some(folder) = named.filter(|folder| !folder.is_empty()) {
        let path = Path::new(&folder).join(DEFAULT_FILE);
        if path.is_file() {
            return Ok(path);
        }
        let message = format!("{VARIABLE} names this folder, but it does not hold {DEFAULT_FILE}");
        return Err(Error::file(folder, message));
    }
    let above = starts.iter().flat_map(|start| start.ancestors());
    let found = above.map(|folder| folder.join(FOLDER).join(DEFAULT_FILE)).find(|path| path.is_file());
    found.ok_or_else(|| {
        var_tokenizer::Error::Config(format!(
            "the weights of {} are not there: fetch them with `cargo xtask setup --features`, or name the file",
            efficientnet::NAME
        ))
        .into()
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
        let message = find_default(None, &starts).unwrap_err().to_string();
        assert!(message.contains("cargo xtask setup --features"), "{message}");
        std::fs::create_dir(clone.path().join(FOLDER)).unwrap();
        let file = clone.path().join(FOLDER).join(DEFAULT_FILE);
        std::fs::write(&file, "").unwrap();
        assert_eq!(find_default(None, &starts).unwrap(), file);
        assert_eq!(find_default(Some("".into()), &starts).unwrap(), file);
        assert_eq!(find_default(Some(clone.path().join(FOLDER).into()), &[]).unwrap(), file);
        // A folder that is named and holds nothing is an error, and not another network's file.
        let message = find_default(Some(clone.path().into()), &starts).unwrap_err().to_string();
        assert!(message.contains(VARIABLE) && message.contains(DEFAULT_FILE), "{message}");
    }
}
