//! numpy's legacy generator, `numpy.random.RandomState`, as far as the published tools use it.
//!
//! torch-fidelity shuffles the rows of the Inception Score and draws the subsets of KID with
//! `RandomState(2020)`; our default figures equal its own only with the same draws. MT19937 (Matsumoto and
//! Nishimura 1998) seeded by Knuth's recurrence; permutations by Fisher and Yates from the end, each index by
//! masked rejection.

/// Words of state.
const STATE: usize = 624;
/// Distance of the word that is mixed in.
const MIDDLE: usize = 397;

/// `numpy.random.RandomState(seed)`.
#[derive(Debug, Clone)]
pub struct RandomState {
    state: Vec<u32>,
    next: usize,
}

impl RandomState {
    /// The state after `RandomState(seed)`.
    pub fn new(seed: u32) -> Self {
        let mut state = Vec::with_capacity(STATE);
        let mut word = seed;
        for index in 1..=STATE as u32 {
            state.push(word);
            word = 1_812_433_253_u32.wrapping_mul(word ^ (word >> 30)).wrapping_add(index);
        }
        Self { state, next: STATE }
    }

    /// The next 32 random bits.
    pub fn word(&mut self) -> u32 {
        if self.next == STATE {
            for i in 0..STATE {
                let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
                let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + MIDDLE) % STATE] ^ (joined >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number from 0 to `most`, both included.
    fn up_to(&mut self, most: u32) -> u32 {
        let mask = u32::MAX.checked_shr(most.leading_zeros()).unwrap_or(0);
        loop {
            let value = self.word() & mask;
            if value <= most {
                return value;
            }
        }
    }

    /// `permutation(count)`; also what `choice(count, m, replace=False)` takes the first m entries of. `count`
    /// is at most 2³².
    pub fn permutation(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            let j = self.up_to(u32::try_from(i).unwrap_or(u32::MAX)) as usize;
            order.swap(i, j);
        }
        order
    }
}
