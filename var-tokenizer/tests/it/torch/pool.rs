//! Large tensors lie in a pool of their own.

use proptest::prelude::*;
use tch::{Device, Kind, Tensor};
use var_tokenizer::torch::start;

/// A tensor of so many KiB, full of `mark`.
fn marked(kib: i64, mark: i64) -> Tensor {
    Tensor::full([kib, 256], mark, (Kind::Int, Device::Cpu))
}

fn holds(tensor: &Tensor, mark: i64) -> bool {
    tensor.min().int64_value(&[]) == mark && tensor.max().int64_value(&[]) == mark
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn tensors_keep_their_values_whatever_is_taken_and_freed_around_them(
        steps in prop::collection::vec((100_i64..6000, any::<prop::sample::Index>(), any::<bool>()), 1..40)
    ) {
        start();
        let mut held: Vec<(Tensor, i64)> = Vec::new();
        for (mark, (kib, which, free)) in steps.into_iter().enumerate() {
            if free && !held.is_empty() {
                let (tensor, mark) = held.swap_remove(which.index(held.len()));
                prop_assert!(holds(&tensor, mark));
            } else {
                let tensor = marked(kib, mark as i64);
                prop_assert_eq!(tensor.data_ptr() as usize % 64, 0);
                held.push((tensor, mark as i64));
            }
        }
        for (tensor, mark) in &held {
            prop_assert!(holds(tensor, *mark));
        }
    }
}

#[test]
fn threads_do_not_get_each_others_memory() {
    start();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for round in 0..40 {
                    let mark = thread * 1000 + round;
                    let (a, b) = (marked(1024 + 97 * round, mark), marked(1500, -mark));
                    assert!(holds(&a, mark));
                    drop(a);
                    assert!(holds(&b, -mark));
                }
            });
        }
    });
}

#[test]
fn freed_memory_is_taken_again_by_a_tensor_of_the_same_size() {
    start();
    // Other tests run beside this one and may take it first, but not every time.
    let again = (0..100).any(|_| {
        // Something behind it, so that it does not join the rest.
        let (first, _behind) = (marked(3001, 1), marked(3001, 2));
        let at = first.data_ptr();
        drop(first);
        marked(3001, 3).data_ptr() == at
    });
    assert!(again);
}

#[test]
fn more_than_the_machine_has_is_an_error() {
    start();
    let error = Tensor::f_empty([1 << 60], (Kind::Int8, Device::Cpu)).unwrap_err().to_string();
    assert!(error.contains("allocate memory"), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn after_start_a_large_tensor_lies_in_the_reserved_range() {
    start();
    let tensor = marked(4096, 1);
    let address = tensor.data_ptr() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let range = maps.lines().find_map(|line| {
        let (begin, end) = line.split(' ').next()?.split_once('-')?;
        let (begin, end) = (usize::from_str_radix(begin, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (begin..end).contains(&address).then_some(end - begin)
    });
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib: usize = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    // The pool reserves twice the memory of the machine; nothing else is as large.
    assert!(range.unwrap() > kib * 1024, "{range:?} bytes around the tensor");
}
