//! The server of one worker: sources of connections, the connections, and what they have in common.

use std::sync::{Arc, Weak};

use axum::Router;
use hatchery_protocol::boot::HttpLimits;
use hatchery_protocol::child::CancellationToken;
use hatchery_protocol::child::gauge::GaugeCells;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::RawStream;
use crate::accept::{self, Accept, Accepted};
use crate::ahead::Ahead;
use crate::client::ClientInfo;
use crate::connection::{Arrival, Http};
use crate::listeners::Claims;
use crate::opening::Opening;
use crate::room::{Place, Room};
use crate::stream::{Socket, Stream};
use crate::tracker::Tracker;

/// Serves a router on any number of sources. Knows nothing of the master.
#[derive(Debug)]
pub(crate) struct Server {
    http: Arc<Http>,
    router: Router,
    tracker: Arc<Tracker>,
    room: Room,
    connect_info: bool,
    listeners: Arc<[Listener]>,
    stop_accepting: CancellationToken,
    accepting: Vec<JoinHandle<()>>,
}

/// What the connections of one listener have in common.
#[derive(Debug)]
pub(crate) struct Listener {
    name: Option<Arc<str>>,
    opening: Option<Arc<Opening>>,
}

impl Listener {
    /// Without an `opening`, connections begin with HTTP.
    pub(crate) fn new(name: Option<&str>, opening: Option<Opening>) -> Self {
        Self {
            name: name.map(Arc::from),
            opening: opening.map(Arc::new),
        }
    }

    pub(crate) const fn has_opening(&self) -> bool {
        self.opening.is_some()
    }
}

impl Server {
    pub(crate) fn new(router: Router, gauges: &Arc<GaugeCells>, limits: &HttpLimits) -> Self {
        let tracker = Tracker::new(Arc::clone(gauges), limits.max_requests_per_connection);
        let tracker = Arc::new(tracker);
        let known: Weak<Tracker> = Arc::downgrade(&tracker);
        gauges.set_work(known);
        Self {
            http: Arc::new(Http::new(limits)),
            // Turns everything into routes now, instead of with each request.
            router: router.with_state(()),
            tracker,
            room: Room::new(limits.max_connections),
            connect_info: false,
            listeners: Arc::default(),
            stop_accepting: CancellationToken::new(),
            accepting: Vec::new(),
        }
    }

    pub(crate) const fn tracker(&self) -> &Arc<Tracker> {
        &self.tracker
    }

    /// Rung with each connection that is closed from now on.
    pub(crate) fn closings(&mut self) -> Arc<Notify> {
        self.room.bell()
    }

    /// Whether handlers are told who their clients are, for the sources that follow.
    pub(crate) const fn set_connect_info(&mut self, told: bool) {
        self.connect_info = told;
    }

    /// How connections are served, by the index of their listener, for the sources that follow. A listener
    /// that is not there is a plain one.
    pub(crate) fn set_listeners(&mut self, listeners: Vec<Listener>) {
        self.listeners = listeners.into();
    }

    /// Begins to serve what `source` gives.
    pub(crate) fn listen(&mut self, source: impl Accept) {
        let serve = self.serve();
        self.accept(source, serve);
    }

    /// As [`listen`](Self::listen), but what comes to a listener that the application has claimed is the
    /// application's.
    pub(crate) fn listen_claimed(
        &mut self,
        source: impl Accept<Stream = Stream>,
        claims: Arc<Claims>,
    ) {
        let mut serve = self.serve();
        let tracker = Arc::clone(&self.tracker);
        let take = move |accepted: Accepted<Stream>, place| match claims.get(&accepted.listener) {
            Some(claim) => {
                let guard = tracker.track(accepted.listener, place);
                claim.pass(RawStream::new(accepted.stream, guard));
            }
            None => serve(accepted, place),
        };
        self.accept(source, take);
    }

    /// Serves HTTP on a connection.
    fn serve<S>(&self) -> impl FnMut(Accepted<S>, Place) + Send + use<S>
    where
        S: Socket,
    {
        let http = Arc::clone(&self.http);
        let router = self.router.clone();
        let tracker = Arc::clone(&self.tracker);
        let listeners = Arc::clone(&self.listeners);
        let connect_info = self.connect_info;
        move |accepted, place| {
            let Accepted { listener, stream } = accepted;
            let served = listeners.get(listener);
            let name = || served.and_then(|served| served.name.as_ref());
            let arrival = Arrival {
                // Counted before the task runs: a drain that begins now must not overlook it.
                guard: tracker.track(listener, place),
                since: Instant::now(),
                client: connect_info.then(|| ClientInfo::of(&stream, name())),
            };
            let (http, router) = (Arc::clone(&http), router.clone());
            match served.and_then(|served| served.opening.as_ref()) {
                None => spawn(http.serve(Ahead::new(stream), arrival, router)),
                Some(opening) => spawn(Arc::clone(opening).serve(http, stream, arrival, router)),
            }
        }
    }

    fn accept<A: Accept>(
        &mut self,
        source: A,
        take: impl FnMut(Accepted<A::Stream>, Place) + Send + 'static,
    ) {
        let accepting = accept::run(source, self.room.clone(), self.stop_accepting.clone(), take);
        self.accepting.push(tokio::spawn(accepting));
    }

    /// Takes what waits in the queues, then closes the listeners. Returns when they are closed.
    pub(crate) async fn stop_accepting(&mut self) {
        self.stop_accepting.cancel();
        for accepting in self.accepting.drain(..) {
            // It can only have failed by a panic, and then its listener is closed as well.
            let _ = accepting.await;
        }
    }
}

/// Lets a connection be served. Its future is of 2 KB, and the runtime moves what it is given
/// eight times from its start to its end: what it is given is where the future is.
fn spawn(serving: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(Box::pin(serving));
}
