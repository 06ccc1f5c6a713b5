//! The library through which `var-train` speaks NCCL: built here, by the C++ compiler alone, because libtorch's
//! wheels hold NCCL's process group but not what its headers need.
//!
//! The headers come out of NVIDIA's wheels; of cuBLAS, cuSPARSE and cuSOLVER only the names of their handles are
//! needed, which are written next to. Nothing of CUDA is linked: the program has loaded libtorch_cuda before it opens
//! the library.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::kit::{Kit, Wheel};
use super::{Part, State, libtorch, tools};
use crate::error::bad_use;
use crate::project::Project;

/// Names a library of the user; var-train reads it too.
const VARIABLE: &str = "VAR_NCCL";

/// The library in the clone; var-train looks for it above its own program.
const LIBRARY: &str = ".nccl/libvar_nccl.so";

/// The path of the library that programs of this clone take.
pub fn library(project: &Project) -> PathBuf {
    std::env::var_os(VARIABLE)
        .filter(|path| !path.is_empty())
        .map_or_else(|| project.path(LIBRARY), PathBuf::from)
}

/// What it is made of: the first is compiled, the others are read by it.
const SOURCES: [&str; 2] =
    ["var-train/src/distributed/nccl/nccl.cpp", "var-train/src/distributed/cpp/shim.h"];

static KIT: Kit = Kit {
    folder: "nccl-2.28.9-headers",
    wheels: &[
        Wheel {
            requirement: "nvidia-cuda-runtime==13.0.96",
            bytes: 2_243_632,
            sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            members: &[("nvidia/cu13/include/", "include/")],
        },
        Wheel {
            requirement: "nvidia-cuda-crt==13.0.88",
            bytes: 134_086,
            sha256: "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
            members: &[("nvidia/cu13/include/", "include/")],
        },
        Wheel {
            requirement: "nvidia-cuda-cccl==13.0.85",
            bytes: 3_120_526,
            sha256: "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649",
            members: &[("nvidia/cu13/include/nv/", "include/nv/")],
        },
        // libtorch's headers are made for this very version. The library itself comes with torch.
        Wheel {
            requirement: "nvidia-nccl-cu13==2.28.9",
            bytes: 196_493_177,
            sha256: "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
            members: &[
                ("nvidia/nccl/include/nccl.h", "include/nccl.h"),
                ("nvidia_nccl_cu13-2.28.9.dist-info/licenses/License.txt", "LICENSE-nccl"),
            ],
        },
    ],
    written: &[
        ("include/cublasLt.h", "#pragma once\ntypedef struct cublasLtContext* cublasLtHandle_t;\n"),
        (
            "include/cublas_v2.h",
            "#pragma once\ntypedef struct cublasContext* cublasHandle_t;\ntypedef enum { CUBLAS_STATUS_SUCCESS = 0 } \
             cublasStatus_t;\n",
        ),
        (
            "include/cusparse.h",
            "#pragma once\ntypedef struct cusparseContext* cusparseHandle_t;\ntypedef enum { CUSPARSE_STATUS_SUCCESS = 0 } \
             cusparseStatus_t;\nextern \"C\" const char* cusparseGetErrorString(cusparseStatus_t status);\n",
        ),
        (
            "include/cusolver_common.h",
            "#pragma once\ntypedef struct cusolverDnContext* cusolverDnHandle_t;\ntypedef enum { CUSOLVER_STATUS_SUCCESS = \
             0, CUSOLVER_STATUS_EXECUTION_FAILED = 6 } cusolverStatus_t;\n",
        ),
        ("include/cusolverDn.h", "#pragma once\n#include \"cusolver_common.h\"\n"),
    ],
    landmarks: &[
        ("include/cuda_runtime_api.h", 607_504),
        ("include/crt/host_config.h", 11_344),
        ("include/nv/target", 7_724),
        ("include/nccl.h", 25_657),
        ("LICENSE-nccl", 1_895),
    ],
    unpacked: 6_000_000,
    portable: false,
};

/// The part itself.
pub struct Nccl;

impl Part for Nccl {
    fn name(&self) -> &'static str {
        "nccl"
    }

    fn flag(&self) -> &'static str {
        "--cuda"
    }

    fn state(&self, project: &Project) -> Result<State> {
        if let Some(library) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            let library = PathBuf::from(library);
            if library.is_file() {
                return Ok(State::Ready(format!("{} ({VARIABLE})", library.display())));
            }
            return Err(bad_use(format!(
                "{VARIABLE} is \"{}\", which is no file: correct it, or unset it to use what the set-up builds",
                library.display()
            )));
        }
        let library = project.path(LIBRARY);
        let time = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
        Ok(match time(&library) {
            None => State::Missing("not built in this clone".to_owned()),
            Some(built) if SOURCES.iter().any(|source| time(&project.path(source)) > Some(built)) => {
                State::Missing(format!("{} is older than its source", library.display()))
            }
            Some(_) => State::Ready(library.display().to_string()),
        })
    }

    fn at_hand(&self, cache: &Cache) -> Option<PathBuf> {
        KIT.find(cache)
    }

    fn kit(&self) -> &'static Kit {
        &KIT
    }

    /// Compiles the library against the headers in `target`.
    fn link(&self, project: &Project, target: &Path) -> Result<()> {
        let library = project.path(LIBRARY);
        eprintln!("set-up: compiling {}", library.display());
        let folder = library.parent().unwrap_or(&library);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let torch = libtorch::include(project)?;
        let partial = library.with_extension("so.partial");
        let mut compiler = tools::cxx();
        compiler.args(["-std=c++17", "-O2", "-fPIC", "-shared", "-w", "-D_GLIBCXX_USE_CXX11_ABI=1"]);
        for include in [torch.clone(), torch.join("torch/csrc/api/include"), target.join("include")] {
            compiler.arg("-I").arg(include);
        }
        run(compiler.arg(project.path(SOURCES[0])).arg("-o").arg(&partial))?;
        std::fs::rename(&partial, &library).with_context(|| format!("cannot create {}", library.display()))
    }
}

/// Runs the compiler; its own messages say what is wrong.
fn run(compiler: &mut Command) -> Result<()> {
    let program = compiler.get_program().to_string_lossy().into_owned();
    let status = compiler.status().with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} could not compile the NCCL library ({status}): its messages are above");
    }
    Ok(())
}
