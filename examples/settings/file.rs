//! The client that exists once: a JSON object in a file, looked at again and again.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hatchery::{BoxError, Feed, Leader, async_trait};
use serde_json::{Value, json};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

type Entries = BTreeMap<String, Value>;

/// Keys that somebody follows.
type Feeds = Arc<Mutex<HashMap<String, Feed>>>;

pub(crate) struct SettingsFile {
    path: PathBuf,
    feeds: Feeds,
}

impl SettingsFile {
    /// Begins to look at the file, which need not be there.
    pub(crate) fn watch(path: PathBuf) -> Self {
        let feeds = Feeds::default();
        tokio::spawn(pass_on(path.clone(), Arc::clone(&feeds)));
        Self { path, feeds }
    }
}

#[async_trait]
impl Leader for SettingsFile {
    async fn subscribe(&self, key: &str, feed: Feed) -> Result<(), BoxError> {
        if key.starts_with('_') {
            return Err("keys that begin with `_` are private".into());
        }
        if let Some(value) = read(&self.path)?.get(key) {
            feed.put(value)?;
        }
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.insert(key.to_owned(), feed);
        Ok(())
    }

    async fn publish(&self, key: &str, value: Value) -> Result<(), BoxError> {
        let mut entries = read(&self.path)?;
        entries.insert(key.to_owned(), value);
        // Whoever reads it finds the old file or the new one, never half of one.
        let new = self.path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(&entries)?)?;
        std::fs::rename(new, &self.path)?;
        Ok(())
    }

    async fn invoke(&self, method: &str, _argument: Value) -> Result<Value, BoxError> {
        match method {
            "keys" => Ok(json!(read(&self.path)?.keys().collect::<Vec<_>>())),
            _ => Err(format!("there is no method `{method}`").into()),
        }
    }
}

fn read(path: &Path) -> Result<Entries, BoxError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Entries::new()),
        Err(error) => Err(error.into()),
    }
}

/// Puts what has changed into the feeds. A file that cannot be read changes nothing.
async fn pass_on(path: PathBuf, feeds: Feeds) {
    let mut known = Entries::new();
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        let Ok(entries) = read(&path) else {
            continue;
        };
        let changed = entries
            .iter()
            .filter(|(key, value)| known.get(*key) != Some(*value));
        let feeds = feeds.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changed {
            if let Some(Err(error)) = feeds.get(key).map(|feed| feed.put(value)) {
                tracing::warn!("`{key}` is not passed on: {error}");
            }
        }
        drop(feeds);
        known = entries;
    }
}
