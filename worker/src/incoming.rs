//! The connections of a listener that the application takes itself.
//!
//! Where the worker accepts, it does so when the application asks for a connection, and not before: a worker
//! that is busy leaves it to another, or to the kernel's queue. The application asks through [`Demand`], which
//! stands between the accept loop and its source. What the master hands over is here already, and waits.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::RawStream;
use crate::accept::{Accept, Accepted};

/// The connections of one listener, or of several that have one name, for a protocol of the application's
/// own. It comes from [`WorkerContext::take_listener`](crate::WorkerContext::take_listener).
///
/// With the strategies `shared` and `reuse-port`, a worker accepts a connection when it asks for one here: one
/// that is busy leaves clients to others. With those that let the master accept, its share waits here, and
/// [`max_connections`](hatchery_protocol::boot::HttpLimits::max_connections) bounds it.
///
/// Dropping it means that this worker takes no more. What is handed to it all the same is closed.
#[derive(Debug)]
pub struct Incoming {
    demand: Arc<Demand>,
    connections: UnboundedReceiver<RawStream>,
}

impl Incoming {
    /// The next connection. None comes before every process of the cluster is ready. When the worker leaves,
    /// those that wait in the queue still come, then `None`.
    ///
    /// Nothing is lost when the returned future is dropped: what it was about to give comes with the next
    /// call.
    pub async fn next(&mut self) -> Option<RawStream> {
        if let Ok(connection) = self.connections.try_recv() {
            return Some(connection);
        }
        self.demand.ask();
        self.connections.recv().await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.demand.withdraw();
    }
}

/// The other end: where accept loops put what was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    demand: Arc<Demand>,
    connections: UnboundedSender<RawStream>,
}

/// Both ends.
pub(crate) fn claim() -> (Claim, Incoming) {
    let demand = Arc::<Demand>::default();
    let (sender, receiver) = unbounded_channel();
    let claim = Claim {
        demand: Arc::clone(&demand),
        connections: sender,
    };
    let incoming = Incoming {
        demand,
        connections: receiver,
    };
    (claim, incoming)
}

impl Claim {
    /// The same source, giving only what is asked for.
    pub(crate) fn on_demand<A: Accept>(&self, source: A) -> OnDemand<A> {
        OnDemand {
            source,
            demand: Arc::clone(&self.demand),
        }
    }

    /// Passes a connection on. Where nobody takes it any more, it is closed.
    pub(crate) fn pass(&self, connection: RawStream) {
        let _ = self.connections.send(connection);
    }
}

/// Whether a connection is wanted.
#[derive(Debug, Default)]
struct Demand(Mutex<Wanted>);

#[derive(Debug, Default)]
struct Wanted {
    now: bool,
    /// Whether nobody will ever want one again.
    never: bool,
    /// The accept loops that wait for it to be wanted, one for each listener.
    loops: Vec<Waker>,
}

impl Demand {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) {
        let loops = {
            let mut wanted = self.lock();
            wanted.now = true;
            std::mem::take(&mut wanted.loops)
        };
        loops.into_iter().for_each(Waker::wake);
    }

    fn withdraw(&self) {
        let mut wanted = self.lock();
        wanted.now = false;
        wanted.never = true;
        wanted.loops.clear();
    }
}

/// A source that is asked only while a connection is wanted.
#[derive(Debug)]
pub(crate) struct OnDemand<A> {
    source: A,
    demand: Arc<Demand>,
}

impl<A: Accept> Accept for OnDemand<A> {
    type Stream = A::Stream;

    const KEEPS_LIMIT: bool = A::KEEPS_LIMIT;

    async fn accept(&mut self) -> io::Result<Accepted<A::Stream>> {
        let demand = &self.demand;
        let mut accepting = pin!(self.source.accept());
        poll_fn(|cx| {
            // Held over the system call, so that of several listeners one answers.
            let mut wanted = demand.lock();
            if wanted.now {
                let accepted = accepting.as_mut().poll(cx);
                wanted.now = !matches!(accepted, Poll::Ready(Ok(_)));
                if accepted.is_ready() {
                    return accepted;
                }
            }
            // Also while the source is waited for: another listener may answer first, and then it is asked
            // again only when it is wanted again.
            if !wanted.never && !wanted.loops.iter().any(|waker| waker.will_wake(cx.waker())) {
                wanted.loops.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    fn close(self, take: impl FnMut(Accepted<A::Stream>)) {
        // What nobody here wants is left to the other workers.
        if !self.demand.lock().never {
            self.source.close(take);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use tokio::io::{DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    /// A source with so many connections in its queue.
    struct Waiting(VecDeque<DuplexStream>);

    impl Waiting {
        fn new(connections: usize) -> Self {
            Self((0..connections).map(|_| duplex(1).1).collect())
        }
    }

    impl Accept for Waiting {
        type Stream = DuplexStream;

        async fn accept(&mut self) -> io::Result<Accepted<DuplexStream>> {
            match self.0.pop_front() {
                Some(stream) => Ok(Accepted {
                    listener: 0,
                    stream,
                }),
                None => std::future::pending().await,
            }
        }

        fn close(self, mut take: impl FnMut(Accepted<DuplexStream>)) {
            for stream in self.0 {
                take(Accepted {
                    listener: 0,
                    stream,
                });
            }
        }
    }

    async fn gives(source: &mut OnDemand<Waiting>) -> bool {
        let accepted = timeout(Duration::from_millis(1), source.accept()).await;
        accepted.is_ok_and(|accepted| accepted.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn each_connection_is_asked_for() {
        let (claim, incoming) = claim();
        let mut source = claim.on_demand(Waiting::new(3));
        assert!(!gives(&mut source).await, "nobody asked");
        incoming.demand.ask();
        incoming.demand.ask();
        assert!(gives(&mut source).await);
        assert!(!gives(&mut source).await, "it was asked for one");
    }

    #[tokio::test(start_paused = true)]
    async fn of_several_listeners_one_answers() {
        let (claim, incoming) = claim();
        let mut first = claim.on_demand(Waiting::new(1));
        let mut second = claim.on_demand(Waiting::new(1));
        incoming.demand.ask();
        assert!(gives(&mut first).await);
        assert!(!gives(&mut second).await);
        incoming.demand.ask();
        assert!(!gives(&mut first).await, "it has none");
        assert!(gives(&mut second).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_waits_hears_of_every_demand() {
        let (claim, incoming) = claim();
        let demand = Arc::clone(&incoming.demand);
        let mut source = claim.on_demand(Waiting::new(2));
        let loops = tokio::spawn(async move {
            for _ in 0..2 {
                source.accept().await.unwrap();
            }
        });
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(!loops.is_finished());
            demand.ask();
        }
        loops.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_last_call_gives_what_waits_only_to_somebody_who_is_there() {
        let (wanted, _incoming) = claim();
        let mut taken = 0;
        wanted.on_demand(Waiting::new(3)).close(|_| taken += 1);
        assert_eq!(taken, 3);

        let (unwanted, incoming) = claim();
        let mut source = unwanted.on_demand(Waiting::new(3));
        drop(incoming);
        assert!(!gives(&mut source).await);
        source.close(|_| panic!("taken for nobody"));
    }
}
