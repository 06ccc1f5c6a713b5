//! The other ranks, for the training loop: sums, agreements, messages of rank 0, and the cause of failures.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};
use var_tokenizer::torch::optimizer::clear_gradients;
use var_tokenizer::weights::Parameters;

use super::failure::{Leaving, Watch};
use super::group::Group;
use super::guard::Guard;
use super::heartbeat::Heartbeat;
use super::join::{Joined, join};
use super::place::Place;
use super::reducer::Reducer;
use crate::error::{Error, Result};

/// Longest pause between two reads of a key that another rank will set.
const POLL: Duration = Duration::from_millis(100);

/// All ranks of a run, as one of them sees them, or a single process. For a single process every call is free: no store,
/// no connection, no copy.
#[derive(Debug, Clone, Copy)]
pub struct Ranks(Option<&'static Session>);

/// The connections of a rank. They live as long as the process: a rank that leaves the others ends.
#[derive(Debug)]
struct Session {
    place: Place,
    watch: Watch,
    heartbeat: RefCell<Option<Heartbeat>>,
    guard: RefCell<Option<Guard>>,
    group: RefCell<Option<Group>>,
    reducer: RefCell<Option<Reducer>>,
    /// Number of messages of rank 0 so far.
    words: Cell<u64>,
}

impl Ranks {
    /// A single process.
    pub const ALONE: Self = Self(None);

    /// Joins the other ranks of `place`, which must give the same `settings`. `None` is a single process. This rank
    /// computes on `device`. A rank that does not come, or later does not answer, is an error after `timeout`.
    ///
    /// # Errors
    /// [`Error::config`] when the ranks do not fit together, [`Error::Distributed`] when they do not find
    /// each other.
    pub fn join(place: Option<&Place>, settings: &str, device: Device, timeout: Duration) -> Result<Self> {
        let Some(place) = place else { return Ok(Self::ALONE) };
        super::ending::mark(place.rank);
        let gpu = if let Device::Cuda(gpu) = device { Some(gpu) } else { None };
        let Joined { messages, heartbeat, group, watched } = join(place, settings, gpu, timeout)?;
        let session = Session {
            place: place.clone(),
            watch: Watch::new(messages, place),
            heartbeat: RefCell::new(Some(heartbeat)),
            guard: RefCell::new(watched.map(|messages| Guard::start(Watch::new(messages, place)))),
            group: RefCell::new(Some(group)),
            reducer: RefCell::new(None),
            words: Cell::new(0),
        };
        // Never dropped: connections and their threads end with the process (see `ending`).
        Ok(Self(Some(Box::leak(Box::new(session)))))
    }

    /// Number of this rank.
    pub(crate) fn rank(self) -> usize {
        self.0.map_or(0, |session| session.place.rank)
    }

    /// Number of ranks.
    pub fn size(self) -> usize {
        self.0.map_or(1, |session| session.place.world)
    }

    /// Whether this rank writes the run folder, logs, and shows progress.
    pub fn leads(self) -> bool {
        self.rank() == 0
    }

    /// The share of this rank of `count` items. Shares are consecutive ranges; together they are all items.
    pub(crate) fn share(self, count: usize) -> Range<usize> {
        let at = |rank: usize| (count as u128 * rank as u128 / self.size() as u128) as usize;
        at(self.rank())..at(self.rank() + 1)
    }

    /// Sums `values` over all ranks, in f64.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn sum(self, values: &mut [f64]) -> Result<()> {
        self.collective(|group| {
            let tensor = Tensor::from_slice(values);
            group.all_reduce(&tensor)?;
            Ok(tensor.f_copy_data(values, values.len())?)
        })
    }

    /// Averages each of `numbers` over all ranks, in place.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn average<const N: usize>(self, numbers: [&mut f64; N]) -> Result<()> {
        let mut sums = numbers.each_ref().map(|number| **number);
        self.sum(&mut sums)?;
        numbers.into_iter().zip(sums).for_each(|(number, sum)| *number = sum / self.size() as f64);
        Ok(())
    }

    /// Averages `tensors` of one kind over all ranks, in place.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn average_tensors(self, tensors: &[Tensor]) -> Result<()> {
        if tensors.is_empty() || self.size() == 1 {
            return Ok(());
        }
        tch::no_grad(|| {
            let flat: Vec<Tensor> =
                tensors.iter().map(|t| t.f_flatten(0, -1)).collect::<std::result::Result<_, _>>()?;
            let all = Tensor::f_cat(&flat, 0)?;
            self.collective(|group| group.all_reduce(&all))?;
            let all = all.f_div_scalar(self.size() as f64)?;
            let mut from = 0;
            for tensor in tensors {
                let count = tensor.numel() as i64;
                tensor.shallow_clone().f_copy_(&all.f_narrow(0, from, count)?.f_view_as(tensor)?)?;
                from += count;
            }
            Ok(())
        })
    }

    /// The sum of `own` over all ranks. It has a gradient: the sum of all ranks' gradients.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn joint_sum(self, own: &Tensor) -> Result<Tensor> {
        let mut sum = own.shallow_clone();
        self.collective(|group| {
            sum = group.sum(own)?;
            Ok(())
        })?;
        Ok(sum)
    }

    /// The rows `own` `[N, …]` of all ranks, in order of rank: `[size · N, …]`.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn joint_rows(self, own: &Tensor) -> Result<Tensor> {
        if self.size() == 1 {
            return Ok(own.shallow_clone());
        }
        let own = own.f_contiguous()?;
        let mut shape = own.size();
        shape.iter_mut().take(1).for_each(|rows| *rows *= self.size() as i64);
        let all = Tensor::f_zeros(&shape, (own.kind(), own.device()))?;
        self.all_gather(&all, &own)?;
        Ok(all)
    }

    /// Whether any rank has each of `wishes`.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn any<const N: usize>(self, wishes: [bool; N]) -> Result<[bool; N]> {
        let mut votes = wishes.map(|wish| f64::from(u8::from(wish)));
        self.sum(&mut votes)?;
        Ok(votes.map(|votes| votes > 0.0))
    }

    /// Overwrites `tensors` with those of rank 0. All ranks must give the same number and shapes.
    ///
    /// # Errors
    /// When the shapes differ or another rank is lost.
    pub(crate) fn broadcast<T: AsRef<Tensor>>(self, tensors: &[T]) -> Result<()> {
        self.collective(|group| {
            group.same_shapes(tensors)?;
            group.broadcast(tensors, 0)
        })
    }

    /// Sums `all` `[size · own]` over all ranks, and stores the part of this rank in `own`.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn reduce_scatter(self, own: &Tensor, all: &Tensor) -> Result<()> {
        self.collective(|group| group.reduce_scatter(own, all))
    }

    /// Collects `own` of all ranks, in order of rank, into `all` `[size · own]`.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn all_gather(self, all: &Tensor, own: &Tensor) -> Result<()> {
        self.collective(|group| group.all_gather(all, own))
    }

    /// From now on [`Ranks::backward`] averages the gradients of `parameters`, which must require them.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn average_gradients_of(self, parameters: &Parameters) -> Result<()> {
        let Some(session) = self.0 else { return Ok(()) };
        let tensors: Vec<&Tensor> = parameters.trainable().map(|p| &p.tensor).collect();
        let mut made = None;
        self.collective(|group| {
            let reducer = Reducer::new(group, &tensors)?;
            // After its first pass the reducer sorts its buckets by the order in which gradients came. The order of sums
            // over three and more ranks follows the buckets, so the first step of a process would round differently from
            // the same step of an uninterrupted run. A first pass without data gives all steps the same buckets.
            reducer.expect()?;
            nothing(parameters)?.f_backward()?;
            clear_gradients(&tensors)?;
            made = Some(reducer);
            Ok(())
        })?;
        *session.reducer.borrow_mut() = made;
        Ok(())
    }

    /// Runs the backward pass of `loss`, and adds to the gradients. The `last` pass of a step also averages the gradients
    /// of the step over all ranks.
    ///
    /// # Errors
    /// When libtorch fails or another rank is lost.
    pub(crate) fn backward(self, loss: &Tensor, last: bool) -> Result<()> {
        let Some(session) = self.0 else { return Ok(loss.f_backward()?) };
        let outcome = match session.reducer.borrow().as_ref().filter(|_| last) {
            Some(reducer) => reducer.expect().and_then(|()| Ok(loss.f_backward()?)),
            None => loss.f_backward().map_err(Error::from),
        };
        self.explained(outcome)
    }

    /// The outcome of work with collectives in it, for example of a backward pass through [`Ranks::joint_sum`]. A broken
    /// connection becomes the loss of a rank, with its name.
    ///
    /// # Errors
    /// That of `outcome`.
    pub(crate) fn explained<T>(self, outcome: Result<T>) -> Result<T> {
        let Some(session) = self.0 else { return outcome };
        outcome.map_err(|e| if is_broken_connection(&e) { session.watch.explain(e) } else { e })
    }

    /// Checks that all tensors have the same bits on all ranks.
    ///
    /// # Errors
    /// Names a tensor that differs; or another rank is lost.
    pub(crate) fn require_equal(self, parameters: &Parameters) -> Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        let own = fingerprints(parameters)?;
        let count = own.size1()?;
        let all = Tensor::f_zeros([self.size() as i64 * count], (Kind::Int64, own.device()))?;
        self.collective(|group| group.all_gather(&all, &own))?;
        let sums: Vec<i64> = Vec::try_from(&all)?;
        let rows: Vec<&[i64]> = sums.chunks(count.max(1) as usize).collect();
        for (rank, row) in rows.iter().enumerate() {
            let entries =
                parameters.entries().iter().zip(row.iter().zip(rows.first().copied().unwrap_or(&[])));
            if let Some((entry, _)) = { entries }.find(|(_, (one, other))| one != other) {
                return Err(Error::Distributed(format!(
                    "rank {rank} has other values in {} than rank 0; its machine computes differently: go on \
                     from the last checkpoint without it",
                    entry.name
                )));
            }
        }
        Ok(())
    }

    /// The text that `say` gives on rank 0, on every rank. The others wait as long as rank 0 is alive.
    ///
    /// # Errors
    /// The error of `say`; on other ranks, the failure of rank 0.
    pub(crate) fn told_by_leader(self, say: impl FnOnce() -> Result<String>) -> Result<String> {
        let Some(session) = self.0 else { return say() };
        let key = format!("word/{}", session.words.replace(session.words.get() + 1));
        if self.leads() {
            let word = say()?;
            session.watch.set(&key, &word)?;
            return Ok(word);
        }
        let mut pause = Duration::from_millis(2);
        let mut leader = session.watch.leader();
        loop {
            if let Some(word) = session.watch.get(&key)? {
                return Ok(word);
            }
            leader.check()?;
            sleep(pause);
            pause = (pause * 2).min(POLL);
        }
    }

    /// Does `work` on rank 0 while the others wait. They get `elsewhere`.
    ///
    /// # Errors
    /// The error of `work`; on other ranks, the failure of rank 0.
    pub(crate) fn on_leader<T>(self, elsewhere: T, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut outcome = elsewhere;
        self.told_by_leader(|| {
            outcome = work()?;
            Ok(String::new())
        })?;
        Ok(outcome)
    }

    /// Runs `work` on the group; does nothing for a single process.
    pub(super) fn collective(self, work: impl FnOnce(&Group) -> Result<()>) -> Result<()> {
        let Some(session) = self.0 else { return Ok(()) };
        let outcome = match session.group.borrow().as_ref() {
            Some(group) => work(group),
            None => Err(Error::Distributed("this rank has left the others".into())),
        };
        self.explained(outcome)
    }

    /// Leaves the other ranks. They learn the reason when `outcome` is a failure of this rank. Afterwards the process should
    /// end by [`end`](super::end).
    pub fn leave<T>(self, outcome: &Result<T>) {
        let Some(session) = self.0 else { return };
        session.guard.take();
        let leaving = match outcome {
            // These happen on all ranks, which come here together.
            Ok(_) | Err(Error::Interrupted { .. } | Error::Diverged(_)) => Leaving::Together,
            Err(Error::Rank(_)) => Leaving::After,
            Err(e) => Leaving::Failed(e.to_string()),
        };
        session.watch.say_goodbye(&leaving);
        if matches!(leaving, Leaving::Failed(_)) {
            // The others may wait for this rank in a collective: closed connections tell them. If closing hangs, the end
            // of the process closes them.
            let parts = (session.reducer.take(), session.group.take());
            let closing = std::thread::spawn(move || drop(parts));
            let until = Instant::now() + Duration::from_secs(1);
            while !closing.is_finished() && Instant::now() < until {
                sleep(Duration::from_millis(10));
            }
        }
        session.watch.linger(&leaving);
        session.heartbeat.take();
    }
}

/// Zero, with a gradient of zero for every parameter: ranks that average gradients wait for all of them.
///
/// # Errors
/// When libtorch fails.
pub(crate) fn nothing(parameters: &Parameters) -> Result<Tensor> {
    let mut sum = Tensor::f_zeros([], (Kind::Float, parameters.device()))?;
    for parameter in parameters.trainable() {
        sum = sum.f_add(&parameter.tensor.f_sum(Kind::Float)?)?;
    }
    Ok(sum.f_mul_scalar(0.0)?)
}

/// Whether an error comes from the connections between ranks, not from computing.
fn is_broken_connection(error: &Error) -> bool {
    let text = error.to_string().to_lowercase();
    ["gloo", "nccl", "pair closure", "connection", "timed out"].iter().any(|part| text.contains(part))
}

/// One number for each entry of `parameters`, in their order: the sum of its bits as whole numbers. Any single changed bit
/// changes it.
pub(super) fn fingerprints(parameters: &Parameters) -> Result<Tensor> {
    tch::no_grad(|| {
        let sums: Vec<Tensor> = parameters
            .entries()
            .iter()
            .map(|entry| {
                let bits = entry.tensor.f_detach()?.f_contiguous()?.f_view_dtype(Kind::Int)?;
                bits.f_sum(Kind::Int64)
            })
            .collect::<std::result::Result<_, _>>()?;
        if sums.is_empty() {
            return Ok(Tensor::f_zeros([0], (Kind::Int64, Device::Cpu))?);
        }
        Ok(Tensor::f_stack(&sums, 0)?)
    })
}

/// Checks that `ranks` ranks with `accumulation` micro-batches can divide `batch` evenly.
///
/// # Errors
/// Names the nearest batches that they can divide.
pub fn require_divisible(batch: usize, accumulation: usize, ranks: usize) -> Result<()> {
    let parts = accumulation.max(1).saturating_mul(ranks.max(1));
    if batch.is_multiple_of(parts) {
        return Ok(());
    }
    let below = batch / parts * parts;
    let batches: Vec<String> =
        [below, below.saturating_add(parts)].iter().filter(|b| **b > 0).map(ToString::to_string).collect();
    let counts: Vec<String> = (1..=batch / accumulation.max(1))
        .filter(|n| batch.is_multiple_of(n * accumulation.max(1)))
        .map(|n| n.to_string())
        .collect();
    Err(Error::config(format!(
        "training.batch {batch} cannot be shared by {ranks} ranks × training.accumulation {accumulation}; use \
         a batch of {}, or this many ranks: {}",
        batches.join(" or "),
        counts.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_everything_is_the_identity() {
        let ranks = Ranks::ALONE;
        assert_eq!((ranks.rank(), ranks.size(), ranks.leads(), ranks.share(7)), (0, 1, true, 0..7));
        let mut values = [1.5, 2.0];
        ranks.sum(&mut values).unwrap();
        assert_eq!(values, [1.5, 2.0]);
        assert_eq!(ranks.any([true, false]).unwrap(), [true, false]);
        assert_eq!(ranks.told_by_leader(|| Ok("word".into())).unwrap(), "word");
        assert!(ranks.told_by_leader(|| Err(Error::config("no"))).is_err());
    }

    #[test]
    fn a_batch_that_cannot_be_shared_names_what_can() {
        require_divisible(16, 2, 4).unwrap();
        let message = require_divisible(16, 1, 3).unwrap_err().to_string();
        assert!(
            message.contains("batch of 15 or 18") && message.contains("ranks: 1, 2, 4, 8, 16"),
            "{message}"
        );
        let message = require_divisible(4, 2, 4).unwrap_err().to_string();
        assert!(message.contains("batch of 8,") && message.contains("ranks: 1, 2"), "{message}");
    }

    #[test]
    fn fingerprints_tell_apart_a_single_bit() {
        let mut parameters =
            Parameters::new(tch::Device::Cpu, Some(1), var_tokenizer::weights::Storage::PLAIN);
        let tensor = parameters.builder().parameter("a", &[3, 4], var_tokenizer::weights::Init::Uniform(1.0));
        let before: Vec<i64> = Vec::try_from(fingerprints(&parameters).unwrap()).unwrap();
        let mut bits = tensor.detach().view_dtype(Kind::Int);
        tch::no_grad(|| {
            let _ = bits.get(1).get(2).bitwise_xor_(1);
        });
        let after: Vec<i64> = Vec::try_from(fingerprints(&parameters).unwrap()).unwrap();
        assert_eq!((before.len(), after[0] - before[0]).0, 1);
        assert_eq!((after[0] - before[0]).abs(), 1);
        let _ = bits.zero_();
    }
}
