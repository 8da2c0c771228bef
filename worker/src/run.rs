//! The life of a worker process, from its boot to its exit code.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use hatchery_protocol::boot::{Lane, ListenerBoot};
use hatchery_protocol::child::gauge::GaugeCells;
use hatchery_protocol::child::life::{self, Life};
use hatchery_protocol::child::{BoxError, Child, Draining, Shutdown, Sockets, thread};
use hatchery_protocol::exit::Exit;
use hatchery_protocol::id::Seat;
use hatchery_protocol::secret::Secret;
use tokio::runtime::{Builder, Runtime};

use crate::accept::{Handed, SharedListener};
use crate::jobs::Jobs;
use crate::listeners::Listeners;
use crate::opening::Opening;
use crate::server::{Listener, Server};
use crate::{Worker, WorkerContext, drain};

/// Lives the worker's life to its end. The returned code is what `main` should end with.
///
/// Tasks that are still running at the end are dropped, and blocking ones are left behind: the process is
/// over when this returns.
pub fn run(mut child: Child, worker: Box<dyn Worker>) -> Exit {
    let seat = child.boot().child.seat;
    let runtime = match runtime(child.boot().settings.threads, seat) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the worker's runtime could not be started: {error}");
            return Exit::Internal;
        }
    };
    let mut sockets = child.take_sockets();
    let opened = {
        let _on_it = runtime.enter();
        Listeners::open(&child.boot().listeners, &mut sockets.listeners)
    };
    let listeners = match opened {
        Ok(listeners) => listeners,
        Err(error) => {
            tracing::error!("a UDP socket cannot be used: {error}");
            return Exit::Internal;
        }
    };
    let ticket_secret = child.boot().ticket_secret.clone();
    let life = WorkerLife {
        context: WorkerContext::new(&child, listeners),
        shutdown: child.shutdown(),
        gauges: child.gauges(),
        lane: child.boot().lane,
        listeners: child.boot().listeners.clone(),
        sockets,
        served: Vec::new(),
        ticket_secret,
        worker,
        router: Router::new(),
        server: None,
        needed_jobs: child.boot().jobs.clone(),
    };
    let exit = runtime.block_on(life::run(child, life));
    // Not dropped: that would wait for blocking tasks, which nobody can interrupt.
    runtime.shutdown_background();
    exit
}

/// One thread is a runtime of its own kind: it never synchronizes with others.
fn runtime(threads: u32, seat: Seat) -> io::Result<Runtime> {
    let mut builder = if threads <= 1 {
        Builder::new_current_thread()
    } else {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(usize::try_from(threads).unwrap_or(usize::MAX));
        builder
    };
    builder
        .thread_name("hatchery-worker")
        .on_thread_start(move || thread::work_for(seat))
        .enable_all()
        .build()
}

/// What runs is finished, or the time is over.
async fn jobs_end(jobs: Jobs, shutdown: Shutdown, mut order: Draining) {
    let mut drained = pin!(jobs.drain());
    loop {
        tokio::select! {
            () = &mut drained => return,
            hastened = shutdown.hastened(order) => order = hastened,
            () = tokio::time::sleep_until(drain::end_of(order)) => return,
        }
    }
}

struct WorkerLife {
    worker: Box<dyn Worker>,
    context: WorkerContext,
    shutdown: Shutdown,
    gauges: Arc<GaugeCells>,
    lane: Option<Lane>,
    listeners: Vec<ListenerBoot>,
    /// Nothing comes from them yet. Left alone until `listen`.
    sockets: Sockets,
    /// How each is served. Made by `start`, so that a certificate that cannot be used fails it.
    served: Vec<Listener>,
    ticket_secret: Option<Secret>,
    /// What `start` returned, until `listen` takes it.
    router: Router,
    server: Option<Server>,
    /// What the agent's schedules run here.
    needed_jobs: Vec<String>,
}

impl WorkerLife {
    fn listen(&mut self) -> io::Result<()> {
        let settings = self.context.settings();
        let router = std::mem::take(&mut self.router);
        let gauges = Arc::clone(&self.gauges);
        let server = Server::new(router, &gauges, &settings.http);
        let server = self.server.insert(server);
        server.set_connect_info(self.worker.connect_info());
        server.set_listeners(std::mem::take(&mut self.served));
        let claims = Arc::new(self.context.listeners().close());
        let sockets = std::mem::take(&mut self.sockets);
        let accepting = self.listeners.iter().zip(sockets.listeners).enumerate();
        for (index, (listener, socket)) in accepting {
            let Some(socket) = socket else {
                continue;
            };
            let source = SharedListener::open(index, listener.family, socket)?;
            match claims.get(&index) {
                Some(claim) => server.listen_claimed(claim.on_demand(source), Arc::clone(&claims)),
                None => server.listen(source),
            }
        }
        if let Some(lane) = sockets.lane {
            let families = self.listeners.iter().map(|l| l.family).collect();
            let reports = self.lane.is_some_and(|lane| lane.report_closings);
            let closings = reports.then(|| server.closings());
            let gauges = Arc::clone(&self.gauges);
            let source = Handed::open(lane, families, gauges, closings)?;
            server.listen_claimed(source, claims);
        }
        Ok(())
    }
}

impl WorkerLife {
    /// What would be plain bytes to the application must not look like TLS to the operator.
    fn refuse_raw_openings(&self) -> Result<(), BoxError> {
        let claimed = self.context.listeners().claimed();
        for index in claimed {
            if let (Some(boot), Some(served)) = (self.listeners.get(index), self.served.get(index))
                && served.has_opening()
            {
                let address = &boot.address;
                return Err(format!(
                    "the application takes the connections of {address} itself, where there is neither TLS nor the \
                     PROXY protocol; take `cert`, `key` and `proxy-protocol` away from that address"
                )
                .into());
            }
        }
        Ok(())
    }
}

impl Life for WorkerLife {
    const TRAIT: &'static str = "Worker";

    async fn start(&mut self) -> Result<(), BoxError> {
        for boot in &self.listeners {
            let opening = Opening::new(boot, self.ticket_secret.as_ref())?;
            self.served
                .push(Listener::new(boot.name.as_deref(), opening));
        }
        self.router = self.worker.start(&self.context).await?;
        self.refuse_raw_openings()?;
        let jobs = self.context.jobs();
        jobs.check(&self.needed_jobs)?;
        jobs.serve(self.context.messenger())
    }

    async fn egg_ready(&mut self) -> Result<(), BoxError> {
        // A worker that cannot accept is worth nothing; the next one may be luckier.
        self.listen()
            .map_err(|error| format!("a listening socket cannot be used: {error}"))?;
        self.worker.egg_ready(&self.context).await
    }

    async fn drain(&mut self, order: Draining) {
        // Somebody may have connected in the moment between the first `listen` and this stop.
        if self.server.is_none()
            && let Err(error) = self.listen()
        {
            tracing::warn!("who has connected cannot be served: {error}");
        }
        // Closed unused, if they were never opened.
        self.sockets = Sockets::default();
        drop(self.context.listeners().close());
        let jobs = jobs_end(self.context.jobs().clone(), self.shutdown.clone(), order);
        if let Some(server) = &mut self.server {
            let lame_duck = self.context.settings().lame_duck;
            let served = drain::drain(server, order, &self.shutdown, lame_duck);
            tokio::join!(served, jobs);
        } else {
            jobs.await;
        }
        self.shutdown.token().cancel();
    }

    async fn before_close(&mut self) -> Result<(), BoxError> {
        self.worker.before_close(&self.context).await
    }
}
