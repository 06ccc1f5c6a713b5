//! A clone, a cache and a PATH of the test's own; nothing of the machine is seen but `/bin/sh`.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tempfile::TempDir;

use crate::program::write_program;

/// What the set-up takes for the sizes of its files, as far as it knows a whole libtorch by them.
const LIBTORCH: [(&str, u64); 9] = [
    ("lib/libtorch_cpu.so", 451_209_129),
    ("lib/libc10.so", 1_498_969),
    ("lib/libgomp.so.1", 254_009),
    ("lib/libcudart.so.13", 704_288),
    ("lib/libcupti.so.13", 4_152_208),
    ("lib/libtorch.so", 23),
    ("include/torch/csrc/api/include/torch/torch.h", 10),
    ("licences/LICENSE", 351_341),
    ("licences/LICENSE-CUDA", 59_262),
];

pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// A clone without set-up on a machine that has compilers, make and nothing else.
    pub fn new() -> Self {
        let sandbox = Self { folder: tempfile::tempdir().unwrap() };
        for folder in ["clone/xtask", "programs", "home"] {
            std::fs::create_dir_all(sandbox.path(folder)).unwrap();
        }
        std::fs::write(sandbox.path("clone/Cargo.toml"), "").unwrap();
        for tool in ["c++", "cc", "make"] {
            sandbox.program(tool, "");
        }
        sandbox
    }

    /// The same with everything that a build needs in place.
    pub fn ready() -> Self {
        let sandbox = Self::new();
        sandbox.cmake("3.30.1");
        sandbox.fill_libtorch(&sandbox.kit());
        sandbox.xtask().arg("setup").assert().success();
        sandbox
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the set-up keeps libtorch.
    pub fn kit(&self) -> PathBuf {
        self.path("home/.cache/var-rs/libtorch-2.11.0-cpu")
    }

    /// Puts a shell script on the PATH; it finds the usual small programs itself.
    pub fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.path("programs").join(name);
        write_program(&path, &format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n"));
        path
    }

    /// A cmake that says the version.
    pub fn cmake(&self, version: &str) -> PathBuf {
        self.program("cmake", &format!("echo cmake version {version}"))
    }

    /// A python3 whose pip does `download` (shell; `$folder` is where wheels belong).
    pub fn pip(&self, download: &str) {
        let script = format!(
            r#"test "$1 $2" = "-m pip" || exit 9
               case "$3" in
                 --version) echo "pip 99.0 from nowhere" ;;
                 download) while test "$1" != -d; do shift; done; folder=$2; wheel=$3; {download} ;;
               esac"#
        );
        self.program("python3", &script);
    }

    /// Fills `folder` with files of the sizes of a whole libtorch; they are sparse and take no room.
    pub fn fill_libtorch(&self, folder: &Path) {
        for (name, bytes) in LIBTORCH {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
        }
        std::fs::write(folder.join("build-version"), "2.11.0+cu130").unwrap();
    }

    /// Puts the weights of networks into the cache, as far as their size goes, and says where those of the feature network
    /// are.
    pub fn fill_features(&self) -> PathBuf {
        let cache = self.path("home/.cache/var-rs");
        for (name, bytes) in [
            ("efficientnet-lite0-0.1.0/efficientnet_lite0.pth", 18_826_032),
            ("efficientnet-lite0-0.1.0/LICENSE", 586),
            ("st-lpips-0.0.2/st_lpips_alex.pth", 9_899_296),
            ("st-lpips-0.0.2/st_lpips_vgg.pth", 58_907_298),
            ("st-lpips-0.0.2/LICENSE", 1_336),
        ] {
            let path = cache.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
        }
        cache.join("efficientnet-lite0-0.1.0/efficientnet_lite0.pth")
    }

    /// Puts the headers that the NCCL library is compiled with into the cache, as far as their size goes, and a
    /// source into the clone.
    pub fn fill_nccl(&self) {
        let folder = self.path("home/.cache/var-rs/nccl-2.28.9-headers");
        let files = [
            ("include/cuda_runtime_api.h", 607_504),
            ("include/crt/host_config.h", 11_344),
            ("include/nv/target", 7_724),
            ("include/nccl.h", 25_657),
            ("LICENSE-nccl", 1_895),
        ];
        for (name, bytes) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
        }
        let source = self.path("clone/var-train/src/distributed/nccl");
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(source.join("nccl.cpp"), "").unwrap();
    }

    /// A cargo that writes its arguments to `cargo.log`, names the scripts on the PATH as what it built,
    /// and fails at the subcommand `failing`.
    pub fn cargo(&self, failing: &str) {
        let (log, programs) = (self.path("cargo.log"), self.path("programs"));
        let script = format!(
            r#"echo "$@" >> '{log}'
               test "$1" = "{failing}" && exit 101
               test "$1" = build || exit 0
               for name in var-tokenizer var-model var-train var-eval var-scaling; do
                 printf '{{"target":{{"name":"%s","kind":["bin"]}},"profile":{{"test":false}},' $name
                 printf '"executable":"{programs}/%s"}}\n' $name
               done"#,
            log = log.display(),
            programs = programs.display()
        );
        self.program("cargo", &script);
    }

    /// What [`Sandbox::cargo`] was asked to do, a line a call.
    pub fn cargo_calls(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path("cargo.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// The binary under test, in the root of the clone, with nothing of the caller's environment.
    pub fn xtask(&self) -> Command {
        let mut command = Command::cargo_bin("xtask").unwrap();
        command
            .env_clear()
            .env("CARGO_MANIFEST_DIR", self.path("clone/xtask"))
            .env("CARGO", self.path("programs/cargo"))
            .env("PATH", self.path("programs"))
            .env("HOME", self.path("home"))
            .current_dir(self.path("clone"));
        command
    }

    /// Everything in the cache, as paths below it.
    pub fn cached(&self) -> Vec<String> {
        fn walk(folder: &Path, base: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                found.push(path.strip_prefix(base).unwrap().to_string_lossy().into_owned());
                if path.is_dir() {
                    walk(&path, base, found);
                }
            }
        }
        let base = self.path("home/.cache/var-rs");
        let mut found = Vec::new();
        walk(&base, &base, &mut found);
        found.sort();
        found
    }
}
