//! The CUDA source, compiled for a processor by the C++ compiler, against plain sums in f64 (`tests/cuda`).

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the CUDA sources.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/runtime/torch/kernels/cuda")
}

/// Compiles the comparison `name` with `source` as the kernels and runs it; what it prints, and whether all agrees.
fn compare(name: &str, source: &Path, brief: bool) -> (String, bool) {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("compare");
    let build = Command::new("c++")
        .args(["-O1", "-std=c++20", "-pthread", "-Wno-unknown-pragmas"])
        .arg(format!("-DBRIEF={}", u8::from(brief)))
        .arg(format!("-DCOMMON=\"{}\"", sources().join("common.cu").display()))
        .arg(format!("-DSOURCE=\"{}\"", source.display()))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda").join(format!("{name}.cpp")))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let output = Command::new(&program).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn kernels_of_the_cuda_sources_agree_with_f64() {
    for name in ["layer_norm", "group_norm"] {
        for brief in [false, true] {
            let (said, agrees) = compare(name, &sources().join(format!("{name}.cu")), brief);
            assert!(agrees, "{name}: {said}");
        }
    }
}

#[test]
fn a_wrong_sign_in_a_cuda_source_is_noticed() {
    for (name, right, wrong) in [
        ("layer_norm", "grad[i] - plain - unit[i] * along", "grad[i] - plain + unit[i] * along"),
        ("group_norm", "dy * s * (1.0f + z * (1.0f - s))", "dy * s * (1.0f - z * (1.0f - s))"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let changed = place.path().join("changed.cu");
        let text = std::fs::read_to_string(sources().join(format!("{name}.cu"))).unwrap();
        assert!(text.contains(right), "{name}");
        std::fs::write(&changed, text.replace(right, wrong)).unwrap();
        let (said, agrees) = compare(name, &changed, true);
        assert!(!agrees && said.contains("dx: "), "{name}: {said}");
    }
}
