//! The most memory that this process has held.
#![allow(unsafe_code)]

use tch::Device;

use crate::runtime::memory;

unsafe extern "C" {
    fn var_cuda_peak(index: i32, peak: *mut i64) -> i32;
}

/// Most bytes so far: on a CUDA device of tensors, else of the whole process. `None` if the machine does not say.
pub fn peak_bytes(device: Device) -> Option<f64> {
    let Device::Cuda(index) = device else { return memory::peak() };
    let mut peak = 0_i64;
    // SAFETY: a number to write to; errors are returned.
    let failed = unsafe { var_cuda_peak(i32::try_from(index).ok()?, &raw mut peak) };
    (failed == 0).then_some(peak as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_says_it_and_a_device_that_is_not_there_does_not() {
        assert!(peak_bytes(Device::Cpu).is_some_and(|peak| peak > 0.0));
        assert_eq!(peak_bytes(Device::Cuda(93)), None);
    }
}
