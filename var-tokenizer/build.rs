//! Compiles the C++ half of `torch/` against the libtorch that torch-sys found, and puts libtorch on
//! the run path of this package's binaries, tests and benches.
//!
//! `*_loops.cpp` files are the kernels' inner loops. They know nothing of libtorch and are compiled
//! once per instruction set; the program picks one when it starts (`kernels/dispatch.h`).

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo:warning=torch-sys did not say where libtorch is: run `cargo xtask setup`");
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());

    let folder = Path::new("src/runtime/torch");
    let kernels = folder.join("kernels");
    for header in files_in(folder, "h").into_iter().chain(files_in(&kernels, "h")) {
        println!("cargo:rerun-if-changed={}", header.display());
    }
    let (loops, mut sources): (Vec<_>, Vec<_>) = files_in(&kernels, "cpp")
        .into_iter()
        .partition(|path| path.to_string_lossy().ends_with("_loops.cpp"));
    sources.extend(files_in(folder, "cpp"));

    let generated = embed_cuda(&kernels);
    // The static parts come before libtorch on the linker's command line: they use its symbols.
    let include = include_folder(&lib);
    println!("cargo:include={}", include.display());
    cpp(folder, &sources)
        // Kernels share libtorch's own OpenMP threads.
        .flag_if_supported("-fopenmp")
        .define("_GLIBCXX_USE_CXX11_ABI", std::env::var("LIBTORCH_CXX11_ABI").as_deref().unwrap_or("1"))
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .include(&generated)
        .compile("var_torch");
    compile_loops(folder, &loops, "baseline", &[]);
    if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        compile_loops(folder, &loops, "avx2", &["-mavx2", "-mfma"]);
        let avx512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512bf16", "-mfma"];
        compile_loops(folder, &loops, "avx512", &avx512);
    }
    println!("cargo:rustc-link-search=native={}", lib.display());
    for library in ["torch_cpu", "c10", "gomp"] {
        println!("cargo:rustc-link-lib={library}");
    }
}

/// Writes the sources in `kernels/cuda`, which are compiled at run time, into headers: `layer_norm.cu` becomes the text
/// `LAYER_NORM_CU` in `layer_norm_cu.h`. Returns their folder.
fn embed_cuda(kernels: &Path) -> PathBuf {
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    for source in files_in(&kernels.join("cuda"), "cu") {
        println!("cargo:rerun-if-changed={}", source.display());
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&source).unwrap_or_default();
        let header = format!(
            "#pragma once\nstatic const char {}_CU[] = R\"cuda({text})cuda\";\n",
            name.to_uppercase()
        );
        if let Err(e) = std::fs::write(folder.join(format!("{name}_cu.h")), header) {
            println!("cargo:warning={} cannot be embedded: {e}", source.display());
        }
    }
    folder
}

/// What all compilations share.
fn cpp(folder: &Path, files: &[PathBuf]) -> cc::Build {
    for file in files {
        println!("cargo:rerun-if-changed={}", file.display());
    }
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").warnings(false).opt_level(3).include(folder).include(folder.join("kernels"));
    build.files(files);
    build
}

/// The inner loops for one instruction set, in a namespace of its name.
fn compile_loops(folder: &Path, files: &[PathBuf], set: &str, flags: &[&str]) {
    let mut build = cpp(folder, files);
    build.define("VAR_SET", set);
    for flag in flags.iter().chain(&["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"]) {
        build.flag(flag);
    }
    build.compile(&format!("var_loops_{set}"));
}

/// Where libtorch's headers are: the unpacked wheel, a libtorch archive and site-packages/torch all keep
/// include/ beside lib/, unless LIBTORCH_INCLUDE names another parent.
fn include_folder(lib: &Path) -> PathBuf {
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    match std::env::var_os("LIBTORCH_INCLUDE") {
        Some(parent) if std::env::var_os("LIBTORCH_USE_PYTORCH").is_none() => {
            Path::new(&parent).join("include")
        }
        _ => lib.parent().unwrap_or(lib).join("include"),
    }
}

/// The files of one kind directly in `folder`, in order of name.
fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    found.sort();
    found
}
