//! Compiles the C++ half of `torch/` against the libtorch that torch-sys found, and puts libtorch on
//! the run path of this package's binaries, tests and benches.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/torch");
    let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo:warning=torch-sys did not say where libtorch is: run `cargo xtask setup`");
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());

    // The unpacked wheel, a libtorch archive and site-packages/torch all keep include/ beside lib/.
    let include = match std::env::var_os("LIBTORCH_INCLUDE") {
        Some(parent) if std::env::var_os("LIBTORCH_USE_PYTORCH").is_none() => {
            Path::new(&parent).join("include")
        }
        _ => lib.parent().unwrap_or(&lib).join("include"),
    };
    let sources = Path::new("src/torch");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .opt_level(3)
        // Kernels share libtorch's own OpenMP threads.
        .flag_if_supported("-fopenmp")
        .define("_GLIBCXX_USE_CXX11_ABI", std::env::var("LIBTORCH_CXX11_ABI").as_deref().unwrap_or("1"))
        .include(sources)
        .include(&include)
        .include(include.join("torch/csrc/api/include"));
    build.files(sources_in(sources)).files(sources_in(&sources.join("kernels")));
    build.compile("var_torch");
    println!("cargo:rustc-link-search=native={}", lib.display());
    for library in ["torch_cpu", "c10", "gomp"] {
        println!("cargo:rustc-link-lib={library}");
    }
}

/// Every `.cpp` directly in `folder`, in order of name.
fn sources_in(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "cpp"))
        .collect();
    found.sort();
    found
}
