//! `metrics`: the running application in numbers.

use hatchery_protocol::control::{Reply, Request};
use hatchery_protocol::exit::Exit;

use super::client::Client;
use super::{Outcome, say};

/// Asks the master and prints what it says, as it is.
pub(super) fn run(client: &Client) -> Outcome {
    let Reply::Metrics { text } = client.ask(&Request::Metrics)? else {
        return Err(client.failed("the master answered something else than its metrics"));
    };
    say::answer(text.trim_end());
    Ok(Exit::Orderly)
}
