//! Why a picture is not flipped: a status for programs, a sentence for people.

use std::fmt;
use std::io;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::AcquireError;
use tokio::task::JoinError;

/// The answer to a request that gets no picture.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    sentence: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self { status, sentence }
    }

    /// The temporary folder does not take what is written to it.
    pub(super) fn of_folder(error: &io::Error) -> Self {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded) {
            let sentence = "the temporary folder is full: nothing was kept, try again later";
            return Self::new(StatusCode::INSUFFICIENT_STORAGE, sentence);
        }
        let sentence = format!("the temporary folder cannot be used: {error}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, sentence)
    }

    /// A bug of a decoder's: it costs this picture only.
    pub(super) fn of_panic(error: &JoinError) -> Self {
        tracing::error!("flipping failed: {error}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "this picture cannot be flipped, and that is no fault of yours",
        )
    }
}

/// Nobody closes the semaphores as long as requests are served.
impl From<AcquireError> for Refusal {
    fn from(_: AcquireError) -> Self {
        let sentence = "this process is leaving, try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status.as_u16(), self.sentence)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, format!("{}\n", self.sentence)).into_response()
    }
}
