//! numpy's old generator, `RandomState`. torch-fidelity shuffles and draws subsets with it under seed 2020.
//!
//! MT19937 (Matsumoto and Nishimura 1998), bounded numbers by masking and rejection, and the Fisher-Yates
//! shuffle from the end, unchanged in numpy since before version 1.17.

/// Words of the state.
const SIZE: usize = 624;
/// Distance of the word that is mixed in.
const SHIFT: usize = 397;

/// A generator in the state that `numpy.random.RandomState(seed)` starts in.
#[derive(Debug, Clone)]
pub struct RandomState {
    words: [u32; SIZE],
    next: usize,
}

impl RandomState {
    /// The generator of `seed`.
    pub fn new(seed: u32) -> Self {
        let mut words = [seed; SIZE];
        for i in 1..SIZE {
            let before = words[i - 1];
            words[i] = 1_812_433_253_u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { words, next: SIZE }
    }

    /// The next 32 bits.
    fn word(&mut self) -> u32 {
        if self.next == SIZE {
            for i in 0..SIZE {
                let joined = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % SIZE] & 0x7fff_ffff);
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[i] = self.words[(i + SHIFT) % SIZE] ^ (joined >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A whole number from 0 to `most`.
    fn up_to(&mut self, most: u32) -> u32 {
        let mask = most.checked_ilog2().map_or(0, |bits| u32::MAX >> (31 - bits));
        loop {
            let found = self.word() & mask;
            if found <= most {
                return found;
            }
        }
    }

    /// `RandomState.permutation(count)`: 0 to `count` − 1 in random order. Numbers from 2³² on stay in place.
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            let Ok(most) = u32::try_from(i) else { continue };
            order.swap(i, self.up_to(most) as usize);
        }
        order
    }

    /// `RandomState.choice(count, size, replace=False)`; at most `count` numbers.
    pub fn choice(&mut self, count: usize, size: usize) -> Vec<usize> {
        let mut order = self.permutation(count);
        order.truncate(size);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_published_generator() {
        // The value that the C++ standard requires for the 10,000th word of std::mt19937 with its default seed.
        let mut generator = RandomState::new(5489);
        let last = (0..10_000).map(|_| generator.word()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut generator = RandomState::new(2020);
        for count in [0, 1, 2, 3, 64, 1000] {
            let mut order = generator.permutation(count);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..count));
        }
        assert_eq!(generator.choice(10, 3).len(), 3);
    }
}
