//! How a program prepares its process for libtorch.
#![allow(unsafe_code)]

use std::process::{Command, Stdio};
use std::sync::Once;

/// Turns that an OpenMP thread waits at a barrier before it sleeps, some tens of microseconds.
const SPINS: &str = "3000";
/// Set in the child process that tries a bf16 product.
const PROBE: &str = "VAR_BF16_PROBE";

unsafe extern "C" {
    fn var_keep_memory();
    fn var_probe_bf16(fail: i32);
    fn var_set_cuda_options() -> i32;
}

/// Prepares this process: for programs, benches and tests, before the first tensor. Further calls do nothing. A program
/// parses its command line first: help and commands without tensors need none of this. A library user may call it for
/// speed; results do not depend on it.
///
/// It changes the whole process:
/// - **OpenMP**: restarts the program with `GOMP_SPINCOUNT` set, unless the user has chosen a policy.
/// - **Allocator**: tensors come from a pool, and freed memory stays in the process (`pool.cpp`).
/// - **bf16 guard**: if the processor announces AMX, a child process (the same program again) tries a bf16 product. If
///   the child dies, oneDNN and MKL are limited to AVX-512 by their environment variables.
/// - **CUDA**: loads the CUDA half of libtorch if there is a driver; forbids TF32, reduced sums in products, and cuDNN's
///   attention.
/// - **Threads**: `VAR_THREADS`, else libtorch's default (one per core).
/// - **Signals** come to a thread that does not compute (`signals.rs`).
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        if let Some(wish) = std::env::var_os(PROBE) {
            // SAFETY: takes a flag, and ends the process.
            unsafe { var_probe_bf16(i32::from(wish == "fail")) };
        }
        spin_briefly();
        // SAFETY: sets libtorch's allocator and glibc's options; no tensor exists yet, and those that do keep their own
        // way to be freed.
        unsafe { var_keep_memory() };
        guard_bf16();
        prepare();
        set_threads();
        // The last: programs that are started above do not inherit it.
        crate::runtime::signals::to_a_thread_of_their_own();
    });
}

/// What numbers depend on: loads the CUDA half of libtorch if there is a driver, and sets its options. Every choice of a
/// device calls it. Further calls do nothing.
pub(crate) fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        super::cuda::load();
        // SAFETY: takes nothing and only stores flags.
        let _ = unsafe { var_set_cuda_options() };
    });
}

/// Starts the program anew with a short OpenMP spin, unless the person has set a policy.
///
/// OpenMP's threads spin at every barrier, by default for so long that, when anything else wants a core, the
/// one that is waited for is the one that does not run: 40 steps of a 0.2M model took 57 s so, and 2.3 s
/// with a short spin, in the same minute. No spin at all costs a quiet machine up to a fifth in wake-ups
/// (docs/performance.md). The OpenMP library reads the variable when it is loaded, which is before `main`;
/// hence the new start, which happens on the main thread before anything else or not at all (cargo sets the
/// variable for tests and benches).
#[cfg(unix)]
fn spin_briefly() {
    use std::os::unix::process::CommandExt;
    let chosen = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"].iter().any(|name| std::env::var_os(name).is_some());
    if chosen || std::thread::current().name() != Some("main") {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    // Returns only when it fails, and then the work goes on as it is.
    let _ = Command::new(program).arg0(name).args(arguments).env("GOMP_SPINCOUNT", SPINS).exec();
}

#[cfg(not(unix))]
fn spin_briefly() {}

/// Some virtual machines announce AMX and then kill the process that uses it.
fn guard_bf16() {
    if std::env::var_os("ONEDNN_MAX_CPU_ISA").is_some() {
        return;
    }
    // VAR_BF16_TEST tries the guard on a machine without AMX: the value is handed to the child.
    let test = std::env::var_os("VAR_BF16_TEST");
    let announced = || std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" amx_"));
    if test.is_none() && !announced() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // With the same arguments the child comes to `start` as this process did, and ends there.
    let outcome = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(PROBE, test.unwrap_or_else(|| "1".into()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if outcome.is_ok_and(|status| status.success()) {
        return;
    }
    // SAFETY: `start` comes first, before other threads read the environment; oneDNN and MKL read
    // these at their first use.
    unsafe {
        std::env::set_var("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16");
        std::env::set_var("MKL_ENABLE_INSTRUCTIONS", "AVX512");
    }
}

fn set_threads() {
    let wish = std::env::var("VAR_THREADS").ok().and_then(|text| text.parse::<i32>().ok());
    if let Some(threads) = wish.filter(|n| (1..=4096).contains(n)) {
        tch::set_num_threads(threads);
    }
}
