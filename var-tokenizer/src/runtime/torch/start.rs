//! What must happen before the first tensor: allocator, bf16 guard, threads, CUDA, signals.
#![allow(unsafe_code)]

use std::process::{Command, Stdio};
use std::sync::Once;

/// Turns that an OpenMP thread waits at a barrier before it sleeps, some tens of microseconds.
const SPINS: &str = "3000";

/// Prepares libtorch. The first statement of every binary, test and bench; further calls do nothing.
///
/// - **Allocator** (glibc): keeps large blocks. The C++ half sets it even before `main` (`shim.cpp`).
/// - **bf16 guard**: where the processor announces AMX, a child process tries a bf16 product; if it
///   dies, oneDNN and MKL are held to AVX-512.
/// - **Threads**: `VAR_THREADS`, else libtorch's default (one a core). Idle ones soon
///   sleep at barriers: spinning costs dearly whenever anything else wants a core.
/// - **CUDA** is loaded if there is a driver.
/// - **Signals** come to a thread that does not compute (`signals.rs`).
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        spin_briefly();
        guard_bf16();
        super::cuda::load();
        forbid_tf32();
        set_threads();
        // The last: programs that are started above do not inherit it.
        crate::runtime::signals::to_a_thread_of_their_own();
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
    if std::env::var_os("ONEDNN_MAX_CPU_ISA").is_some() || std::env::var_os("VAR_BF16_PROBE").is_some() {
        return;
    }
    // VAR_BF16_TEST tries the guard on a machine without AMX: the value is handed to the child.
    let test = std::env::var_os("VAR_BF16_TEST");
    let announced = || std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains(" amx_"));
    if test.is_none() && !announced() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // The C++ half sees the variable before `main` and ends the child there.
    let outcome = Command::new(program)
        .env("VAR_BF16_PROBE", test.unwrap_or_else(|| "1".into()))
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

fn forbid_tf32() {
    unsafe extern "C" {
        fn var_forbid_tf32() -> i32;
    }
    // SAFETY: takes nothing and only stores a flag.
    let _ = unsafe { var_forbid_tf32() };
}

fn set_threads() {
    let wish = std::env::var("VAR_THREADS").ok().and_then(|text| text.parse::<i32>().ok());
    if let Some(threads) = wish.filter(|n| (1..=4096).contains(n)) {
        tch::set_num_threads(threads);
    }
}
