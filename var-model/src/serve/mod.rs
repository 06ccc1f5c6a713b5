//! `var-model serve`: a page in the browser that samples and edits images with one model.
//!
//! Only the program uses it. The web server runs on the calling thread. One more thread owns the networks and makes one
//! image request at a time (`worker`); requests wait in a queue with a fixed number of places (`jobs`). A request is
//! answered by a stream of events, one per finished scale (`events`). When its reader goes away, the sampling ends after
//! the present scale. The server keeps no images: what it has made is in the page.
//!
//! `guard` refuses requests that another web page could have sent.

mod answers;
mod assemble;
mod browser;
mod command;
mod connections;
mod door;
mod events;
mod facts;
mod guard;
mod handlers;
mod jobs;
mod limits;
mod page;
mod pictures;
mod requests;
mod upload;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use var_tokenizer::progress::{say, tell};

use crate::error::{Error, Result};
use crate::source::ModelSource;
use connections::Limited;
use door::Place;
use handlers::Studio;
use jobs::Queue;

/// The port if the user names none.
pub const PORT: u16 = 8217;
/// The address if the user names none.
pub const HOST: &str = "127.0.0.1";
/// Time between two looks at the flag that ends the server.
const LOOK: Duration = Duration::from_millis(50);
/// Time that open connections have to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// The request of `var-model serve`.
#[derive(Debug)]
pub struct ServeRequest {
    /// Model, tokenizer and class names.
    pub source: ModelSource,
    /// Address or name to listen on.
    pub host: String,
    /// Port to listen on; 0: any free one.
    pub port: u16,
    /// Whether to open the page in a browser.
    pub open: bool,
}

/// Loads the weights, prints the address of the page, and serves it until `stop` is set.
///
/// # Errors
/// When the address cannot be listened on, a file is missing or does not fit, or the system gives no random numbers.
pub fn serve(request: ServeRequest, stop: Arc<AtomicBool>) -> Result<()> {
    let place = Place::bind(&request.host, request.port)?;
    let queue = Arc::new(Queue::new(Arc::clone(&stop)));
    let (facts, worker) = worker::start(request.source, Arc::clone(&queue))?;
    facts.notes.iter().for_each(tell);
    for note in place.notes() {
        tell(format_args!("note: {note}"));
    }
    let url = place.url();
    say(&url)?;
    tell("press Ctrl-C to end");
    if request.open {
        browser::open(&url);
    }
    let (listener, door) = place.split();
    let studio = Arc::new(Studio::new(facts, Arc::clone(&queue)));
    let served = run(listener, routes(studio, Arc::new(door)), &queue, &stop);
    queue.close();
    // The networks must not go while a thread computes with them.
    let ended = worker.join();
    served?;
    ended.map_err(|_| Error::Check("the thread that samples has crashed".into()))
}

/// All addresses of the page.
fn routes(studio: Arc<Studio>, door: Arc<door::Door>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/studio.js", get(page::script))
        .route("/studio.css", get(page::style))
        .route("/example/{name}", get(page::example))
        .route("/api/model", get(handlers::model))
        .route("/api/sample", post(handlers::sample))
        .route("/api/photo", post(handlers::photo))
        .route("/api/edit", post(handlers::edit))
        .route("/api/assemble", post(handlers::assemble))
        .fallback(handlers::nothing)
        .method_not_allowed_fallback(handlers::no_such_method)
        .with_state(studio)
        .layer(from_fn_with_state(door, guard::check))
}

/// Serves until `stop` is set.
fn run(listener: std::net::TcpListener, routes: Router, queue: &Queue, stop: &Arc<AtomicBool>) -> Result<()> {
    let failed = |e| Error::io("the web server", e);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let stop = Arc::clone(stop);
    let outcome = runtime.block_on(async {
        let listener = Limited::new(tokio::net::TcpListener::from_std(listener)?);
        let (ended, wait) = tokio::sync::oneshot::channel::<()>();
        let graceful = axum::serve(listener, routes).with_graceful_shutdown(async {
            let _ = wait.await;
        });
        let server = tokio::spawn(async { graceful.await });
        while !stop.load(Ordering::Relaxed) {
            if server.is_finished() {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        queue.close();
        let _ = ended.send(());
        // A connection that stays open ends with the program.
        match tokio::time::timeout(PATIENCE, server).await {
            Ok(Ok(served)) => served,
            _ => Ok(()),
        }
    });
    runtime.shutdown_background();
    outcome.map_err(failed)
}
