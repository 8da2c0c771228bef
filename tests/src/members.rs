//! Members of a fleet as tasks of the test's own process, and how to wait for what they do.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hatchery::fleet::{About, Fleet, FleetBoot};
use tokio::time::timeout;

use crate::wait::{PATIENCE, pass_in_task};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// How long a lease of [`boot`] lasts.
pub const LEASE: Duration = Duration::from_millis(1200);

/// Where a fleet meets, without a login, with short leases.
pub fn boot(address: &str) -> FleetBoot {
    FleetBoot {
        address: address.to_owned(),
        user: None,
        password_file: None,
        ca_file: None,
        lease: LEASE,
    }
}

/// The same with a login.
pub fn login(address: &str, user: Option<&str>, password_file: PathBuf) -> FleetBoot {
    FleetBoot {
        user: user.map(str::to_owned),
        password_file: Some(password_file),
        ..boot(address)
    }
}

/// Becomes a member of the fleet of `app`, with four workers.
pub fn join(boot: FleetBoot) -> Fleet {
    let about = About {
        name: "app".into(),
        version: Some("1.2.3".into()),
        workers: Arc::new(|| 4),
    };
    Fleet::join(boot, about)
}

/// So many members, once they are connected.
pub async fn connected<const N: usize>(address: &str) -> [Fleet; N] {
    let fleets = [(); N].map(|()| join(boot(address)));
    for fleet in &fleets {
        soon("a member connects", fleet.connected()).await;
    }
    fleets
}

/// Whether it says so.
pub fn is_connected(fleet: &Fleet) -> bool {
    fleet.status().unwrap().connected
}

/// What comes of it in [`PATIENCE`]; panics with `what` if nothing does.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = timeout(PATIENCE, future).await else {
        panic!("{what}: not within {PATIENCE:?}");
    };
    done
}

/// Looks until the condition holds.
pub async fn becomes(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !condition().await {
            pass_in_task(PAUSE).await;
        }
    })
    .await;
}
