//! When the source changes.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::package::Package;
use super::sources::Sources;
use super::{DevError, say};

/// An editor writes several files, or one several times: they are one change when it has been quiet for so long.
const QUIET: Duration = Duration::from_millis(100);

pub(super) struct Changes {
    watcher: RecommendedWatcher,
    events: UnboundedReceiver<notify::Result<Event>>,
    sources: Sources,
    /// Folders that are watched, and whether with all below.
    watched: BTreeSet<(PathBuf, bool)>,
    /// There was a change that nobody was told of yet.
    pending: bool,
}

impl Changes {
    /// Watches the package, and these paths.
    pub(super) fn watch(package: &Package, further: &[PathBuf]) -> Result<Self, DevError> {
        let mut sources = Sources::default();
        sources.package(package.folder());
        for path in further {
            // What is watched has its whole path in the events.
            let whole = path.canonicalize().map_err(|source| DevError::Watch {
                path: path.clone(),
                source,
            })?;
            sources.path(whole);
        }
        Self::of(sources)
    }

    fn of(sources: Sources) -> Result<Self, DevError> {
        let (sender, events) = unbounded_channel();
        let tell = move |event: notify::Result<Event>| {
            // Reading is not changing, and a build reads everything.
            if !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
                // Nobody listens any more: it is over.
                let _ = sender.send(event);
            }
        };
        let watcher = notify::recommended_watcher(tell).map_err(|error| DevError::Watch {
            path: PathBuf::from("."),
            source: into_io(error),
        })?;
        let mut changes = Self {
            watcher,
            events,
            sources,
            watched: BTreeSet::new(),
            pending: false,
        };
        changes.watch_sources()?;
        Ok(changes)
    }

    /// Watches all that this program was made of, too.
    pub(super) fn follow(&mut self, program: &Path) -> Result<(), DevError> {
        self.sources.of_program(program);
        self.watch_sources()
    }

    fn watch_sources(&mut self) -> Result<(), DevError> {
        let trees = self.sources.trees.iter().map(|tree| (tree.clone(), true));
        // By their folders: most editors write another file and rename it.
        let files = self.sources.files.iter().filter_map(|file| file.parent());
        let files = files.map(|folder| (folder.to_owned(), false));
        let wanted: BTreeSet<_> = trees.chain(files).collect();
        for (folder, deep) in wanted.difference(&self.watched.clone()) {
            if !folder.is_dir() {
                continue;
            }
            let mode = if *deep {
                RecursiveMode::Recursive
            } else {
                RecursiveMode::NonRecursive
            };
            self.watcher
                .watch(folder, mode)
                .map_err(|error| DevError::Watch {
                    path: folder.clone(),
                    source: into_io(error),
                })?;
            self.watched.insert((folder.clone(), *deep));
        }
        Ok(())
    }

    /// Waits for the next change, and until it is over. A change is not lost if this is dropped.
    pub(super) async fn next(&mut self) {
        while !self.pending {
            match self.events.recv().await {
                Some(event) => self.pending = self.concerns(&event),
                None => std::future::pending().await,
            }
        }
        let mut over = Instant::now() + QUIET;
        while let Ok(Some(event)) = timeout_at(over, self.events.recv()).await {
            if self.concerns(&event) {
                over = Instant::now() + QUIET;
            }
        }
        self.pending = false;
    }

    /// A folder that was put in the place of another one has to be watched anew.
    fn renew(&mut self, event: &Event) {
        let trees = &self.sources.trees;
        let new: Vec<_> = event
            .paths
            .iter()
            .filter(|path| trees.contains(*path))
            .collect();
        for tree in &new {
            self.watched.remove(&((*tree).clone(), true));
        }
        if !new.is_empty()
            && let Err(error) = self.watch_sources()
        {
            say(&format!("{error}: its changes are not seen"));
        }
    }

    fn concerns(&mut self, event: &notify::Result<Event>) -> bool {
        match event {
            Ok(event) => {
                self.renew(event);
                event.need_rescan() || event.paths.iter().any(|path| self.sources.concern(path))
            }
            // Something was missed.
            Err(_) => true,
        }
    }
}

fn into_io(error: notify::Error) -> io::Error {
    match error.kind {
        notify::ErrorKind::Io(error) => error,
        notify::ErrorKind::MaxFilesWatch => io::Error::other(
            "this user watches as many files as it may: raise fs.inotify.max_user_watches",
        ),
        notify::ErrorKind::Generic(_)
        | notify::ErrorKind::PathNotFound
        | notify::ErrorKind::WatchNotFound
        | notify::ErrorKind::InvalidConfig(_) => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use notify::event::{CreateKind, ModifyKind};
    use tokio::sync::mpsc::UnboundedSender;

    /// More than a test may take, and less than for ever.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn watched(place: &Path) -> Changes {
        std::fs::create_dir(place.join("src")).unwrap();
        let mut sources = Sources::default();
        sources.package(place);
        Changes::of(sources).unwrap()
    }

    /// One whose events come from the test.
    fn told(place: &Path) -> (Changes, UnboundedSender<notify::Result<Event>>) {
        let (sender, events) = unbounded_channel();
        let changes = Changes {
            events,
            ..watched(place)
        };
        (changes, sender)
    }

    fn event(path: &Path) -> Event {
        Event::new(EventKind::Modify(ModifyKind::Any)).add_path(path.to_owned())
    }

    /// Whether a change is told of within that time.
    async fn changed(changes: &mut Changes, within: Duration) -> bool {
        tokio::time::timeout(within, changes.next()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_that_follow_each_other_are_one() {
        let place = tempfile::tempdir().unwrap();
        let (mut changes, sender) = told(place.path());
        let source = place.path().join("src/main.rs");
        let begun = Instant::now();
        let writing = async {
            for _ in 0..5 {
                sender.send(Ok(event(&source))).unwrap();
                tokio::time::sleep(QUIET / 2).await;
            }
        };
        tokio::join!(writing, changes.next());
        assert_eq!(begun.elapsed(), QUIET * 3);
        assert!(!changed(&mut changes, PATIENCE).await, "it is told once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_count_is_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let (mut changes, sender) = told(place.path());
        let log = place.path().join("log");
        sender.send(Ok(event(&log))).unwrap();
        assert!(!changed(&mut changes, PATIENCE).await);
        sender
            .send(Ok(event(&place.path().join("build.rs"))))
            .unwrap();
        let begun = Instant::now();
        let logging = async {
            for _ in 0..5 {
                sender.send(Ok(event(&log))).unwrap();
                tokio::time::sleep(QUIET / 2).await;
            }
        };
        let told = async {
            changes.next().await;
            begun.elapsed()
        };
        let ((), told) = tokio::join!(logging, told);
        assert_eq!(told, QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_outlives_whoever_waits_for_it() {
        let place = tempfile::tempdir().unwrap();
        let (mut changes, sender) = told(place.path());
        let source = place.path().join("src/new.rs");
        let created = Event::new(EventKind::Create(CreateKind::File)).add_path(source);
        sender.send(Ok(created)).unwrap();
        assert!(!changed(&mut changes, QUIET / 2).await);
        assert!(changed(&mut changes, PATIENCE).await);
    }

    #[tokio::test]
    async fn files_and_folders_are_seen_that_come_later_or_anew() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        let mut changes = watched(place.path());
        std::fs::create_dir(at("src/deep")).unwrap();
        assert!(changed(&mut changes, PATIENCE).await);
        // Again and again: that the folder is watched is told by nothing else.
        let writing = async {
            loop {
                std::fs::write(at("src/deep/mod.rs"), "").unwrap();
                tokio::time::sleep(QUIET * 2).await;
            }
        };
        tokio::select! {
            seen = changed(&mut changes, PATIENCE) => assert!(seen),
            () = writing => {}
        }
        std::fs::remove_dir_all(at("src")).unwrap();
        assert!(changed(&mut changes, PATIENCE).await);
        std::fs::create_dir(at("src")).unwrap();
        assert!(changed(&mut changes, PATIENCE).await);
        std::fs::write(at("src/main.rs"), "").unwrap();
        assert!(changed(&mut changes, PATIENCE).await);
        std::fs::write(at("new"), "").unwrap();
        std::fs::rename(at("new"), at("Cargo.toml")).unwrap();
        assert!(changed(&mut changes, PATIENCE).await);
    }
}
