//! Devices of a plan: their speed and memory, and how a training is divided over them.

use serde::Serialize;
use var_model::cost::TrainingStep;
use var_model::{TransformerConfig, cost};

use crate::error::{Error, Result};

/// Share of the peak that trainings are assumed to reach: that of the published d16, whose 229 EFLOP took 2.5 days on 16 A100.
pub const MFU: f64 = 0.21;
/// Share of the memory that a training may fill: the rest is for the program, libraries and fragments.
const USABLE: f64 = 0.9;
/// FLOPs of a step that computes its blocks again: four forward passes instead of three.
const AGAIN: f64 = 4.0 / 3.0;
/// Fewest images of a micro-batch that keep a device busy.
const FEW: u64 = 4;

/// A kind of accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accelerator {
    /// Short name.
    pub name: &'static str,
    /// Dense bf16 FLOPs per second, by the data sheet of the maker.
    pub peak: f64,
    /// Bytes of memory.
    pub memory: f64,
}

/// Those that have a name here.
const ACCELERATORS: [Accelerator; 3] = [
    Accelerator { name: "a100", peak: 312e12, memory: 80e9 },
    Accelerator { name: "h100", peak: 989e12, memory: 80e9 },
    Accelerator { name: "h200", peak: 989e12, memory: 141e9 },
];

impl std::str::FromStr for Accelerator {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = ACCELERATORS.map(|known| known.name).join(", ");
        let found = ACCELERATORS.into_iter().find(|known| known.name == text.to_lowercase());
        found.ok_or_else(|| {
            Error::config(format!(
                "accelerator {text}: known are {names}; for another one, give the speed of all together instead"
            ))
        })
    }
}

/// The devices of a training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Devices {
    /// Their kind.
    pub accelerator: Accelerator,
    /// Share of the peak that is reached.
    pub mfu: f64,
    /// Number of devices, with one process each.
    pub ranks: u64,
    /// Bytes of memory of a device.
    pub memory: f64,
    /// Price of an hour of a device, in any currency.
    pub price: Option<f64>,
}

impl Devices {
    /// `ranks` devices of a kind, with its memory, at the usual share of the peak.
    ///
    /// # Errors
    /// When there are none.
    pub fn new(accelerator: Accelerator, ranks: u64) -> Result<Self> {
        if !(1..=1 << 20).contains(&ranks) {
            return Err(Error::config(format!("{ranks} ranks: expected 1 to {}", 1 << 20)));
        }
        Ok(Self { accelerator, mfu: MFU, ranks, memory: accelerator.memory, price: None })
    }

    /// FLOPs per second of all.
    pub fn rate(&self) -> f64 {
        self.accelerator.peak * self.mfu * self.ranks as f64
    }

    /// The speed in words.
    pub(crate) fn assumption(&self) -> String {
        let Accelerator { name, peak, .. } = self.accelerator;
        format!("{} × {name}, {:.0}% of {:.0} TFLOP/s each", self.ranks, 100.0 * self.mfu, peak / 1e12)
    }

    /// Seconds for a training of `flops`, with the blocks that the placement computes again.
    pub(crate) fn seconds(&self, flops: f64, placement: Option<&Placement>) -> f64 {
        let again = if placement.is_some_and(|place| place.recompute) { AGAIN } else { 1.0 };
        again * flops / self.rate()
    }

    /// Hours of one device, if all devices work for `seconds`.
    pub fn hours(&self, seconds: f64) -> f64 {
        seconds * self.ranks as f64 / 3600.0
    }
}

/// How a step is divided.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Placement {
    /// Images of a rank in one micro-batch.
    pub images: u64,
    /// Micro-batches per step.
    pub accumulation: u64,
    /// Whether the backward pass computes blocks again, which costs a third more FLOPs.
    pub recompute: bool,
    /// Whether the ranks divide the optimizer's moments (ZeRO, stage 1).
    pub zero: bool,
    /// Bytes of a rank, estimated.
    pub memory: f64,
}

/// The placement with the least extra work that fits: first more micro-batches, then ZeRO, then recomputation. `None` if a
/// single image does not fit.
///
/// # Errors
/// When the ranks do not divide the batch.
pub(crate) fn place(
    config: &TransformerConfig,
    batch: u64,
    average: bool,
    devices: &Devices,
) -> Result<Option<Placement>> {
    let ranks = devices.ranks;
    if !batch.is_multiple_of(ranks) {
        return Err(Error::config(format!(
            "a batch of {batch} images cannot be divided by {ranks} ranks; choose a divisor of {batch}"
        )));
    }
    let each = batch / ranks;
    let whole: Vec<u64> = (1..=each).filter(|parts| each.is_multiple_of(*parts)).collect();
    let busy = whole.iter().filter(|parts| **parts == 1 || each / *parts >= FEW);
    let of = |accumulation: u64, recompute: bool, zero: bool| {
        let images = each / accumulation;
        let step = TrainingStep {
            accumulate: accumulation > 1,
            recompute,
            ranks: if zero { ranks as usize } else { 1 },
            average,
            fused: false,
            ..TrainingStep::plain(images as usize, 2)
        };
        let memory = cost::training_memory(config, &step).total();
        Placement { images, accumulation, recompute, zero, memory }
    };
    let kinds = [(false, false), (false, true), (true, false), (true, true)];
    let kinds = || kinds.into_iter().filter(|(_, zero)| !zero || ranks > 1);
    let with = |parts: Vec<u64>| {
        kinds().flat_map(move |(recompute, zero)| {
            parts.clone().into_iter().map(move |accumulation| (accumulation, recompute, zero))
        })
    };
    let order = with(busy.copied().collect()).chain(with(whole.clone()));
    let fits = |place: &Placement| place.memory <= USABLE * devices.memory;
    Ok(order.map(|(accumulation, recompute, zero)| of(accumulation, recompute, zero)).find(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(name: &str, ranks: u64) -> Devices {
        Devices::new(name.parse().unwrap(), ranks).unwrap()
    }

    #[test]
    fn small_models_need_no_means_and_large_ones_get_the_cheapest_that_fit() {
        let d6 = place(&TransformerConfig::published(6), 768, false, &devices("h200", 64)).unwrap().unwrap();
        assert_eq!((d6.images, d6.accumulation, d6.recompute, d6.zero), (12, 1, false, false));
        let d30 = TransformerConfig::published(30);
        let many = place(&d30, 1024, false, &devices("a100", 64)).unwrap().unwrap();
        assert!(many.memory <= 0.9 * 80e9);
        assert_eq!(many.images * many.accumulation, 16);
        let mut small = devices("a100", 1);
        small.memory = 40e9;
        let one = place(&d30, 1024, false, &small).unwrap();
        assert!(one.is_none_or(|one| one.recompute && !one.zero), "{one:?}");
        small.memory = 1e9;
        assert_eq!(place(&d30, 1024, false, &small).unwrap(), None);
    }

    #[test]
    fn ranks_that_do_not_divide_the_batch_are_refused() {
        let found = place(&TransformerConfig::published(16), 768, false, &devices("a100", 5));
        assert!(found.unwrap_err().to_string().contains("cannot be divided by 5 ranks"));
        assert!("b200".parse::<Accelerator>().unwrap_err().to_string().contains("a100, h100, h200"));
    }
}
