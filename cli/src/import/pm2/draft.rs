//! A configuration in the making.

use toml::Value;

use crate::import::output::Application;

/// What stands in the new file so far.
#[derive(Debug)]
pub(super) struct Draft {
    application: Application,
}

impl Draft {
    pub(super) fn new(name: &str, file: &str) -> Self {
        let mut draft = Self {
            application: Application {
                name: name.to_owned(),
                origin: file.to_owned(),
                ..Application::default()
            },
        };
        draft.set("name", name);
        draft
    }

    /// Sets a key. The last value counts.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let keys = &mut self.application.keys;
        keys.retain(|(known, ..)| *known != key);
        keys.push((key, value.into(), Vec::new()));
    }

    /// Says something about a key that was set just now.
    pub(super) fn remark(&mut self, text: impl Into<String>) {
        if let Some((_, _, remarks)) = self.application.keys.last_mut() {
            remarks.push(text.into());
        }
    }

    /// Whether a key was set.
    pub(super) fn has(&self, key: &str) -> bool {
        self.application
            .keys
            .iter()
            .any(|(known, ..)| *known == key)
    }

    /// Names an option that has no counterpart, with the reason.
    pub(super) fn without(&mut self, option: &str, reason: &str) {
        self.application.without(option, reason);
    }

    pub(super) fn finish(self) -> Application {
        self.application
    }
}
