//! From the client to the temporary folder, piece by piece.

use std::fs::File;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::Settings;
use super::refusal::Refusal;

/// How long a client may go on with a picture that is refused already.
const REST: Duration = Duration::from_secs(5);

/// The body, unless it is too large by its own account: that is said before it waits for anything.
pub(super) async fn admit(request: Request, settings: &Settings) -> Result<Body, Refusal> {
    let (head, body) = request.into_parts();
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > settings.max_bytes => {
            // A client that asks first (`Expect: 100-continue`, as curl does) has sent nothing, and need not.
            if !head.headers.contains_key(EXPECT) {
                hear_out(&mut body.into_data_stream(), settings).await;
            }
            Err(too_large(settings))
        }
        _ => Ok(body),
    }
}

/// A file without a name that holds the body. Whatever goes wrong, it is gone.
pub(super) async fn receive(body: Body, settings: &Settings) -> Result<File, Refusal> {
    let file = tempfile::tempfile_in(&settings.dir).map_err(|e| Refusal::of_folder(&e))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut pieces = body.into_data_stream();
    let written = timeout(settings.arrival, write(&mut pieces, &mut file, settings)).await;
    let written = written.unwrap_or_else(|_| {
        let seconds = settings.arrival.as_secs();
        let sentence = format!("the picture did not arrive within {seconds} s");
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, sentence))
    });
    match written {
        Ok(()) => Ok(file.into_std().await),
        Err(refusal) => {
            drop(file);
            hear_out(&mut pieces, settings).await;
            Err(refusal)
        }
    }
}

async fn write(
    pieces: &mut BodyDataStream,
    file: &mut tokio::fs::File,
    settings: &Settings,
) -> Result<(), Refusal> {
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            let sentence = format!("the picture did not arrive: {error}");
            Refusal::new(StatusCode::BAD_REQUEST, sentence)
        })?;
        length += piece.len() as u64;
        if length > settings.max_bytes {
            return Err(too_large(settings));
        }
        let written = file.write_all(&piece).await;
        written.map_err(|e| Refusal::of_folder(&e))?;
    }
    // The last piece may still be on its way, and the disk full.
    file.flush().await.map_err(|e| Refusal::of_folder(&e))?;
    if length == 0 {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "there is no picture: send a JPEG or PNG file as the body",
        ));
    }
    Ok(())
}

/// Reads on and forgets, as much as a picture may be large: most clients look for an answer when they have sent all, and a
/// connection that is closed while they send costs them the answer.
async fn hear_out(pieces: &mut BodyDataStream, settings: &Settings) {
    let mut left = settings.max_bytes;
    let hearing = async {
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 {
                break;
            }
        }
    };
    // Who takes longer has had its time.
    let _ = timeout(REST, hearing).await;
}

fn too_large(settings: &Settings) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "the picture is too large: at most {} MiB are taken",
            settings.max_bytes >> 20
        ),
    )
}
