//! The device of a rank.

use tch::{Cuda, Device};
use var_tokenizer::torch::DeviceChoice;

use super::place::Place;
use crate::error::Result;

/// The device that `choice` means for the process at `place`: on a GPU, every rank of a machine takes its own, counted from
/// the chosen one.
///
/// # Errors
/// When a GPU is named that is not there.
pub fn device_of(choice: DeviceChoice, place: Option<&Place>) -> Result<Device> {
    // The first choice loads CUDA: before it, libtorch counts no device.
    let found = choice.resolve()?;
    let local = place.map_or(0, |place| place.local_rank);
    let visible = usize::try_from(Cuda::device_count()).unwrap_or(0);
    match found {
        Device::Cuda(first) => Ok(DeviceChoice::Cuda(gpu_of(first, local, visible)).resolve()?),
        other => Ok(other),
    }
}

/// The GPU of the rank with number `local` on its machine: counted from `first`. A rank that sees fewer GPUs than there are
/// ranks on the machine, such as one GPU per task of SLURM, starts again from `first`.
fn gpu_of(first: usize, local: usize, visible: usize) -> usize {
    first + local % visible.saturating_sub(first).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_of_a_machine_gets_a_gpu_that_it_sees() {
        let of = |first, visible| [0, 1, 2, 3].map(|local| gpu_of(first, local, visible));
        assert_eq!(of(0, 4), [0, 1, 2, 3]);
        assert_eq!(of(0, 1), [0; 4], "one GPU per task of SLURM");
        assert_eq!(of(2, 4), [2, 3, 2, 3], "the first two are someone else's");
        assert_eq!(of(5, 4)[0], 5, "refused by name");
    }
}
