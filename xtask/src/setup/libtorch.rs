//! libtorch 2.11.0, the one version that tch 0.24 works with.
//!
//! The smallest set of files that builds and runs on a CPU, out of three wheels: 498 MB. With CUDA the
//! programs load the accelerator part of a full torch installation at their start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use super::cache::{Cache, symlink};
use super::kit::{Kit, Wheel};
use super::{Part, State};
use crate::error::bad_use;
use crate::project::Project;

const VERSION: &str = "2.11.0";

/// The link in the clone; `.cargo/config.toml` gives its path as LIBTORCH.
const LINK: &str = ".libtorch";

static KIT: Kit = Kit {
    folder: "libtorch-2.11.0-cpu",
    wheels: &[
        Wheel {
            requirement: "nvidia-cuda-runtime==13.0.96",
            bytes: 2_243_632,
            sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            members: &[
                ("nvidia/cu13/lib/libcudart.so.13", "lib/libcudart.so.13"),
                ("nvidia_cuda_runtime-13.0.96.dist-info/licenses/License.txt", "licences/LICENSE-CUDA"),
            ],
        },
        Wheel {
            requirement: "nvidia-cuda-cupti==13.0.85",
            bytes: 10_715_597,
            sha256: "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
            members: &[("nvidia/cu13/lib/libcupti.so.13", "lib/libcupti.so.13")],
        },
        Wheel {
            requirement: "torch==2.11.0",
            bytes: 530_604_548,
            sha256: "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
            members: &[
                ("torch/include/", "include/"),
                ("torch/lib/libtorch_cpu.so", "lib/libtorch_cpu.so"),
                ("torch/lib/libc10.so", "lib/libc10.so"),
                ("torch/lib/libgomp.so.1", "lib/libgomp.so.1"),
                ("torch-2.11.0.dist-info/licenses/", "licences/"),
            ],
        },
    ],
    written: &[
        // The wheel's own libtorch.so needs the CUDA library. Nothing needs libtorch.so at run time, only
        // the linker asks for it: a linker script serves.
        ("lib/libtorch.so", "INPUT(libtorch_cpu.so)\n"),
        ("build-version", "2.11.0+cu130"),
    ],
    landmarks: &[
        ("lib/libtorch_cpu.so", 451_209_129),
        ("lib/libc10.so", 1_498_969),
        ("lib/libgomp.so.1", 254_009),
        ("lib/libcudart.so.13", 704_288),
        ("lib/libcupti.so.13", 4_152_208),
        ("lib/libtorch.so", 23),
        ("build-version", 12),
        ("licences/LICENSE", 351_341),
        ("licences/LICENSE-CUDA", 59_262),
    ],
    unpacked: 520_000_000,
    portable: false,
};

/// Without these nothing builds or starts.
const NEEDED: [&str; 4] = [
    "include/torch/csrc/api/include/torch/torch.h",
    "lib/libtorch.so",
    "lib/libtorch_cpu.so",
    "lib/libc10.so",
];

/// The part itself.
pub struct Libtorch;

impl Part for Libtorch {
    fn name(&self) -> &'static str {
        "libtorch"
    }

    fn state(&self, project: &Project) -> Result<State> {
        if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
            return of_python().map(State::Ready);
        }
        if let Some(folder) = project.own_setting("LIBTORCH", LINK) {
            let folder = PathBuf::from(folder);
            return match inspect(&folder) {
                Ok(version) => Ok(State::Ready(format!("{version} in {} (LIBTORCH)", folder.display()))),
                Err(why) => Err(bad_use(format!(
                    "LIBTORCH is \"{}\", which is not a libtorch {VERSION}: {why}. Correct it, or unset it to use \
                     the one that the set-up fetches",
                    folder.display()
                ))),
            };
        }
        linked(&project.path(LINK))
    }

    fn at_hand(&self, cache: &Cache) -> Option<PathBuf> {
        KIT.find(cache)
    }

    fn kit(&self) -> &'static Kit {
        &KIT
    }

    fn link(&self, project: &Project, target: &Path) -> Result<()> {
        symlink(target, &project.path(LINK))
    }
}

/// The folder of the libtorch that builds take, with `lib` in it.
///
/// # Errors
/// With LIBTORCH_USE_PYTORCH (bad use): the libraries of a wheel lie elsewhere.
pub fn folder(project: &Project) -> Result<PathBuf> {
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        return Err(bad_use("LIBTORCH_USE_PYTORCH is set: unset it, so that the fetched libtorch is packed"));
    }
    Ok(project.own_setting("LIBTORCH", LINK).map_or_else(|| project.path(LINK), PathBuf::from))
}

/// Where the headers lie, of the libtorch that builds take.
pub fn include(project: &Project) -> Result<PathBuf> {
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        let question =
            "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])";
        let answer =
            ask_python(question).map_err(|why| bad_use(format!("LIBTORCH_USE_PYTORCH is set, but {why}")))?;
        return Ok(Path::new(&answer).join("include"));
    }
    let folder = project.own_setting("LIBTORCH", LINK).map_or_else(|| project.path(LINK), PathBuf::from);
    let parent = std::env::var_os("LIBTORCH_INCLUDE").map_or(folder, PathBuf::from);
    Ok(parent.join("include"))
}

/// How the link in the clone stands. A kit of ours must be whole; a link or folder that the user put
/// there must look like libtorch.
fn linked(link: &Path) -> Result<State> {
    let target = std::fs::read_link(link).ok();
    if target.is_none() && !link.exists() {
        return Ok(State::Missing("not set up in this clone".to_owned()));
    }
    let ours = target.as_ref().is_some_and(|target| target.ends_with(KIT.folder));
    let place = target.as_deref().unwrap_or(link);
    match inspect(link) {
        Ok(_) if ours && !KIT.whole(link) => Ok(State::Missing(format!("{} is damaged", place.display()))),
        Ok(version) => Ok(State::Ready(format!("{version} in {}", place.display()))),
        Err(why) if target.is_some() => Ok(State::Missing(why)),
        Err(why) => Err(bad_use(format!(
            "{} is a folder but not a libtorch {VERSION}: {why}. Move it away and run `cargo xtask setup` again",
            link.display()
        ))),
    }
}

/// The version of a folder that looks like the right libtorch, or what is wrong with it.
fn inspect(folder: &Path) -> Result<String, String> {
    let base = |name: &str| std::env::var_os(name).map_or_else(|| folder.to_path_buf(), PathBuf::from);
    let (include, lib) = (base("LIBTORCH_INCLUDE"), base("LIBTORCH_LIB"));
    for file in NEEDED {
        let path = if file.starts_with("include") { include.join(file) } else { lib.join(file) };
        if !path.is_file() {
            return Err(format!("missing file {}", path.display()));
        }
    }
    match std::fs::read_to_string(folder.join("build-version")) {
        Ok(version) => right_version(version.trim()),
        // Installations without the file are taken on trust, as torch-sys does.
        Err(_) => Ok(VERSION.to_owned()),
    }
}

/// Which torch the build of torch-sys would find through Python.
fn of_python() -> Result<String> {
    let answer = ask_python("import importlib.metadata as m; print(m.version('torch'))")
        .and_then(|version| right_version(&version));
    match answer {
        Ok(version) => Ok(format!("{version} of {} (LIBTORCH_USE_PYTORCH)", python())),
        Err(why) => Err(bad_use(format!(
            "LIBTORCH_USE_PYTORCH is set, but {why}: install torch {VERSION} there, or unset it to use the one that \
             the set-up fetches"
        ))),
    }
}

/// The Python that torch-sys would take.
fn python() -> &'static str {
    if std::env::var_os("VIRTUAL_ENV").is_some() { "python" } else { "python3" }
}

/// What that Python prints for a question about its torch.
fn ask_python(question: &str) -> Result<String, String> {
    let python = python();
    match Command::new(python).args(["-c", question]).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(_) => Err(format!("{python} has no torch")),
        Err(error) => Err(format!("{python} does not start: {error}")),
    }
}

/// `version` itself, when it is [`VERSION`] with any build suffix such as `+cpu`.
fn right_version(version: &str) -> Result<String, String> {
    let number = version.split_once('+').map_or(version, |(number, _)| number);
    if number == VERSION || std::env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some() {
        Ok(version.to_owned())
    } else {
        Err(format!("its version is {version}"))
    }
}
