//! Published weights by name, from a hub on loopback.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use var_tokenizer::files::sha256;

use crate::hub_server::{COMMIT, Faults, Server};
use crate::support::{program, refused};
use crate::wait::while_alive;

const MODEL: &[u8] = include_bytes!("../../assets/emoji-model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../../var-tokenizer/assets/emoji-tokenizer.safetensors");
/// A file that need not be weights.
const NAME: &str = "hf:some/repo/folder/file.bin";

/// A hub with the built-in weights under published names, and a small file; and a cache.
struct Trial {
    server: Server,
    home: tempfile::TempDir,
}

impl Trial {
    fn new() -> Self {
        let server = Server::start(&[
            ("FoundationVision/var/var_d16.pth", MODEL),
            ("FoundationVision/var/vae_ch160v4096z32.pth", TOKENIZER),
            ("some/repo/folder/file.bin", &Self::small()),
            ("some/new/file.bin", &Self::small()),
        ]);
        Self { server, home: tempfile::tempdir().unwrap() }
    }

    fn small() -> Vec<u8> {
        (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program(args);
        self.server.for_command(&mut command, self.home.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Fetches the small file. Returns its path in the cache.
    fn fetched(&self) -> PathBuf {
        let output = self.run(&["fetch", NAME]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    }

    fn repository(&self) -> PathBuf {
        self.home.path().join("hub/models--some--repo")
    }

    fn blob(&self) -> PathBuf {
        self.repository().join("blobs").join(sha256(&Self::small()))
    }

    fn partial(&self) -> PathBuf {
        let mut name = self.blob().into_os_string();
        name.push(".incomplete");
        name.into()
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn failed(output: &Output, parts: &[&str]) {
    assert!(!output.status.success());
    for part in parts {
        assert!(text(output).contains(part), "'{part}' is not in: {}", text(output));
    }
}

#[test]
fn a_published_model_samples_with_its_tokenizer_as_its_files_do_and_then_needs_no_network() {
    let trial = Trial::new();
    let folder = tempfile::tempdir().unwrap();
    let sample = |name: &str, more: &[&str], offline: bool| {
        let out = folder.path().join(name);
        let out_text = out.display().to_string();
        let args = [
            &["sample", "--per-class", "1", "--classes", "0-1", "--precision", "f32", "--out", &out_text],
            more,
        ];
        let mut command = trial.command(&args.concat());
        if offline {
            command.env("HF_HUB_OFFLINE", "1");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        (std::fs::read(out).unwrap(), text(&output))
    };
    let (first, said) = sample("first.png", &["--model", "var-d16"], false);
    assert!(said.contains("licence: mit") && said.contains("var_d16.pth"), "{said}");
    let (files, _) = sample("files.png", &["--model", "builtin"], false);
    assert!(first == files, "the same weights give other images by their name");
    let requests = trial.server.requests().len();
    let (again, said) = sample("again.png", &["--model", "var-d16"], true);
    assert!(first == again && !said.contains("licence"), "{said}");
    assert_eq!(trial.server.requests().len(), requests);
    // The names work for all commands that take a weight file.
    let inspected = trial.run(&["inspect", "var-d16", "--json"]);
    assert!(inspected.status.success(), "{}", text(&inspected));
    let converted = folder.path().join("vae.pth").display().to_string();
    let output = trial.run(&["convert", "var-vae", &converted]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn the_cache_has_the_layout_of_other_clients() {
    let trial = Trial::new();
    let path = trial.fetched();
    assert_eq!(std::fs::read(&path).unwrap(), Trial::small());
    assert_eq!(path, trial.repository().join("snapshots").join(COMMIT).join("folder/file.bin"));
    assert_eq!(std::fs::canonicalize(&path).unwrap(), std::fs::canonicalize(trial.blob()).unwrap());
    assert!(std::fs::read_link(&path).unwrap().is_relative());
    assert_eq!(std::fs::read_to_string(trial.repository().join("refs/main")).unwrap(), COMMIT);
    assert!(!trial.partial().exists());
    // By its commit it is the same file.
    let requests = trial.server.requests().len();
    let output = trial.run(&["fetch", &format!("{NAME}@{COMMIT}")]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), path.display().to_string());
    assert_eq!(trial.server.requests().len(), requests);
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_the_storage_that_it_names() {
    let trial = Trial::new();
    trial.server.fail(Faults { token: Some("secret".into()), ..Faults::default() });
    let without = trial.run(&["fetch", NAME]);
    failed(&without, &["needs a permission", "HF_TOKEN", "some/repo"]);
    let wrong = trial.command(&["fetch", NAME]).env("HF_TOKEN", "wrong").output().unwrap();
    failed(&wrong, &["not open to your token"]);
    assert!(!text(&wrong).contains("wrong"), "an error shows the token: {}", text(&wrong));
    // From the file that `huggingface-cli login` writes.
    std::fs::write(trial.home.path().join("token"), "secret\n").unwrap();
    trial.fetched();
    let downloads = trial.server.downloads();
    assert!(
        !downloads.is_empty() && downloads.iter().all(|request| request.token.is_none()),
        "{downloads:?}"
    );
}

#[test]
fn a_cut_connection_is_resumed_where_it_ended() {
    let trial = Trial::new();
    trial.server.fail(Faults { cut_after: Some(500_000), ..Faults::default() });
    assert_eq!(std::fs::read(trial.fetched()).unwrap(), Trial::small());
    let ranges: Vec<_> = trial.server.downloads().into_iter().map(|request| request.range).collect();
    assert_eq!(ranges, [None, Some("bytes=500000-".into()), Some("bytes=1000000-".into())]);
}

#[test]
fn a_killed_download_is_resumed_and_a_whole_one_that_was_not_renamed_is_used() {
    let trial = Trial::new();
    trial.server.fail(Faults { slow: Some(Duration::from_millis(400)), ..Faults::default() });
    let mut children = [trial.command(&["fetch", "--quiet", NAME]).spawn().unwrap()];
    let begun = || std::fs::metadata(trial.partial()).is_ok_and(|about| about.len() > 0);
    while_alive(&mut children, "the first bytes", begun);
    children[0].kill().unwrap();
    children[0].wait().unwrap();
    let had = std::fs::metadata(trial.partial()).unwrap().len();
    assert!(had < Trial::small().len() as u64);
    trial.server.fail(Faults::default());
    assert_eq!(std::fs::read(trial.fetched()).unwrap(), Trial::small());
    assert_eq!(trial.server.downloads().last().unwrap().range, Some(format!("bytes={had}-")));
    // Killed between the last byte and the new name.
    std::fs::remove_dir_all(trial.repository()).unwrap();
    std::fs::create_dir_all(trial.blob().parent().unwrap()).unwrap();
    std::fs::write(trial.partial(), Trial::small()).unwrap();
    assert_eq!(std::fs::read(trial.fetched()).unwrap(), Trial::small());
    // What is longer than the file is not its beginning.
    std::fs::remove_dir_all(trial.repository()).unwrap();
    std::fs::create_dir_all(trial.blob().parent().unwrap()).unwrap();
    std::fs::write(trial.partial(), [Trial::small(), vec![0]].concat()).unwrap();
    assert_eq!(std::fs::read(trial.fetched()).unwrap(), Trial::small());
}

#[test]
fn a_server_without_ranges_sends_the_whole_again() {
    let trial = Trial::new();
    trial.server.fail(Faults { no_ranges: true, ..Faults::default() });
    std::fs::create_dir_all(trial.blob().parent().unwrap()).unwrap();
    std::fs::write(trial.partial(), &Trial::small()[..1000]).unwrap();
    assert_eq!(std::fs::read(trial.fetched()).unwrap(), Trial::small());
}

#[test]
fn a_wrong_sum_is_an_error_and_leaves_no_file() {
    let trial = Trial::new();
    trial.server.fail(Faults { damaged: true, ..Faults::default() });
    failed(&trial.run(&["fetch", NAME]), &["damaged on the way", "run the same command again"]);
    assert!(!trial.blob().exists() && !trial.partial().exists());
    trial.server.fail(Faults::default());
    trial.fetched();
}

#[test]
fn a_storage_that_sends_nothing_is_given_up_after_some_tries() {
    let trial = Trial::new();
    trial.server.fail(Faults { cut_after: Some(0), ..Faults::default() });
    let output = trial.run(&["fetch", NAME]);
    failed(&output, &["trying again", "the connection"]);
    assert_eq!(trial.server.downloads().len(), 5);
}

#[test]
fn a_busy_hub_is_asked_again() {
    let trial = Trial::new();
    trial.server.fail(Faults { busy: 2, ..Faults::default() });
    trial.fetched();
}

#[test]
fn what_does_not_exist_is_named() {
    let trial = Trial::new();
    for (name, part) in [
        ("hf:some/repo/other.bin", "has no file 'other.bin'"),
        ("hf:some/repo/folder/file.bin@v9", "has no revision 'v9'"),
        ("var-d17", "did you mean 'var-d16'?"),
        ("hf:some", "expected hf:OWNER/REPO/FILE"),
    ] {
        refused(&trial.run(&["fetch", name]), &[part]);
    }
    refused(&trial.run(&["sample", "--model", "var-d17", "--out", "x.png"]), &["no such file", "'var-d16'"]);
    assert!(trial.run(&["fetch"]).stdout.starts_with(b"var-vae"));
}

#[test]
fn a_name_of_content_that_leads_out_of_the_cache_is_refused() {
    let trial = Trial::new();
    trial.server.fail(Faults { etag: Some("../../../outside".into()), ..Faults::default() });
    failed(&trial.run(&["fetch", NAME]), &["lacks the headers of a hub"]);
    assert!(!trial.home.path().join("outside").exists());
}

#[test]
fn the_bytes_are_those_of_the_commit_that_the_hub_named() {
    let trial = Trial::new();
    trial.fetched();
    let gets = trial.server.requests().into_iter().filter(|r| r.place == "hub" && r.method == "GET");
    let paths: Vec<String> = gets.map(|r| r.path).filter(|path| path.contains("/resolve/")).collect();
    assert_eq!(paths, [format!("/some/repo/resolve/{COMMIT}/folder/file.bin")]);
}

#[test]
fn after_the_branch_has_moved_on_an_earlier_file_serves_without_a_network() {
    let trial = Trial::new();
    let path = trial.fetched();
    // Another file was fetched since then, of a later commit.
    std::fs::write(trial.repository().join("refs/main"), "f".repeat(40)).unwrap();
    let offline = trial.command(&["fetch", NAME]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&offline.stdout).trim_end(), path.display().to_string());
    assert!(text(&offline).contains(&format!("using the file of commit {COMMIT}")), "{}", text(&offline));
    let named = format!("{NAME}@{}", "f".repeat(40));
    let other = trial.command(&["fetch", &named]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    refused(&other, &["is not in the cache"]);
}

#[test]
fn a_signal_ends_the_wait_for_a_busy_hub() {
    let trial = Trial::new();
    trial.server.fail(Faults { busy: 1000, retry_after: Some(60), ..Faults::default() });
    let mut command = trial.command(&["fetch", NAME]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("trying again"));
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let rest: String = lines.map(|line| line.unwrap()).collect();
    assert!(rest.contains("interrupted") && rest.contains("run the same command again"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_token_with_a_line_break_is_named_as_the_cause() {
    let trial = Trial::new();
    let output = trial.command(&["fetch", NAME]).env("HF_TOKEN", "a\nb").output().unwrap();
    refused(&output, &["correct HF_TOKEN"]);
}

#[test]
fn a_renamed_repository_is_followed() {
    let trial = Trial::new();
    let output = trial.run(&["fetch", "hf:some/old/file.bin"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn without_a_network_the_message_says_what_to_fetch_and_where_to_put_it() {
    let trial = Trial::new();
    let offline = trial.command(&["fetch", "var-d16"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    let address = format!("{}/FoundationVision/var/resolve/main/var_d16.pth", trial.server.hub());
    refused(&offline, &["HF_HUB_OFFLINE", &address, "var-model fetch var-d16", "copy its cache"]);
    assert!(trial.server.requests().is_empty());
    // A port at which nobody listens.
    let gone =
        trial.command(&["fetch", "var-d16"]).env("HF_ENDPOINT", "http://127.0.0.1:9").output().unwrap();
    assert_eq!(gone.status.code(), Some(1), "a failure of the machine");
    failed(&gone, &["cannot reach 127.0.0.1:9", "save http://127.0.0.1:9/FoundationVision"]);
    let wrong = trial.command(&["fetch", "var-d16"]).env("HF_ENDPOINT", "not an address").output().unwrap();
    refused(&wrong, &["HF_ENDPOINT"]);
}

#[test]
fn two_processes_at_once_fetch_a_file_once() {
    let trial = Trial::new();
    trial.server.fail(Faults { slow: Some(Duration::from_millis(150)), ..Faults::default() });
    let children: Vec<_> = (0..2)
        .map(|_| trial.command(&["fetch", NAME]).stdout(std::process::Stdio::piped()).spawn().unwrap())
        .collect();
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    assert!(outputs.iter().all(|output| output.status.success()));
    assert_eq!(outputs[0].stdout, outputs[1].stdout);
    assert_eq!(std::fs::read(trial.blob()).unwrap(), Trial::small());
    assert_eq!(trial.server.downloads().len(), 1);
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_that_names_it() {
    let trial = Trial::new();
    // Nothing can be made below a file.
    std::fs::write(trial.home.path().join("hub"), "").unwrap();
    let output = trial.run(&["fetch", NAME]);
    assert!(!output.status.success() && text(&output).contains("hub"), "{}", text(&output));
}

#[test]
fn a_file_with_a_published_name_wins() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("var-d16"), MODEL).unwrap();
    let trial = Trial::new();
    let mut command = trial.command(&["inspect", "var-d16"]);
    assert!(command.current_dir(folder.path()).output().unwrap().status.success());
    assert!(trial.server.requests().is_empty());
}
