//! The application's own configuration, as one process has it.
//!
//! A worker keeps what came with its boot message. An agent lives on over a reload and hears of the new one: it waits here
//! until the agent's hook can be called, and what the context shows changes just before that. Of several that come
//! meanwhile the newest counts.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::section::{ConfigError, Judge, Section};

#[derive(Debug)]
pub(super) struct Configured {
    current: Mutex<Arc<Section>>,
    next: Mutex<Option<Section>>,
    come: Notify,
    /// What knows the author's type.
    judge: OnceLock<Judge>,
}

impl Configured {
    pub(super) fn new(section: Section) -> Self {
        Self {
            current: Mutex::new(Arc::new(section)),
            next: Mutex::new(None),
            come: Notify::new(),
            judge: OnceLock::new(),
        }
    }

    /// What holds.
    pub(super) fn current(&self) -> Arc<Section> {
        Arc::clone(&lock(&self.current))
    }

    /// Judges what holds, and from now on what comes.
    pub(super) fn judge_by(&self, judge: Judge) -> Result<(), ConfigError> {
        let judge = self.judge.get_or_init(|| judge);
        judge(&self.current())
    }

    /// Another one has come. To be called on the runtime.
    pub(super) fn offer(&self, section: Section) {
        *lock(&self.next) = Some(section);
        self.come.notify_one();
    }

    /// Waits for one that differs from what holds.
    pub(super) async fn changed(&self) -> Section {
        loop {
            let next = lock(&self.next).take();
            if let Some(section) = next.filter(|next| *next != *self.current()) {
                return section;
            }
            self.come.notified().await;
        }
    }

    /// Lets it hold, if the author's type can take it.
    pub(super) fn take_up(&self, section: Section) -> Result<(), ConfigError> {
        if let Some(judge) = self.judge.get() {
            judge(&section)?;
        }
        *lock(&self.current) = Arc::new(section);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::section::Value;

    fn section(name: &str) -> Section {
        Section::new([("name".to_owned(), Value::Text(name.into()))].into(), None)
    }

    fn refuses_bad(section: &Section) -> Result<(), ConfigError> {
        #[derive(serde::Deserialize)]
        struct Named {
            name: String,
        }
        let named: Named = section.read()?;
        if named.name == "bad" {
            // An error of any kind will do.
            return section.read::<u8>().map(drop);
        }
        Ok(())
    }

    #[test]
    fn the_newest_that_differs_is_taken_up() {
        let configured = Configured::new(section("a"));
        configured.judge_by(refuses_bad).unwrap();
        assert!(configured.changed().now_or_never().is_none());
        configured.offer(section("a"));
        assert!(configured.changed().now_or_never().is_none(), "the same");
        configured.offer(section("b"));
        configured.offer(section("c"));
        let next = configured.changed().now_or_never().unwrap();
        assert_eq!(next, section("c"));
        assert_eq!(*configured.current(), section("a"), "not yet");
        configured.take_up(next).unwrap();
        assert_eq!(*configured.current(), section("c"));
        assert!(configured.changed().now_or_never().is_none());
    }

    #[test]
    fn one_that_cannot_be_read_changes_nothing() {
        let configured = Configured::new(section("a"));
        configured.judge_by(refuses_bad).unwrap();
        assert!(configured.take_up(section("bad")).is_err());
        assert_eq!(*configured.current(), section("a"));
        let bad = Configured::new(section("bad"));
        assert!(bad.judge_by(refuses_bad).is_err());
    }

    #[tokio::test]
    async fn whoever_waits_hears_of_it() {
        let configured = Arc::new(Configured::new(section("a")));
        let waiting = Arc::clone(&configured);
        let waits = tokio::spawn(async move { waiting.changed().await });
        tokio::task::yield_now().await;
        configured.offer(section("b"));
        assert_eq!(waits.await.unwrap(), section("b"));
    }
}
