//! Compiles the C++ half of `distributed/` against the libtorch that torch-sys found, and puts libtorch on
//! the run path of this package's binaries, tests and benches.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        println!("cargo:warning=torch-sys did not say where libtorch is: run `cargo xtask setup`");
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());

    let folder = Path::new("src/distributed/cpp");
    println!("cargo:rerun-if-changed={}", folder.display());
    let include = include_folder(&lib);
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .opt_level(2)
        .define("_GLIBCXX_USE_CXX11_ABI", std::env::var("LIBTORCH_CXX11_ABI").as_deref().unwrap_or("1"))
        .include(folder)
        // Declarations in place of the gloo headers, which libtorch does not ship.
        .include(folder.join("gloo"))
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .files(["store.cpp", "group.cpp"].map(|file| folder.join(file)))
        .compile("var_c10d");
    println!("cargo:rustc-link-search=native={}", lib.display());
    for library in ["torch_cpu", "c10"] {
        println!("cargo:rustc-link-lib={library}");
    }
}

/// Where libtorch's headers are: beside lib/ in every layout, unless LIBTORCH_INCLUDE names another parent.
fn include_folder(lib: &Path) -> PathBuf {
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    match std::env::var_os("LIBTORCH_INCLUDE") {
        Some(parent) if std::env::var_os("LIBTORCH_USE_PYTORCH").is_none() => {
            Path::new(&parent).join("include")
        }
        _ => lib.parent().unwrap_or(lib).join("include"),
    }
}
