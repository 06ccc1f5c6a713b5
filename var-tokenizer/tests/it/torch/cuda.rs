//! The CUDA source, compiled for a processor by the C++ compiler, against plain sums in f64 (`tests/cuda`).

use std::path::Path;
use std::process::Command;

/// Compiles the comparison with `source` as the kernels and runs it; what it prints, and whether all agrees.
fn compare(source: &Path, brief: bool) -> (String, bool) {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("compare");
    let build = Command::new("c++")
        .args(["-O1", "-std=c++20", "-pthread", "-Wno-unknown-pragmas"])
        .arg(format!("-DBRIEF={}", u8::from(brief)))
        .arg(format!("-DSOURCE=\"{}\"", source.display()))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/layer_norm.cpp"))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let output = Command::new(&program).output().unwrap();
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

fn source() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/runtime/torch/kernels/cuda/layer_norm.cu")
}

#[test]
fn layer_norm_and_gate_of_the_cuda_source_are_those_in_f64() {
    for brief in [false, true] {
        let (said, agrees) = compare(&source(), brief);
        assert!(agrees, "{said}");
    }
}

#[test]
fn a_wrong_sign_in_the_cuda_source_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let wrong = place.path().join("wrong.cu");
    let text = std::fs::read_to_string(source()).unwrap();
    let changed = text.replace("grad[i] - plain - unit[i] * along", "grad[i] - plain + unit[i] * along");
    assert_ne!(changed, text);
    std::fs::write(&wrong, changed).unwrap();
    let (said, agrees) = compare(&wrong, true);
    assert!(!agrees && said.contains("dx: "), "{said}");
}
