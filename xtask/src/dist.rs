//! `cargo xtask dist`: one archive with the programs, for machines without Rust.
//!
//! The programs find libtorch relative to themselves (`$ORIGIN/../lib`), so the unpacked folder may lie anywhere. With
//! `--cuda` the archive has no libtorch: a script in front of every program finds that of a PyTorch installation.

mod check;
mod elf;
mod licences;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tar::{Builder, Header};

pub use check::check;

use crate::project::{Extent, Project};
use crate::{say, setup};

/// Shown below `cargo xtask dist --help`.
pub const EXAMPLES: &str = "Examples:
  cargo xtask dist                          dist/var-VERSION-x86_64-linux.tar.zst: programs and libtorch for CPUs
  cargo xtask setup --features && cargo xtask dist      also the networks of scores and perceptual losses
  cargo xtask dist --cuda                   for machines with PyTorch 2.11: programs and the NCCL library
  tar --zstd -xf dist/var-*-linux.tar.zst && var-*-linux/bin/var-model sample --out grid.png";

/// Where the programs look for their libraries.
const RUN_PATH: &str = "$ORIGIN/../lib";
/// Libraries of libtorch that a CPU needs.
const LIBRARIES: [&str; 5] =
    ["libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"];
/// Effort of the compression: the archive is made once and copied often.
const EFFORT: i32 = 12;

/// What `cargo xtask dist` makes.
#[derive(clap::Args)]
pub struct Options {
    /// Leave libtorch out, and add the NCCL library: for GPUs, beside a PyTorch 2.11 installation
    #[arg(long)]
    cuda: bool,
    /// Folder for the archive
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
}

/// Builds the programs and packs the archive; prints its path.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let out = project.of_caller(&options.out);
    let archive = pack(project, Extent::Programs, options.cuda, &out, EFFORT)?;
    let bytes = archive.metadata().map_or(0, |meta| meta.len());
    eprintln!("xtask: {:.0} MB", bytes as f64 / 1e6);
    say(&format!("{}\n", archive.display()));
    Ok(())
}

/// The archive in `out`. It appears under its name when it is whole.
fn pack(project: &Project, extent: Extent, cuda: bool, out: &Path, effort: i32) -> Result<PathBuf> {
    setup::ensure(project)?;
    if cuda {
        setup::ensure_nccl(project)?;
    }
    let programs = project.build(extent)?;
    let name = format!("var-{}-x86_64-linux{}", env!("CARGO_PKG_VERSION"), if cuda { "-cuda" } else { "" });
    eprintln!("xtask: packing {name}");
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let (path, half) = (out.join(format!("{name}.tar.zst")), out.join(format!(".{name}.partial")));
    let written = || format!("cannot write {}", half.display());
    let mut encoder = zstd::Encoder::new(BufWriter::new(File::create(&half).with_context(written)?), effort)?;
    let threads = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    encoder.multithread(threads)?;
    let mut archive = Archive { tar: Builder::new(encoder), name };
    let outcome = fill(&mut archive, project, &programs, cuda)
        .and_then(|()| Ok(archive.tar.into_inner()?.finish()?.into_inner()?.sync_all()?));
    if let Err(error) = outcome {
        let _ = std::fs::remove_file(&half);
        return Err(error.context(format!("cannot make {}", path.display())));
    }
    std::fs::rename(&half, &path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// An archive that is being written.
struct Archive<W: Write> {
    tar: Builder<W>,
    /// The folder that everything lies in.
    name: String,
}

impl<W: Write> Archive<W> {
    fn add(&mut self, path: &str, bytes: &[u8], executable: bool) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(if executable { 0o755 } else { 0o644 });
        header.set_cksum();
        Ok(self.tar.append_data(&mut header, format!("{}/{path}", self.name), bytes)?)
    }

    fn add_file(&mut self, path: &str, from: &Path) -> Result<()> {
        let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.add(path, &bytes, false)
    }

    /// All files below `from`, or those that end in `.ending`.
    fn add_folder(&mut self, path: &str, from: &Path, ending: Option<&str>) -> Result<()> {
        let unreadable = || format!("cannot read {}", from.display());
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(from).with_context(unreadable)?.flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for entry in entries {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if entry.is_dir() {
                self.add_folder(&format!("{path}/{name}"), &entry, ending)?;
            } else if ending.is_none_or(|ending| entry.extension().is_some_and(|found| found == ending)) {
                self.add_file(&format!("{path}/{name}"), &entry)?;
            }
        }
        Ok(())
    }
}

fn fill<W: Write>(
    archive: &mut Archive<W>,
    project: &Project,
    programs: &BTreeMap<String, PathBuf>,
    cuda: bool,
) -> Result<()> {
    let mut glibc = (0, 0);
    for (name, path) in programs {
        let mut program = stripped(path)?;
        elf::set_run_path(&mut program, RUN_PATH)
            .with_context(|| format!("{} cannot be moved to other folders", path.display()))?;
        glibc = glibc.max(elf::newest_glibc(&program));
        let folder = if cuda { "libexec" } else { "bin" };
        archive.add(&format!("{folder}/{name}"), &program, true)?;
        if cuda {
            archive.add(&format!("bin/{name}"), include_bytes!("dist/launch.sh"), true)?;
        }
    }
    if cuda {
        archive.add_file(".nccl/libvar_nccl.so", &setup::nccl_library(project))?;
    } else {
        let folder = setup::libtorch_folder(project)?;
        for name in LIBRARIES {
            archive.add_file(&format!("lib/{name}"), &folder.join("lib").join(name))?;
        }
    }
    let networks = project.path(".features");
    if networks.is_dir() {
        archive.add_folder(".features", &networks, Some("pth"))?;
    }
    archive.add_folder("presets/sweeps", &project.path("var-scaling/presets"), Some("toml"))?;
    archive.add_folder("presets/trainings", &project.path("var-train/src/presets"), Some("toml"))?;
    archive.add_folder("docs", &project.path("docs"), Some("md"))?;
    archive.add_folder("golden", &project.path("var-tokenizer/tests/golden"), None)?;
    let readme = include_str!("dist/README.txt")
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@GLIBC@", &format!("{}.{}", glibc.0, glibc.1))
        .replace("@LIBTORCH@", if cuda { WITH_PYTORCH } else { WITH_LIBTORCH });
    archive.add("README.txt", readme.as_bytes(), false)?;
    licences::add(archive, project, cuda)
}

const WITH_LIBTORCH: &str = "libtorch 2.11.0 for CPUs is in lib/. Nothing else is needed.";
const WITH_PYTORCH: &str = "It needs PyTorch 2.11.0 with CUDA 13.0: the programs take that of the python3 in PATH, or of VIRTUAL_ENV.
VAR_LIBTORCH_CUDA=/path/to/torch/lib/libtorch_cuda.so names another one. GPUs need driver 580 or newer.";

/// The program without its symbols.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let place = program.with_extension("stripped");
    let status = Command::new("strip")
        .args(["--strip-unneeded", "-o"])
        .args([&place, program])
        .status()
        .context("cannot start strip; install binutils")?;
    if !status.success() {
        bail!("strip failed on {}", program.display());
    }
    let bytes = std::fs::read(&place).with_context(|| format!("cannot read {}", place.display()));
    let _ = std::fs::remove_file(&place);
    bytes
}
