//! Slots: each training that runs at a time has its share of the cores, and its own GPU.

/// Variables of the environment for the training in slot `slot` of `jobs`.
pub(super) fn environment(slot: usize, jobs: usize) -> Vec<(&'static str, String)> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let threads_set = ["VAR_THREADS", "OMP_NUM_THREADS"].into_iter().any(|name| set(name).is_some());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    share(slot, jobs, cores, threads_set, &gpus(set("CUDA_VISIBLE_DEVICES").as_deref(), gpu_count()))
}

fn share(
    slot: usize,
    jobs: usize,
    cores: usize,
    threads_set: bool,
    gpus: &[String],
) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    if jobs > 1 && !threads_set {
        variables.push(("OMP_NUM_THREADS", (cores / jobs).max(1).to_string()));
    }
    if jobs > 1
        && let Some(gpu) = gpus.get(slot % gpus.len().max(1))
    {
        variables.push(("CUDA_VISIBLE_DEVICES", gpu.clone()));
    }
    variables
}

/// The GPUs by name: those that the variable lists, else all.
fn gpus(visible: Option<&str>, count: usize) -> Vec<String> {
    match visible {
        Some(list) => list.split(',').map(|name| name.trim().to_owned()).collect(),
        None => (0..count).map(|i| i.to_string()).collect(),
    }
}

/// Number of GPUs that the driver shows.
fn gpu_count() -> usize {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok());
    entries.filter(|entry| number(&entry.file_name().to_string_lossy())).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_share_cores_and_take_gpus_in_turn() {
        let two = gpus(Some("3, 5"), 8);
        let of = |slot, jobs| share(slot, jobs, 16, false, &two);
        assert_eq!(of(0, 1), []);
        assert_eq!(of(0, 4), [("OMP_NUM_THREADS", "4".to_owned()), ("CUDA_VISIBLE_DEVICES", "3".into())]);
        assert_eq!(of(3, 4)[1].1, "5");
        assert_eq!(share(1, 2, 1, false, &[]), [("OMP_NUM_THREADS", "1".to_owned())]);
        assert_eq!(share(1, 2, 8, true, &gpus(None, 2)), [("CUDA_VISIBLE_DEVICES", "1".to_owned())]);
    }
}
