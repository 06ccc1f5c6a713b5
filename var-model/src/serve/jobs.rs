//! The queue: image requests wait here for the one thread that samples.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use super::answers::Refusal;
use super::events::{Event, EventStream, Events, channel};
use super::limits::PLACES;
use super::requests::Work;

/// A request that waits or is done.
#[derive(Debug)]
pub(super) struct Job {
    pub work: Work,
    pub events: Events,
    /// Number of requests before it, as its reader knows it.
    told: Option<usize>,
}

/// Requests in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    places: Arc<Semaphore>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    busy: bool,
    closed: bool,
}

impl State {
    /// Removes requests that nobody waits for, and tells the others how many are before them.
    fn refresh(&mut self) {
        self.waiting.retain(|job| !job.events.abandoned());
        for (place, job) in self.waiting.iter_mut().enumerate() {
            let ahead = place + usize::from(self.busy);
            if job.told.replace(ahead) != Some(ahead) {
                job.events.send(Event::Queued { ahead });
            }
        }
    }
}

impl Queue {
    /// An empty queue; `stop` ends the server.
    pub(super) fn new(stop: Arc<AtomicBool>) -> Self {
        let places = Arc::new(Semaphore::new(PLACES));
        Self { state: Mutex::default(), changed: Condvar::new(), places, stop }
    }

    /// Puts `work` at the end; gives the stream of its events.
    ///
    /// # Errors
    /// When the queue is full, or the server ends.
    pub(super) fn add(&self, work: Work) -> Result<EventStream, Refusal> {
        let weight = work.weight().clamp(1, PLACES) as u32;
        let Ok(place) = Arc::clone(&self.places).try_acquire_many_owned(weight) else {
            let why = "too many requests wait already; try again when some of them are done";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
        };
        let (events, stream) = channel(place, Arc::clone(&self.stop));
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the server ends"));
        }
        state.waiting.push_back(Job { work, events, told: None });
        state.refresh();
        self.changed.notify_all();
        Ok(stream)
    }

    /// Waits for the next request; `None` when the server ends.
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        state.busy = false;
        loop {
            if state.closed {
                return None;
            }
            state.waiting.retain(|job| !job.events.abandoned());
            if let Some(job) = state.waiting.pop_front() {
                state.busy = true;
                state.refresh();
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the queue; requests that wait are dropped, which ends their streams.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
