//! Everything between a request and its answer. Knows nothing of processes: what this serves is bounded by [`Settings`] for
//! each process alone, so for a cluster the bounds add up.
//!
//! - At most `desks` pictures of a process are dealt with at once. All others stay with their clients: a body that nobody reads
//!   fills the socket's buffer, and the client waits.
//! - What arrives is written to the temporary folder piece by piece, never collected in memory.
//! - At most `flips` of them are decoded at once, on threads that serve nobody else.
//! - The files have no names. They are gone with their last descriptor, however the process ends.

mod flip;
mod jpeg;
mod refusal;
mod settings;
mod timing;
mod upload;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::from_fn;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use flip::Flipped;
use refusal::Refusal;
pub(crate) use settings::Settings;
use tokio::sync::Semaphore;
use tokio_util::io::ReaderStream;

/// How much of an answer is in memory, in bytes.
const PIECE: usize = 1 << 16;

/// What all requests of a process share.
#[derive(Debug)]
struct Studio {
    settings: Settings,
    desks: Semaphore,
    flips: Arc<Semaphore>,
}

/// The routes of one process.
pub(crate) fn router(settings: Settings) -> Router {
    let studio = Studio {
        desks: Semaphore::new(settings.desks),
        flips: Arc::new(Semaphore::new(settings.flips)),
        settings,
    };
    Router::new()
        .route("/", get(who))
        .route("/flip", post(flip))
        .layer(from_fn(timing::response_time))
        .with_state(Arc::new(studio))
}

async fn who() -> String {
    format!("Hello World from process {}\n", std::process::id())
}

async fn flip(State(studio): State<Arc<Studio>>, request: Request) -> Result<Response, Refusal> {
    let flipped = serve(&studio, request).await;
    if let Err(refusal) = &flipped {
        tracing::warn!("refused: {refusal}");
    }
    Ok(answer(flipped?))
}

async fn serve(studio: &Arc<Studio>, request: Request) -> Result<Flipped, Refusal> {
    let settings = &studio.settings;
    let came = Instant::now();
    let body = upload::admit(request, settings).await?;
    let _desk = studio.desks.acquire().await?;
    let began = Instant::now();
    let file = upload::receive(body, settings).await?;
    let arrived = Instant::now();
    let turn = Arc::clone(&studio.flips).acquire_owned().await?;
    let flipping = Instant::now();
    let flipped = if settings.inline {
        flip::flip(file, settings)?
    } else {
        let settings = settings.clone();
        let work = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the request: a client that leaves does not let one more in beside it.
            let _turn = turn;
            flip::flip(file, &settings)
        });
        work.await.map_err(|error| Refusal::of_panic(&error))??
    };
    tracing::info!(
        "flipped {} x {} pixels: waited {} ms, arrived in {} ms, waited {} ms, took {} ms",
        flipped.width,
        flipped.height,
        (began - came).as_millis(),
        (arrived - began).as_millis(),
        (flipping - arrived).as_millis(),
        flipping.elapsed().as_millis(),
    );
    Ok(flipped)
}

/// Sends the file as the client takes it. It is deleted already: it ends with this answer.
fn answer(flipped: Flipped) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, flipped.media_type);
    headers.insert(CONTENT_LENGTH, flipped.length.into());
    headers.insert("x-worker", std::process::id().into());
    let file = tokio::fs::File::from_std(flipped.file);
    (
        headers,
        Body::from_stream(ReaderStream::with_capacity(file, PIECE)),
    )
        .into_response()
}
