//! Divides a data set that has no parts of its own.

use super::listing::Entry;
use super::split::{Partition, Split};
use crate::runtime::error::{Error, Result};
use crate::runtime::random::Stream;

/// Divides `entries` as the source says, or else holds out `fraction` of each class.
///
/// Images of one group (an emoji and its skin tones) stay together. Of each class `round(fraction · groups)` groups are
/// held out: never all, and at least one when the fraction is above 0 and the class has several groups. The choice
/// depends on `seed` and the class only.
///
/// # Errors
/// When `fraction` is not from 0 to 0.9.
pub(crate) fn partition(entries: &[Entry], fraction: f64, seed: u64) -> Result<Partition> {
    if !(0.0..=0.9).contains(&fraction) {
        return Err(Error::Config(format!("held-out fraction {fraction} is not from 0 to 0.9")));
    }
    let mut result = Partition::default();
    if entries.iter().any(|entry| entry.split.is_some()) {
        for (index, entry) in entries.iter().enumerate() {
            match entry.split {
                Some(Split::Val) => result.val.push(index),
                _ => result.train.push(index),
            }
        }
        return Ok(result);
    }
    let mut sorted: Vec<(u32, u32, u32)> =
        entries.iter().zip(0..).map(|(entry, index)| (entry.class, entry.group, index)).collect();
    sorted.sort_unstable();
    for images in sorted.chunk_by(|a, b| a.0 == b.0) {
        let class = images.first().map_or(0, |image| image.0);
        let groups: Vec<&[(u32, u32, u32)]> = images.chunk_by(|a, b| a.1 == b.1).collect();
        let wanted = (fraction * groups.len() as f64).round() as usize;
        let least = usize::from(fraction > 0.0 && groups.len() > 1);
        let held_out = wanted.max(least).min(groups.len().saturating_sub(1));
        let order = Stream::new("split", seed).at(u64::from(class)).permutation(groups.len());
        for (rank, &group) in order.iter().enumerate() {
            let list = if rank < held_out { &mut result.val } else { &mut result.train };
            list.extend(groups.get(group).into_iter().flat_map(|group| *group).map(|image| image.2 as usize));
        }
    }
    result.train.sort_unstable();
    result.val.sort_unstable();
    Ok(result)
}
