//! Extraction that is killed, stopped and gone on with.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use var_eval::features::store::{FeatureFile, partial_path};

use crate::score::pictures;

/// Starts `var-eval stats` on `set`, whose last picture is a pipe that nobody writes to: it gets as far as that
/// and waits.
fn started(set: &Path, out: &Path) -> Child {
    let program = assert_cmd::cargo::cargo_bin!("var-eval");
    let mut command = Command::new(program);
    command.args(["stats", "--network", "colour-grid", "--quiet", "--batch", "8", "--source"]).arg(set);
    command.arg("--out").arg(out).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits until the journal has as many bytes as rows of 24 + 3 + 6 numbers take.
fn wait_for(rows: u64, out: &Path, child: &mut Child) {
    let begin = Instant::now();
    while std::fs::metadata(partial_path(out)).map_or(0, |m| m.len()) < rows * (4 * 33 + 32) {
        assert!(
            child.try_wait().unwrap().is_none() && begin.elapsed() < Duration::from_secs(120),
            "it did not wait"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A set of 40 pictures whose last is a pipe, and that picture.
fn blocked(root: &Path) -> (std::path::PathBuf, std::path::PathBuf, Vec<u8>) {
    let set = pictures(root, "set", &[20, 20], 0);
    let last = set.join("c1/019.png");
    let bytes = std::fs::read(&last).unwrap();
    std::fs::remove_file(&last).unwrap();
    assert!(Command::new("mkfifo").arg(&last).status().unwrap().success());
    (set, last, bytes)
}

fn restore(last: &Path, bytes: &[u8]) {
    std::fs::remove_file(last).unwrap();
    std::fs::write(last, bytes).unwrap();
}

fn assert_equal(a: &FeatureFile, b: &FeatureFile) {
    assert_eq!(a.info(), b.info());
    assert_eq!(a.pictures_sha256(), b.pictures_sha256());
    assert_eq!((a.features().unwrap(), a.logits().unwrap()), (b.features().unwrap(), b.logits().unwrap()));
    assert_eq!((a.labels().unwrap(), a.indices().unwrap()), (b.labels().unwrap(), b.indices().unwrap()));
    assert_eq!((a.sizes().unwrap(), a.digests().unwrap()), (b.sizes().unwrap(), b.digests().unwrap()));
    assert_eq!(a.statistics().unwrap(), b.statistics().unwrap());
    assert_eq!(a.spatial_statistics().unwrap(), b.spatial_statistics().unwrap());
}

#[test]
fn a_killed_extraction_goes_on_to_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let (set, last, bytes) = blocked(root.path());
    let (out, undisturbed) = (root.path().join("killed.h5"), root.path().join("undisturbed.h5"));
    let mut child = started(&set, &out);
    wait_for(32, &out, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!out.exists());
    let message = FeatureFile::open(&out).unwrap_err().to_string();
    assert!(message.contains("not finished"), "{message}");
    restore(&last, &bytes);
    // A torn block, as a kill in the middle of a write leaves it.
    let mut journal = std::fs::read(partial_path(&out)).unwrap();
    journal.extend_from_slice(&[7; 50]);
    std::fs::write(partial_path(&out), journal).unwrap();
    for place in [&out, &undisturbed] {
        assert!(started(&set, place).wait().unwrap().success());
        assert!(!partial_path(place).exists());
    }
    let (a, b) = (FeatureFile::open(&out).unwrap(), FeatureFile::open(&undisturbed).unwrap());
    assert_eq!(a.len(), 40);
    assert_equal(&a, &b);
}

#[test]
fn a_stopped_extraction_ends_with_three_and_refuses_other_pictures() {
    let root = tempfile::tempdir().unwrap();
    let (set, last, bytes) = blocked(root.path());
    let out = root.path().join("f.h5");
    let mut child = started(&set, &out);
    wait_for(32, &out, &mut child);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    restore(&last, &bytes);
    // One picture less: another set.
    std::fs::rename(&last, root.path().join("away.png")).unwrap();
    assert_eq!(started(&set, &out).wait().unwrap().code(), Some(2));
    std::fs::rename(root.path().join("away.png"), &last).unwrap();
    // The last picture that was computed is another one now.
    let done = set.join("c1/011.png");
    let old = std::fs::read(&done).unwrap();
    std::fs::copy(set.join("c0/000.png"), &done).unwrap();
    assert_eq!(started(&set, &out).wait().unwrap().code(), Some(2));
    std::fs::write(&done, old).unwrap();
    assert_eq!(started(&set, &out).wait().unwrap().code(), Some(0));
    assert_eq!(FeatureFile::open(&out).unwrap().len(), 40);
}
