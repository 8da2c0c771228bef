//! One source, read: what it says, from where, and what is wrong with it.

use std::collections::BTreeMap;

use hatchery_master::{Address, Listen};
use hatchery_protocol::section::Table;

use super::error::ConfigError;
use super::key::{KEYS, Key};
use super::layer::Layer;
use super::source::Source;

/// What one kind of source said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) layer: Layer,
    /// Where each setting of `layer` came from.
    pub(crate) sources: BTreeMap<&'static str, Source>,
    /// `[app]`, if this is the file and has one.
    pub(crate) section: Option<Table>,
    pub(crate) problems: Vec<ConfigError>,
}

impl Said {
    /// Reads one value; a bad one is a problem and leaves the setting unsaid.
    pub(crate) fn read(&mut self, key: &Key, text: &str, source: &Source) {
        match (key.read)(&mut self.layer, text) {
            Ok(()) => {
                self.sources.insert(key.name, source.clone());
            }
            Err(reason) => self.refuse(key, text, source, reason),
        }
    }

    pub(crate) fn refuse(
        &mut self,
        key: &Key,
        value: &str,
        source: &Source,
        reason: impl Into<String>,
    ) {
        self.problems.push(ConfigError::BadValue {
            key: key.name,
            value: value.to_owned(),
            origin: source.clone(),
            reason: reason.into(),
        });
    }

    /// Takes flags, which were read and checked when the command line was.
    pub(crate) fn from_flags(layer: Layer) -> Self {
        let sources = KEYS
            .iter()
            .filter(|key| (key.is_set)(&layer))
            .map(|key| (key.name, Source::Flag(key.flag())))
            .collect();
        Self {
            layer,
            sources,
            section: None,
            problems: Vec::new(),
        }
    }

    /// Turns `port` into the address it stands for, so that a higher source replaces a lower one's
    /// addresses whichever of the two it uses. `whole` names the source where it gives both.
    pub(crate) fn settle_port(&mut self, whole: &Source) {
        let Some(port) = self.layer.port.take() else {
            return;
        };
        let source = self.sources.remove("port");
        if self.layer.listen.is_some() {
            self.problems.push(ConfigError::PortAndListen {
                origin: whole.clone(),
            });
            return;
        }
        self.layer.listen = Some(vec![local(port)]);
        if let Some(source) = source {
            self.sources.insert("listen", source);
        }
    }

    /// Puts `above` over this: what it says counts, what it leaves unsaid stays.
    pub(crate) fn cover_with(&mut self, above: Self) {
        for key in KEYS {
            if (key.is_set)(&above.layer) {
                (key.copy)(&mut self.layer, &above.layer);
            }
        }
        self.sources.extend(above.sources);
        self.problems.extend(above.problems);
    }
}

fn local(port: u16) -> Listen {
    Address::Tcp((std::net::Ipv4Addr::LOCALHOST, port).into()).into()
}
