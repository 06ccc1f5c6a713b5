//! The order of examples: a function of seed and step, without state.

use var_tokenizer::random::Stream;

/// The order of examples over the whole run: one permutation per epoch, a function of (seed, epoch) alone. A resume at
/// any step finds the same examples.
#[derive(Debug)]
pub(crate) struct Order {
    stream: Stream,
    examples: usize,
    /// The last permutations by epoch. A batch needs few.
    cached: Vec<(u64, Vec<usize>)>,
}

impl Order {
    /// An order of `examples` examples under `seed`; `examples` must be positive.
    pub(crate) fn new(seed: u64, examples: usize) -> Self {
        Self { stream: Stream::new("shuffle", seed), examples: examples.max(1), cached: Vec::new() }
    }

    /// The example at position `position` of the endless sequence, and its epoch.
    pub(crate) fn example(&mut self, position: u64) -> (usize, u64) {
        let epoch = position / self.examples as u64;
        let within = (position % self.examples as u64) as usize;
        if !self.cached.iter().any(|(e, _)| *e == epoch) {
            self.cached.retain(|(e, _)| *e + 1 >= epoch);
            let order = self.stream.at(epoch).permutation(self.examples);
            self.cached.push((epoch, order));
        }
        let example = self
            .cached
            .iter()
            .find(|(e, _)| *e == epoch)
            .and_then(|(_, order)| order.get(within))
            .copied()
            .unwrap_or(0);
        (example, epoch)
    }

    /// The examples of step `step` with `batch` examples per step, each with its epoch.
    pub(crate) fn batch(&mut self, step: u64, batch: usize) -> Vec<(usize, u64)> {
        let first = step * batch as u64;
        (first..first + batch as u64).map(|position| self.example(position)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_holds_every_example_once_whatever_the_batch_size() {
        for batch in [1, 3, 7, 10, 25] {
            let mut order = Order::new(9, 10);
            let steps = 30_u64.div_ceil(batch as u64);
            let mut seen: Vec<usize> =
                (0..steps).flat_map(|s| order.batch(s, batch)).map(|(e, _)| e).take(30).collect();
            for epoch in seen.chunks_mut(10) {
                epoch.sort_unstable();
                assert_eq!(epoch, (0..10).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_step_can_be_asked_for_out_of_order() {
        let expected: Vec<_> = {
            let mut o = Order::new(1, 7);
            (0..20).map(|s| o.batch(s, 4)).collect()
        };
        let mut order = Order::new(1, 7);
        for step in [19, 3, 4, 0, 12] {
            assert_eq!(order.batch(step, 4), expected[step as usize]);
        }
    }
}
