//! A sweep that an earlier version wrote (`tests/data/before`: made by the commit before the modules were moved).

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

#[test]
fn a_sweep_of_an_earlier_version_is_fitted_and_reported_as_it_was() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/before");
    let folder = tempfile::tempdir().unwrap();
    let mut folders = vec![kept.clone()];
    while let Some(from) = folders.pop() {
        let to = folder.path().join(from.strip_prefix(&kept).unwrap());
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(&from).unwrap().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
    // The words may change, the numbers may not.
    let fits = |folder: &Path| -> Value {
        let mut fits: Value =
            serde_json::from_slice(&std::fs::read(folder.join("fits.json")).unwrap()).unwrap();
        for key in ["about", "intervals"] {
            assert!(fits[key].take().is_string());
        }
        for law in fits["laws"].as_array_mut().unwrap() {
            assert!(law["verdict"].take().is_string() && law["notes"].take().is_array());
        }
        fits
    };
    std::fs::remove_file(folder.path().join("fits.json")).unwrap();
    Command::cargo_bin("var-scaling").unwrap().arg("report").arg(folder.path()).assert().success();
    assert_eq!(fits(folder.path()), fits(&kept));
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    for text in [
        "1x32",
        "2x32",
        "1.0339",
        "0.8991",
        "not enough sizes",
        "19.9 dB",
        "42 training rows, 6 held-out rows",
    ] {
        assert!(page.contains(text), "'{text}' is not in the report");
    }
}
