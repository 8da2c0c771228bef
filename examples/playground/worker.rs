//! A worker whose hooks fail when asked; what its requests do is in `routes`.

use axum::Router;
use hatchery::{BoxError, Worker, WorkerContext, async_trait};

use crate::beside;
use crate::fault::Fault;
use crate::hosts;
use crate::jobs;
use crate::mail;
use crate::routes;
use crate::settings::Settings;
use crate::trace::{Hook, Trace};

#[derive(Default)]
pub(crate) struct PlaygroundWorker {
    settings: Settings,
    trace: Trace,
}

impl PlaygroundWorker {
    /// The fault, if it is meant for this worker.
    fn concerning(&self, context: &WorkerContext, fault: Fault) -> Fault {
        match self.settings.worker_slot {
            Some(slot) if slot != context.slot() => Fault::None,
            Some(_) | None => fault,
        }
    }
}

#[async_trait]
impl Worker for PlaygroundWorker {
    async fn start(&mut self, context: &WorkerContext) -> Result<Router, BoxError> {
        self.trace = Trace::open("worker", Some(context.slot()))?;
        self.trace.enter(Hook::Start)?;
        self.trace.follow(context.members())?;
        self.settings = Settings::read()?;
        beside::take(context);
        jobs::register(context);
        hosts::listen(context)?;
        let fault = self.settings.worker_start()?;
        self.concerning(context, fault).happen().await?;
        let mail = mail::open(context.messenger())?;
        Ok(routes::router(context.clone(), mail))
    }

    fn connect_info(&self) -> bool {
        true
    }

    async fn egg_ready(&mut self, context: &WorkerContext) -> Result<(), BoxError> {
        self.trace.enter(Hook::EggReady)?;
        beside::answer_datagrams(context);
        let fault = self.settings.worker_egg_ready;
        self.concerning(context, fault).happen().await
    }

    async fn before_close(&mut self, context: &WorkerContext) -> Result<(), BoxError> {
        self.trace.enter(Hook::BeforeClose)?;
        if std::env::var_os("PLAYGROUND_LAST_WORDS").is_some() {
            mail::last_words(context).await?;
        }
        let fault = self.settings.before_close;
        self.concerning(context, fault).happen().await
    }
}
