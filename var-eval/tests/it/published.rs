//! Published weights and references, from a server on loopback.

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

use crate::hub_server::{Faults, Server};
use crate::score::{pictures, program};

const INCEPTION: &str =
    "github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth";
const BATCH: &str = "openaipublic.blob.core.windows.net/diffusion/jul-2021/ref_batches/imagenet/256/VIRTUAL_imagenet256_labeled.npz";

/// The program with `server` as its mirror and a cache in `cache`.
fn with_mirror(server: &Server, cache: &Path) -> Command {
    let mut command = program();
    command.env("VAR_MIRROR", server.storage()).env("XDG_CACHE_HOME", cache).env_remove("HTTP_PROXY");
    command.env_remove("http_proxy").env_remove("ALL_PROXY").env_remove("all_proxy");
    command
}

fn said(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

#[test]
fn a_published_reference_is_fetched_once_and_scores_as_its_file() {
    let root = TempDir::new().unwrap();
    let (samples, images) =
        (pictures(root.path(), "samples", &[20, 20], 0), pictures(root.path(), "images", &[20, 20], 50_000));
    let file = root.path().join("batch.npz");
    let stats = ["stats", "--network", "colour-grid", "--adm", "--source"];
    program().args(stats).arg(&images).arg("--out").arg(&file).assert().success();
    let server = Server::start(&[(BATCH, &std::fs::read(&file).unwrap())]);
    // The connection is cut on the way.
    server.fail(Faults { cut_after: Some(400), ..Faults::default() });
    let cache = root.path().join("cache");
    let value = |mut command: Command, reference: &Path| {
        command.args(["score", "--network", "colour-grid", "--json", "--quiet", "--samples"]).arg(&samples);
        let assert = command.arg("--reference").arg(reference).assert().success();
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        report["metrics"][0]["value"].as_f64().unwrap()
    };
    let expected = value(program(), &file);
    assert_eq!(value(with_mirror(&server, &cache), Path::new("imagenet-256")), expected);
    assert!(server.downloads().len() > 1);
    let requests = server.requests().len();
    assert_eq!(value(with_mirror(&server, &cache), Path::new("imagenet-256")), expected);
    assert_eq!(server.requests().len(), requests, "fetched again");
    let kept = cache.join("var-rs/published/VIRTUAL_imagenet256_labeled.npz");
    assert_eq!(std::fs::read(kept).unwrap(), std::fs::read(&file).unwrap());
}

#[test]
fn weights_of_another_sum_are_refused_and_not_kept() {
    let root = TempDir::new().unwrap();
    let server = Server::start(&[(INCEPTION, b"not the weights")]);
    let assert = with_mirror(&server, root.path()).args(["fetch", "inception"]).assert().code(1);
    let text = said(&assert);
    assert!(text.contains("damaged on the way") && text.contains("licence: Apache-2.0"), "{text}");
    assert_eq!(std::fs::read_dir(root.path().join("var-rs/published")).unwrap().count(), 1, "only the lock");
    // The network asks for them by itself.
    let images = pictures(root.path(), "images", &[4], 0);
    let mut command = with_mirror(&server, root.path());
    command.args(["score", "--network", "inception-fid", "--samples"]).arg(&images);
    let text = said(&command.arg("--reference").arg(&images).assert().code(1));
    assert!(text.contains("pt_inception-2015-12-05-6726825d.pth"), "{text}");
}

#[test]
fn a_page_in_place_of_the_file_is_refused_and_not_kept() {
    let root = TempDir::new().unwrap();
    let server = Server::start(&[(BATCH, b"<html>Log in to use this network</html>")]);
    let text = said(&with_mirror(&server, root.path()).args(["fetch", "imagenet-256"]).assert().code(1));
    assert!(text.contains("not an archive") && text.contains("wants a login"), "{text}");
    assert!(!root.path().join("var-rs/published/VIRTUAL_imagenet256_labeled.npz").exists());
    // Bad input is noticed before anything is fetched.
    let requests = server.requests().len();
    let mut command = with_mirror(&server, root.path());
    let score =
        ["score", "--network", "colour-grid", "--samples", "missing.npz", "--reference", "imagenet-256"];
    let text = said(&command.args(score).assert().code(2));
    assert!(text.contains("missing.npz: no such file or folder"), "{text}");
    let mut command = with_mirror(&server, root.path());
    let weights = ["--network", "inception-fid", "--weights", "nope.pth", "--reference", "imagenet-256"];
    let text = said(&command.args(["score", "--samples", "emoji"]).args(weights).assert().code(2));
    assert!(text.contains("nope.pth: no such file or folder"), "{text}");
    assert_eq!(server.requests().len(), requests);
}

#[test]
fn without_the_file_the_message_says_where_to_put_it() {
    let root = TempDir::new().unwrap();
    let server = Server::start(&[]);
    let text = said(&with_mirror(&server, root.path()).args(["fetch", "imagenet-512"]).assert().code(2));
    for part in ["the server answers 404", "save https://", "VIRTUAL_imagenet512.npz"] {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
    let text = said(&program().args(["fetch", "imagenet-265"]).assert().code(2));
    assert!(text.contains("did you mean 'imagenet-256'?"), "{text}");
    let score = ["score", "--samples", "emoji", "--reference", "imagenet-265"];
    let text = said(&program().args(score).assert().code(2));
    assert!(text.contains("did you mean 'imagenet-256'?"), "{text}");
}
