//! The events of a request, and their stream to the reader.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::response::sse;
use futures_core::Stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What happens to a request. Images are PNGs in base64.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// It waits for others.
    Queued {
        /// Number of requests before it.
        ahead: usize,
    },
    /// Its sampling starts.
    Started {
        /// Number of images.
        images: usize,
        /// The command line that makes the same images.
        command: String,
        /// What a user should know about it.
        notes: Vec<String>,
    },
    /// A step is finished.
    Step {
        /// Number of the step, from 1.
        step: usize,
        /// Number of steps.
        steps: usize,
        /// Side of the scale's token map.
        side: usize,
        /// Number of the first image of this batch.
        first: usize,
        /// Number of images of this batch.
        batch: usize,
        /// The images of this batch after the step; none if they are not wanted, and after the last step.
        images: Vec<String>,
    },
    /// All images are there.
    Done {
        /// The images.
        images: Vec<String>,
        /// Seconds that it took, without waiting.
        seconds: f64,
    },
    /// It ended without result.
    Failed {
        /// Why.
        error: String,
    },
}

/// Where the worker puts events. Their number per request is limited by its place in the queue, its scales and its
/// batches, so the channel is not.
#[derive(Debug)]
pub(super) struct Events {
    sender: UnboundedSender<Event>,
    stop: Arc<AtomicBool>,
}

impl Events {
    /// Sends `event`; nobody may be there to read it.
    pub(super) fn send(&self, event: Event) {
        let _ = self.sender.send(event);
    }

    /// Whether the reader went away.
    pub(super) fn abandoned(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether the work is to end: the reader went away, or the server ends.
    pub(super) fn ended(&self) -> bool {
        self.abandoned() || self.stop.load(Ordering::Relaxed)
    }
}

/// The stream of the events to the reader. It holds the place in the queue until it ends: what is not read yet counts,
/// too.
#[derive(Debug)]
pub(super) struct EventStream {
    receiver: UnboundedReceiver<Event>,
    _place: OwnedSemaphorePermit,
}

/// Both ends, for a request that has a `place` in the queue; `stop` ends the server.
pub(super) fn channel(place: OwnedSemaphorePermit, stop: Arc<AtomicBool>) -> (Events, EventStream) {
    let (sender, receiver) = unbounded_channel();
    (Events { sender, stop }, EventStream { receiver, _place: place })
}

impl Stream for EventStream {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx).map(|event| {
            // Numbers and text can always be written.
            event.map(|event| {
                Ok(sse::Event::default().data(serde_json::to_string(&event).unwrap_or_default()))
            })
        })
    }
}
