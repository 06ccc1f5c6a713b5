//! The scale schedule: the sides of the token maps, from coarse to fine.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::runtime::error::{Error, Result};
use crate::runtime::weights::Checkpoint;

/// Maximum side of a token map. Images of 1024 pixels use 64.
const MAX_SIDE: usize = 1024;

/// Sides `s_1 < s_2 < … < s_K` of the square token maps; the last one is the side of the latent.
///
/// ```
/// let schedule: var_tokenizer::ScaleSchedule = "1,2,3,4,5,6,8,10,13,16".parse()?;
/// assert_eq!(schedule.tokens(), 680);
/// assert_eq!(schedule.range(2), 5..14);
/// # Ok::<(), var_tokenizer::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct ScaleSchedule {
    sides: Vec<usize>,
}

impl ScaleSchedule {
    /// A schedule of these sides.
    ///
    /// # Errors
    /// When there is none, or they do not rise strictly from at least 1.
    pub fn new(sides: Vec<usize>) -> Result<Self> {
        let rising = sides.windows(2).all(|w| w[0] < w[1]);
        let bounded = sides.first().is_some_and(|&s| s >= 1) && sides.last().is_some_and(|&s| s <= MAX_SIDE);
        if !rising || !bounded {
            return Err(Error::Schedule(format!(
                "{sides:?}: sides must rise strictly from at least 1 to at most {MAX_SIDE}, e.g. 1,2,3,4,6,8"
            )));
        }
        Ok(Self { sides })
    }

    /// The schedule that a file of weights states, as trainers' checkpoints do; none where it states none or an invalid
    /// one.
    pub fn stated_in(checkpoint: &Checkpoint) -> Option<Self> {
        checkpoint.sides.clone().and_then(|sides| Self::new(sides).ok())
    }

    /// The published schedule for 256-pixel images: 10 scales, 680 tokens.
    pub fn published_256() -> Self {
        Self { sides: vec![1, 2, 3, 4, 5, 6, 8, 10, 13, 16] }
    }

    /// All published schedules: for 256, 512 and 1024 pixels.
    pub fn published() -> [Self; 3] {
        [
            Self::published_256(),
            Self { sides: vec![1, 2, 3, 4, 6, 9, 13, 18, 24, 32] },
            Self { sides: vec![1, 2, 3, 4, 5, 7, 9, 12, 16, 21, 27, 36, 48, 64] },
        ]
    }

    /// Up to `most` schedules of `scales` strictly rising sides, the first of them `first`, with `tokens`
    /// tokens in all; a published one stands alone.
    pub fn matching(scales: usize, first: usize, tokens: usize, most: usize) -> Vec<Self> {
        let fits = |s: &Self| s.scales() == scales && s.side(0) == first && s.tokens() == tokens;
        if let Some(published) = Self::published().into_iter().find(fits) {
            return vec![published];
        }
        let mut found = Vec::new();
        if (1..=MOST_SEARCHED).contains(&scales) && tokens <= MOST_TOKENS_SEARCHED && first > 0 {
            let left = tokens.checked_sub(first * first);
            extend(&mut vec![first], scales - 1, left, most, &mut found);
        }
        found
    }

    /// The sides, coarse to fine.
    pub fn sides(&self) -> &[usize] {
        &self.sides
    }

    /// Number of scales `K`.
    pub fn scales(&self) -> usize {
        self.sides.len()
    }

    /// Side of scale `k` (0-based); 0 beyond the last.
    pub fn side(&self, k: usize) -> usize {
        self.sides.get(k).copied().unwrap_or(0)
    }

    /// Side of the last scale, which is the side of the latent.
    pub fn last_side(&self) -> usize {
        self.side(self.scales() - 1)
    }

    /// Tokens of all scales, `L = Σ s_k²`.
    pub fn tokens(&self) -> usize {
        self.sides.iter().map(|s| s * s).sum()
    }

    /// Tokens of each scale, `s_k²`.
    pub fn lengths(&self) -> Vec<usize> {
        self.sides.iter().map(|s| s * s).collect()
    }

    /// Positions of scale `k` in the token sequence.
    pub fn range(&self, k: usize) -> std::ops::Range<usize> {
        let begin = self.sides.iter().take(k).map(|s| s * s).sum();
        begin..begin + self.side(k) * self.side(k)
    }

    /// Positions of all scales before and including `k`: how many keys a query of scale `k` sees.
    pub fn seen(&self, k: usize) -> usize {
        self.range(k).end
    }

    /// Where scale `k` stands between the first (0) and the last (1); 0 for a single scale.
    pub fn progress(&self, k: usize) -> f64 {
        if self.scales() < 2 { 0.0 } else { k as f64 / (self.scales() - 1) as f64 }
    }
}

impl fmt::Display for ScaleSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides: Vec<String> = self.sides.iter().map(usize::to_string).collect();
        f.write_str(&sides.join(","))
    }
}

impl FromStr for ScaleSchedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let sides = text
            .split([',', ' ', '_'])
            .filter(|part| !part.is_empty())
            .map(|part| {
                part.parse::<usize>().map_err(|_| {
                    Error::Schedule(format!("'{part}' in '{text}' is not a side; write e.g. 1,2,3,4,6,8"))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Self::new(sides)
    }
}

impl TryFrom<Vec<usize>> for ScaleSchedule {
    type Error = Error;

    fn try_from(sides: Vec<usize>) -> Result<Self> {
        Self::new(sides)
    }
}

impl From<ScaleSchedule> for Vec<usize> {
    fn from(schedule: ScaleSchedule) -> Self {
        schedule.sides
    }
}

/// Longest schedule, and the one of the most tokens, that is searched for.
const MOST_SEARCHED: usize = 24;
const MOST_TOKENS_SEARCHED: usize = 1 << 16;

/// Appends to `found` every way to go on from `sides` with `scales` more whose squares sum to `left`.
fn extend(
    sides: &mut Vec<usize>,
    scales: usize,
    left: Option<usize>,
    most: usize,
    found: &mut Vec<ScaleSchedule>,
) {
    let (Some(left), Some(&last)) = (left, sides.last()) else { return };
    if scales == 0 {
        if left == 0 {
            found.push(ScaleSchedule { sides: sides.clone() });
        }
        return;
    }
    // Sums of the squares of the next `scales` numbers from `side` on: the least that can follow.
    let least = |side: usize| (side..side + scales).map(|s| s * s).sum::<usize>();
    let mut side = last + 1;
    while found.len() < most && least(side) <= left {
        sides.push(side);
        extend(sides, scales - 1, left.checked_sub(side * side), most, found);
        sides.pop();
        side += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_schedules_have_680_2240_and_9451_tokens() {
        assert_eq!(ScaleSchedule::published_256().tokens(), 680);
        let large: ScaleSchedule = "1,2,3,4,6,9,13,18,24,32".parse().unwrap();
        assert_eq!(large.tokens(), 2240);
        let huge: ScaleSchedule = "1 2 3 4 5 7 9 12 16 21 27 36 48 64".parse().unwrap();
        assert_eq!(huge.tokens(), 9451);
        assert_eq!(ScaleSchedule::published(), [ScaleSchedule::published_256(), large, huge]);
    }

    #[test]
    fn a_schedule_is_found_by_its_numbers_of_scales_and_tokens() {
        let found = |scales, tokens| ScaleSchedule::matching(scales, 1, tokens, 3);
        for schedule in ScaleSchedule::published() {
            assert_eq!(found(schedule.scales(), schedule.tokens()), [schedule]);
        }
        assert_eq!(found(3, 21), ["1,2,4".parse().unwrap()]);
        // 1² + 4² + 8² = 1² + 4² + 8²; 1 + 25 + 55 has no way, 62 and 65 have one or two.
        assert_eq!(found(3, 1 + 16 + 64), ["1,4,8".parse().unwrap()]);
        let two = found(4, 1 + 4 + 49 + 81);
        assert!(two.len() > 1 && two.iter().all(|s| s.tokens() == 135 && s.scales() == 4), "{two:?}");
        assert!(found(3, 20).is_empty() && found(0, 1).is_empty() && found(2, 1 << 60).is_empty());
    }

    #[test]
    fn falling_empty_and_zero_schedules_are_refused() {
        for bad in ["", "0,1", "1,3,2", "2,2", "1,x", "1,99999"] {
            assert!(bad.parse::<ScaleSchedule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_tile_the_sequence() {
        let schedule = ScaleSchedule::published_256();
        let mut position = 0;
        for k in 0..schedule.scales() {
            assert_eq!(schedule.range(k).start, position);
            position = schedule.seen(k);
        }
        assert_eq!(position, schedule.tokens());
    }
}
