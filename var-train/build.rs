//! Compiles the C++ half of `distributed/` against the libtorch that torch-sys found, and puts libtorch on
//! the run path of this package's binaries, tests and benches.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let told = |name: &str| std::env::var_os(name).map(PathBuf::from);
    // The second by the build script of var-tokenizer.
    let (Some(lib), Some(include)) = (told("DEP_TCH_LIBTORCH_LIB"), told("DEP_VAR_TORCH_INCLUDE")) else {
        println!("cargo:warning=torch-sys did not say where libtorch is: run `cargo xtask setup`");
        return;
    };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());

    let folder = Path::new("src/distributed/cpp");
    println!("cargo:rerun-if-changed={}", folder.display());
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
