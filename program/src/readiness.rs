//! When a program counts as ready.
//!
//! | `program_ready` | ready when |
//! |---|---|
//! | `notify` | it says so (`READY=1`, sd_notify(3)) |
//! | `accept` | it says so, or it lives for the settling time and somebody accepts at every address |
//! | `alive` | it says so, or it lives for the settling time |

use std::time::Duration;

use hatchery_protocol::boot::Readiness;
use tokio::time::sleep;

use crate::notify::Notify;
use crate::probe::Door;

/// What is waited for.
#[derive(Debug)]
pub(crate) struct Signs {
    pub(crate) readiness: Readiness,
    pub(crate) settle: Duration,
    /// Every address that can be knocked at, as operators know it.
    pub(crate) doors: Vec<(String, Door)>,
}

/// How far a program has come that is not ready in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Where nobody has accepted so far.
    silent: Vec<String>,
}

impl Signs {
    /// Waits until the program is ready, keeping `progress` up to date.
    pub(crate) async fn seen(&self, notify: &Notify, progress: &mut Progress) {
        let visible = async {
            match self.readiness {
                Readiness::Notify => std::future::pending().await,
                Readiness::Alive => sleep(self.settle).await,
                Readiness::Accept => {
                    tokio::join!(sleep(self.settle), self.accepted(progress));
                }
            }
        };
        tokio::select! {
            () = notify.ready() => {}
            () = visible => {}
        }
    }

    async fn accepted(&self, progress: &mut Progress) {
        progress.silent = self.doors.iter().map(|(name, _)| name.clone()).collect();
        for (_, door) in &self.doors {
            door.opened().await;
            progress.silent.remove(0);
        }
    }

    /// What to tell whoever waited in vain for `limit`.
    pub(crate) fn complaint(&self, progress: &Progress, limit: Duration) -> String {
        let limit = format!("within {limit:?}");
        match self.readiness {
            Readiness::Notify => format!(
                "the program did not say READY=1 to its NOTIFY_SOCKET {limit}; if it does not know sd_notify, take \
                 `program_ready` accept or alive"
            ),
            Readiness::Accept => format!(
                "nobody accepted a connection at {} {limit}; the program has to take the listening sockets that it is \
                 given as descriptors 3 and up (LISTEN_FDS), instead of opening its own",
                progress.silent.join(", ")
            ),
            Readiness::Alive => format!("the program did not settle {limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use hatchery_protocol::boot::Family;

    use super::*;

    fn signs(readiness: Readiness, listeners: &[&TcpListener]) -> Signs {
        let door = |listener: &&TcpListener| {
            let socket = listener.try_clone().unwrap().into();
            let door = Door::of(Family::Tcp, &socket).unwrap().unwrap();
            (listener.local_addr().unwrap().to_string(), door)
        };
        Signs {
            readiness,
            settle: Duration::from_millis(10),
            doors: listeners.iter().map(door).collect(),
        }
    }

    async fn in_time(signs: &Signs, progress: &mut Progress) -> bool {
        let notify = Notify::open().unwrap();
        let seen = signs.seen(&notify, progress);
        let limit = Duration::from_millis(300);
        tokio::time::timeout(limit, seen).await.is_ok()
    }

    #[tokio::test]
    async fn each_kind_has_its_sign() {
        let served = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut progress = Progress::default();
        assert!(in_time(&signs(Readiness::Alive, &[&silent]), &mut progress).await);
        assert!(!in_time(&signs(Readiness::Notify, &[]), &mut progress).await);
        let accepting = served.try_clone().unwrap();
        std::thread::spawn(move || accepting.incoming().for_each(drop));
        let one = signs(Readiness::Accept, &[&served]);
        assert!(in_time(&one, &mut progress).await);
        let two = signs(Readiness::Accept, &[&served, &silent]);
        assert!(!in_time(&two, &mut progress).await);
        let complaint = two.complaint(&progress, Duration::from_secs(1));
        let start = format!(
            "nobody accepted a connection at {} within 1s;",
            silent.local_addr().unwrap()
        );
        assert!(complaint.starts_with(&start), "{complaint}");
    }
}
