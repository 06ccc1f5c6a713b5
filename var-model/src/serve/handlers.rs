//! The answers to the requests of the page.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::answers::{Refusal, as_json};
use super::assemble::AssembleBody;
use super::facts::Facts;
use super::jobs::Queue;
use super::limits::{MOST_BODY, MOST_PHOTO_BYTES, MOST_SMALL_BODY};
use super::pictures;
use super::requests::{EditBody, SampleBody, Work};
use super::upload::{body, json};

/// Requests with images that are read at the same time; each can take some hundred megabytes.
const READERS: usize = 2;
/// Time between signs of life in a stream without events: a reader that went away is noticed by them.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// What all handlers share.
#[derive(Debug)]
pub(super) struct Studio {
    facts: Facts,
    queue: Arc<Queue>,
    readers: Semaphore,
}

impl Studio {
    pub(super) fn new(facts: Facts, queue: Arc<Queue>) -> Self {
        Self { facts, queue, readers: Semaphore::new(READERS) }
    }

    /// Puts `work` into the queue, and answers with its events.
    fn answer(&self, work: Work) -> Result<Response, Refusal> {
        let stream = self.queue.add(work)?;
        let alive = KeepAlive::new().interval(SIGN_OF_LIFE);
        Ok(Sse::new(stream).keep_alive(alive).into_response())
    }
}

/// Runs `work` on a thread for work that takes a while.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    // A decoder may panic on a damaged file.
    let damaged = |_| Refusal::bad("the image is damaged: the decoder fails on it");
    tokio::task::spawn_blocking(work).await.map_err(damaged)?
}

/// The model.
pub(super) async fn model(State(studio): State<Arc<Studio>>) -> Response {
    as_json(&studio.facts.card)
}

/// Samples images of classes: a stream of events.
pub(super) async fn sample(State(studio): State<Arc<Studio>>, request: Request) -> Result<Response, Refusal> {
    let asked: SampleBody = json(request, MOST_SMALL_BODY).await?;
    studio.answer(asked.check(&studio.facts)?)
}

/// Shows a photo: its size, and a PNG of it.
pub(super) async fn photo(State(studio): State<Arc<Studio>>, request: Request) -> Result<Response, Refusal> {
    let _turn = studio.readers.acquire().await;
    let bytes = body(request, MOST_PHOTO_BYTES).await?;
    Ok(as_json(&apart(move || pictures::photo(&bytes)).await?))
}

/// Edits a photo: a stream of events.
pub(super) async fn edit(State(studio): State<Arc<Studio>>, request: Request) -> Result<Response, Refusal> {
    let _turn = studio.readers.acquire().await;
    let asked: EditBody = json(request, MOST_BODY).await?;
    let owner = Arc::clone(&studio);
    let work = apart(move || asked.check(&owner.facts)).await?;
    studio.answer(work)
}

/// Puts images into one file.
pub(super) async fn assemble(
    State(studio): State<Arc<Studio>>,
    request: Request,
) -> Result<Response, Refusal> {
    let _turn = studio.readers.acquire().await;
    let asked: AssembleBody = json(request, MOST_BODY).await?;
    apart(move || asked.file()).await
}

/// Any other address.
pub(super) async fn nothing() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "nothing is at this address")
}

/// An address of the page, asked in another way.
pub(super) async fn no_such_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take such a request (GET or POST)")
}
