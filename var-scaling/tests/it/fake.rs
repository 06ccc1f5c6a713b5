//! Stand-ins for the programs that a sweep starts: shell scripts that behave as agreed, in a second.

use std::path::{Path, PathBuf};
use std::process::Child;

use assert_cmd::Command;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::write_program;
use crate::wait::while_alive;

/// `var-tokenizer`: writes the file of `--out`, or the folder of `--folder`. With `$FAKE/no-tokens` it fails with status 2, with `$FAKE/odd-result` its
/// result has another form.
const TOKENIZER: &str = r#"#!/bin/sh
echo "tokenizer $*" >> "$FAKE/calls"
what=$1; out=
while [ $# -gt 0 ]; do
  case $1 in --out) out=$2;; --folder) folder=$2;; esac
  shift
done
if [ -e "$FAKE/no-tokens" ]; then echo "error: photos: none can be read" >&2; exit 2; fi
if [ -n "$folder" ]; then
  mkdir -p "$folder/originals" "$folder/reconstructions"
  echo '{"event":"done"}'
  exit 0
fi
if [ "$what" != encode ]; then
  cp "$FAKE/image.png" "$out"
  echo '{"event":"done","scores":{"psnr":23.5,"l1":0.25},"images":6,"bad":0,"out":"strip.png","folder":null}'
  exit 0
fi
echo tokens > "$out"
if [ -e "$FAKE/odd-result" ]; then echo '{"event":"done","train":"many"}'; exit 0; fi
echo '{"event":"done","train":64,"val":8,"bad":1,"images_per_second":100.5,"out":"tokens.h5"}'
"#;

/// `var-train`: writes a run folder, metrics and a loss that falls with the width. Files in $FAKE change the run of that
/// name: `fail-NAME`, `die-NAME` (killed half-way, once), `slow-NAME` (runs until SIGTERM, saves and exits with 3),
/// `nan-NAME`, `early-NAME` (fails before it writes anything).
const TRAIN: &str = r#"#!/bin/sh
echo "train $*" >> "$FAKE/calls"
what=$1; out=; width=0; depth=0; steps=10; resume=no; precision=f32
while [ $# -gt 0 ]; do
  case $1 in
    --precision) precision=$2;;
    --out) out=$2;; --width) width=$2;; --depth) depth=$2;; --resume) resume=yes;;
    --set) case $2 in steps=*) steps=${2#steps=};; esac;;
  esac
  shift
done
name=$(basename "$out")
echo "$OMP_NUM_THREADS" > "$FAKE/threads-$name"
if [ -e "$FAKE/early-$name" ]; then echo "error: libtorch: out of memory" >&2; exit 1; fi
mkdir -p "$out/checkpoints"
if [ "$resume" = no ] && [ -s "$out/metrics.jsonl" ]; then echo "error: $out: already holds a run" >&2; exit 2; fi
echo settings > "$out/config.toml"
if [ "$what" = tokenizer ]; then
  echo weights > "$out/tokenizer.safetensors"
  echo '{"event":"done","parameters":9,"psnr":22.25,"codes_used":500.0,"perplexity":400.5,"codes_per_scale":[9.0],"bad":0,"seconds":1.5,"precision":"f32","tokenizer":"tokenizer.safetensors","peak_memory_bytes":null}'
  exit 0
fi
if [ -e "$FAKE/fail-$name" ]; then echo "noise" >&2; echo "error: step 3: the loss is NaN" >&2; exit 1; fi
echo '{"kind":"train","step":1,"loss_all":6.1,"err_all":0.9,"loss":6.1}' >> "$out/metrics.jsonl"
echo "{\"event\":\"progress\",\"step\":1,\"steps\":$steps,\"loss\":6.1,\"seconds_left\":2}"
if [ -e "$FAKE/die-$name" ]; then rm "$FAKE/die-$name"; mkdir -p "$out/checkpoints/step-00000001"; kill -9 $$; fi
if [ -e "$FAKE/slow-$name" ]; then
  trap 'echo saved > "$out/checkpoints/saved"; echo "error: interrupted at step 1; saved" >&2; exit 3' TERM
  echo $$ > "$FAKE/starting-$name"
  mv "$FAKE/starting-$name" "$FAKE/started-$name"
  while [ -e "$FAKE/slow-$name" ]; do sleep 0.05; done
fi
params=$((depth * 12 * width * width + 1000))
for step in $((steps / 2)) "$steps"; do
  awk -v p="$params" -v s="$step" -v n="$steps" 'BEGIN {
    l = 4 + 30 * p ^ -0.3 + (1 - s / n)
    printf "{\"kind\":\"val\",\"step\":%d,\"loss_all\":%.9f,\"loss_last\":%.9f,\"err_all\":%.9f,\"err_last\":%.9f}\n",
      s, l, l + 0.1, l / 10, l / 9 }' >> "$out/metrics.jsonl"
done
echo '["cat","dog","fish"]' > "$out/classes.json"
awk -v p="$params" -v s="$steps" -v precision="$precision" -v nan="$( [ -e "$FAKE/nan-$name" ] && echo 1 || echo 0 )" 'BEGIN {
  l = 4 + 30 * p ^ -0.3
  loss = nan ? "null" : sprintf("%.9f", l)
  printf "{\"event\":\"done\",\"parameters\":%d,\"tokens\":%d,\"flops\":%.6e,\"val_loss_all\":%s,\"val_loss_last\":%.9f,\"val_err_all\":%.9f,\"val_err_last\":%.9f,\"seconds\":1.5,\"precision\":\"%s\"}\n",
    p, s * 100, p * s * 600.0, loss, l + 0.1, l / 10, l / 9, precision }' > "$out/result.json"
cat "$out/result.json"
"#;

/// `var-model`: `sample` writes an image, `speed` prints times: 10 images per second for the first model, 20 for the
/// second, and so on, at batch 1; ten times as many at batches 8 and 64. With `$FAKE/no-samples` it fails.
const MODEL: &str = r#"#!/bin/sh
echo "model $*" >> "$FAKE/calls"
if [ -e "$FAKE/no-samples" ]; then echo "error: no memory for samples" >&2; exit 1; fi
what=$1; rows=; rate=0
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2;;
    --run|--also)
      rate=$((rate + 10))
      rows="$rows,{\"model\":\"$2/model.safetensors\",\"batch\":1,\"images_per_second\":$rate.0}"
      rows="$rows,{\"model\":\"$2/model.safetensors\",\"batch\":8,\"images_per_second\":${rate}0.0}"
      rows="$rows,{\"model\":\"$2/model.safetensors\",\"batch\":64,\"images_per_second\":${rate}0.0}";;
  esac
  shift
done
if [ "$what" = speed ]; then
  echo "{\"event\":\"done\",\"precision\":\"f32\",\"device\":\"cpu\",\"threads\":2,\"rows\":[${rows#,}]}"
  exit 0
fi
cp "$FAKE/image.png" "$out"
"#;

/// `var-eval score`: writes a report whose distance is 40 plus 1 for each earlier call. With `$FAKE/no-score` it fails
/// before it writes one, with `$FAKE/no-value` after it wrote one without a distance.
const EVAL: &str = r#"#!/bin/sh
if [ -e "$FAKE/no-score" ]; then echo "error: the network is missing; run: cargo xtask setup --features" >&2; exit 2; fi
before=$(grep -c ^eval "$FAKE/calls")
echo "eval $*" >> "$FAKE/calls"
while [ $# -gt 0 ]; do case $1 in --out) out=$2;; esac; shift; done
mkdir -p "$out"
if [ -e "$FAKE/no-value" ]; then
  sed 's/"metric": "fd"/"metric": "is"/' "$FAKE/metrics.json" | sed "s/@VALUE@/1.5/" > "$out/metrics.json"
  echo "error: fd: the covariance is invalid" >&2
  exit 1
fi
sed "s/@VALUE@/$((40 + before)).5/" "$FAKE/metrics.json" > "$out/metrics.json"
echo '{"event":"done"}'
"#;

/// The sizes of the default sweep.
pub const SIZES: [&str; 6] = ["1x32", "2x64", "3x96", "4x128", "5x160", "6x192"];

/// The columns that every table of results needs.
pub const COLUMNS: [&str; 9] = [
    "name",
    "depth",
    "width",
    "params",
    "flops",
    "val_loss_all",
    "val_loss_last",
    "val_err_all",
    "val_err_last",
];

/// A folder with the stand-ins and a sweep folder.
pub struct Fake {
    place: tempfile::TempDir,
}

impl Fake {
    /// Writes the stand-ins.
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let bin = place.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let programs =
            [("var-tokenizer", TOKENIZER), ("var-train", TRAIN), ("var-model", MODEL), ("var-eval", EVAL)];
        for (name, text) in programs {
            write_program(&bin.join(name), text);
        }
        let report = include_str!("../data/metrics.json");
        let report =
            report.replacen("44551.9382107642", "@VALUE@", 1).replacen("39298.21052346652", "39.5", 1);
        std::fs::write(place.path().join("metrics.json"), report.replacen("50623.583924184546", "55.5", 1))
            .unwrap();
        image::RgbImage::from_pixel(34, 34, image::Rgb([200, 80, 20]))
            .save(place.path().join("image.png"))
            .unwrap();
        Self { place }
    }

    /// A path inside the folder of the stand-ins.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Makes a file that changes what happens to a run.
    pub fn mark(&self, name: &str) {
        std::fs::write(self.path(name), "").unwrap();
    }

    /// Makes `classes` class folders with ten images of 2×2 pixels each.
    pub fn images(&self, name: &str, classes: usize) {
        for class in 0..classes {
            let folder = self.path(name).join(format!("class-{class}"));
            std::fs::create_dir_all(&folder).unwrap();
            for image in 0..10 {
                let bytes = b"P6 2 2 255\nabcdefghijkl";
                std::fs::write(folder.join(format!("{image}.ppm")), bytes).unwrap();
            }
        }
    }

    /// Removes such a file.
    pub fn unmark(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// The sweep folder.
    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// `var-scaling` with the stand-ins in place.
    pub fn program(&self) -> Command {
        let mut command = Command::cargo_bin("var-scaling").unwrap();
        command
            .env("VAR_BIN_DIR", self.path("bin"))
            .env("FAKE", self.place.path())
            .current_dir(self.place.path());
        command
    }

    /// `var-scaling sweep --out …` with these arguments.
    pub fn sweep(&self, arguments: &[&str]) -> Command {
        let mut command = self.program();
        command.arg("sweep").arg("--out").arg(self.out()).args(["--set", "steps=10"]).args(arguments);
        command
    }

    /// The same as a plain process, to send signals to.
    pub fn spawn(&self, arguments: &[&str]) -> std::process::Child {
        self.spawn_command("sweep", arguments)
    }

    /// Another command on the same folder, as a plain process.
    pub fn spawn_command(&self, command: &str, arguments: &[&str]) -> std::process::Child {
        std::process::Command::new(assert_cmd::cargo::cargo_bin("var-scaling"))
            .env("VAR_BIN_DIR", self.path("bin"))
            .env("FAKE", self.place.path())
            .current_dir(self.place.path())
            .args([command, "--out"])
            .arg(self.out())
            .args(["--set", "steps=10"])
            .args(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until a file appears, as long as `child` lives.
    pub fn wait_for(&self, name: &str, child: &mut Child) {
        while_alive(std::slice::from_mut(child), name, || self.path(name).exists());
    }

    /// The calls of the stand-ins so far.
    pub fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Calls that trained the run of this name.
    pub fn trained(&self, name: &str) -> Vec<String> {
        let folder = format!("/runs/{name} ");
        self.calls().into_iter().filter(|c| c.starts_with("train model") && c.contains(&folder)).collect()
    }

    /// Lines of `results.jsonl`.
    pub fn results(&self) -> Vec<Value> {
        lines(&self.out().join("results.jsonl"))
    }

    /// Writes the results into a CSV table with these columns, and returns its path.
    pub fn table(&self, columns: &[&str]) -> PathBuf {
        let path = self.path("table.csv");
        let mut table = csv::Writer::from_path(&path).unwrap();
        table.write_record(columns).unwrap();
        for result in self.results() {
            let cell = |column: &&str| match &result[*column] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            table.write_record(columns.iter().map(cell)).unwrap();
        }
        table.flush().unwrap();
        path
    }

    /// `fits.json`.
    pub fn fits(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.out().join("fits.json")).unwrap()).unwrap()
    }
}

/// Sends a signal to a process.
pub fn stop(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

/// Waits for a process: its exit status (-1 after a signal), and what it wrote to its standard error.
pub fn end(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
}

/// JSON lines of a file.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Names in results.
pub fn names(results: &[Value]) -> Vec<&str> {
    results.iter().map(|r| r["name"].as_str().unwrap()).collect()
}
