//! How long an answer took, in a header.

use std::time::Instant;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;

/// From the head of the request to the head of the answer.
pub(super) async fn response_time(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let mut response = next.run(request).await;
    let took = format!("{}ms", began.elapsed().as_millis());
    if let Ok(took) = HeaderValue::try_from(took) {
        response.headers_mut().insert("x-response-time", took);
    }
    response
}
