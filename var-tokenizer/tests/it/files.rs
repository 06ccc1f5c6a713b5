//! Where output goes and what becomes of what was there.

use std::fs::Permissions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use var_tokenizer::files::{
    check_lasting_place, check_place, copy_atomically, put_in_place, write_atomically, write_with,
};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn output_through_a_link_replaces_the_target_and_keeps_the_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("far")).unwrap();
    std::fs::write(path("far/target"), "old").unwrap();
    symlink("far/target", path("near")).unwrap();
    symlink("near", path("link")).unwrap();
    symlink("far/new", path("dangling")).unwrap();
    let is_link = |name: &str| std::fs::symlink_metadata(path(name)).unwrap().is_symlink();
    for (link, target) in [("link", "far/target"), ("dangling", "far/new")] {
        check_place(&path(link)).unwrap();
        write_atomically(&path(link), b"one").unwrap();
        assert_eq!(std::fs::read(path(target)).unwrap(), b"one");
        copy_atomically(&path(target), &path(link)).unwrap();
        std::fs::write(path("beside"), "two").unwrap();
        put_in_place(&path("beside"), &path(link)).unwrap();
        assert_eq!(std::fs::read(path(target)).unwrap(), b"two");
        assert!(is_link(link) && is_link("near") && !path("beside").exists());
    }
    assert_eq!(names(&path("far")), ["new", "target"]);
    symlink("round", path("round")).unwrap();
    symlink("nowhere/x", path("lost")).unwrap();
    for (link, part) in [("round", "leads back to itself"), ("lost", "no such folder")] {
        let message = check_place(&path(link)).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        assert!(write_atomically(&path(link), b"x").is_err());
    }
}

#[test]
fn output_to_a_device_or_a_pipe_goes_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    check_place(&pipe).unwrap();
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });
    write_with(&pipe, |file| {
        file.write_all(b"xbc").unwrap();
        // Writers of archives go back.
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(b"a").unwrap();
        Ok(())
    })
    .unwrap();
    assert_eq!(reader.join().unwrap(), b"abc");
    assert_eq!(names(folder.path()), ["pipe"]);
    let null = Path::new("/dev/null");
    check_place(null).unwrap();
    write_atomically(null, b"gone").unwrap();
    assert!(!std::fs::metadata(null).unwrap().is_file());
    assert!(write_atomically(Path::new("/dev/full"), b"x").is_err());
    // What can be resumed needs a file.
    let message = check_lasting_place(null).unwrap_err().to_string();
    assert!(message.contains("is a device or a pipe; name a file"), "{message}");
}

#[test]
fn an_open_file_of_a_process_is_appended_to() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"before ").unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    write_atomically(Path::new(&path), b"after").unwrap();
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before after");
}

#[test]
fn a_new_file_has_the_mode_of_the_umask_and_a_replaced_one_keeps_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // What the system gives to any new file.
    std::fs::write(path("plain"), "").unwrap();
    write_atomically(&path("new"), b"x").unwrap();
    assert_eq!(mode(&path("new")), mode(&path("plain")));
    for kept in [0o600, 0o664, 0o640] {
        std::fs::set_permissions(path("plain"), Permissions::from_mode(kept)).unwrap();
        write_atomically(&path("plain"), b"x").unwrap();
        assert_eq!(mode(&path("plain")), kept);
        std::fs::write(path("beside"), "x").unwrap();
        put_in_place(&path("beside"), &path("plain")).unwrap();
        assert_eq!(mode(&path("plain")), kept);
    }
}
