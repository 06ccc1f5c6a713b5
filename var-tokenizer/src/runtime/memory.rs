//! How much memory this process has taken, and how much the machine can still give, as Linux tells it.

/// Bytes of the field `name` in the text of a file of `/proc`.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: f64 = rest.split_whitespace().next()?.parse().ok()?;
    Some(1024.0 * kilobytes)
}

/// Bytes of a process that trains, without its tensors: libtorch, the kernels that oneDNN builds, small blocks.
/// 0.17 to 0.2 GB measured (docs/performance.md).
const PROGRAM: f64 = 0.19e9;

/// What holes between tensors take, as a share of them: 1 to 8% measured.
const HOLES: f64 = 0.05;

/// Bytes of a process that holds at most so many bytes of tensors on the processor.
pub fn of_process(tensors: f64) -> f64 {
    PROGRAM + (1.0 + HOLES) * tensors
}

/// Most bytes that this process has had in memory so far; `None` where the machine does not say.
pub fn peak() -> Option<f64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// Bytes that the machine can still give; without end where it does not say.
pub fn free() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field(&text, "MemAvailable").unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "VmHWMark:\t1 kB\nVmHWM:\t   2048 kB\n";
        assert_eq!(field(text, "VmHWM"), Some(2048.0 * 1024.0));
        assert_eq!(field(text, "VmRSS"), None);
    }

    #[test]
    fn a_process_has_taken_something_and_the_machine_has_something_left() {
        assert!(peak().is_none_or(|bytes| bytes > 1e6) && free() > 1e6);
    }
}
