//! The life of a worker process, from its boot to its exit code.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::Router;
use hatchery_protocol::boot::ListenerBoot;
use hatchery_protocol::child::gauge::GaugeCells;
use hatchery_protocol::child::life::{self, Life};
use hatchery_protocol::child::{BoxError, Child, Draining, Shutdown};
use hatchery_protocol::exit::Exit;
use tokio::runtime::{Builder, Runtime};

use crate::server::Server;
use crate::{Worker, WorkerContext, accept, drain};

/// Lives the worker's life to its end. The returned code is what `main` should end with.
///
/// Tasks that are still running at the end are dropped, and blocking ones are left behind: the process is
/// over when this returns.
pub fn run(mut child: Child, worker: Box<dyn Worker>) -> Exit {
    let runtime = match runtime(child.boot().settings.threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the worker's runtime could not be started: {error}");
            return Exit::Internal;
        }
    };
    let listeners = child.boot().listeners.clone();
    let life = WorkerLife {
        context: WorkerContext::new(&child),
        shutdown: child.shutdown(),
        gauges: child.gauges(),
        listeners: listeners.into_iter().zip(child.take_listeners()).collect(),
        worker,
        router: Router::new(),
        server: None,
    };
    let exit = runtime.block_on(life::run(child, life));
    // Not dropped: that would wait for blocking tasks, which nobody can interrupt.
    runtime.shutdown_background();
    exit
}

/// One thread is a runtime of its own kind: it never synchronizes with others.
fn runtime(threads: u32) -> io::Result<Runtime> {
    let mut builder = if threads <= 1 {
        Builder::new_current_thread()
    } else {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(usize::try_from(threads).unwrap_or(usize::MAX));
        builder
    };
    builder.thread_name("hatchery-worker").enable_all().build()
}

struct WorkerLife {
    worker: Box<dyn Worker>,
    context: WorkerContext,
    shutdown: Shutdown,
    gauges: Arc<GaugeCells>,
    /// Sockets that do not listen yet. Left alone until `open`.
    listeners: Vec<(ListenerBoot, OwnedFd)>,
    /// What `start` returned, until `open` takes it.
    router: Router,
    server: Option<Server>,
}

impl WorkerLife {
    fn listen(&mut self) -> io::Result<()> {
        let settings = self.context.settings();
        let router = std::mem::take(&mut self.router);
        let gauges = Arc::clone(&self.gauges);
        let server = Server::new(router, gauges, &settings.http);
        let server = self.server.insert(server);
        for (index, (boot, socket)) in self.listeners.drain(..).enumerate() {
            server.listen(index, accept::open(&boot, socket)?);
        }
        Ok(())
    }
}

impl Life for WorkerLife {
    const TRAIT: &'static str = "Worker";

    async fn start(&mut self) -> Result<(), BoxError> {
        self.router = self.worker.start(&self.context).await?;
        Ok(())
    }

    async fn egg_ready(&mut self) -> Result<(), BoxError> {
        // A worker that cannot accept is worth nothing; the next one may be luckier.
        self.listen()
            .map_err(|error| format!("a listening socket cannot be used: {error}"))?;
        self.worker.egg_ready(&self.context).await
    }

    async fn drain(&mut self, order: Draining) {
        // Closed unused, if they were never opened.
        self.listeners.clear();
        if let Some(server) = &mut self.server {
            let lame_duck = self.context.settings().lame_duck;
            drain::drain(server, order, &self.shutdown, lame_duck).await;
        }
        self.shutdown.token().cancel();
    }

    async fn before_close(&mut self) -> Result<(), BoxError> {
        self.worker.before_close(&self.context).await
    }
}
