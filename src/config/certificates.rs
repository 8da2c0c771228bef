//! Whether the certificates of a configuration can be served: asked before anything starts.
//!
//! The workers read them again, each for itself. But a mistake should cost the operator a sentence, not a
//! start that fails in every worker.

use super::settings::Settings;

/// One sentence for each listener whose certificate cannot be served.
#[cfg(feature = "tls")]
pub(crate) fn unusable_certificates(settings: &Settings) -> Vec<String> {
    let config = &settings.config;
    if config
        .listen
        .iter()
        .all(|listen| listen.opening.tls().is_none())
    {
        return Vec::new();
    }
    // Who the workers are is told elsewhere, if they cannot be.
    let Ok(account) = config.children.run_as.find() else {
        return Vec::new();
    };
    match account {
        None => unusable(&config.listen, ""),
        Some(account) => {
            let whose = match (&config.children.run_as.user, &config.children.run_as.group) {
                (Some(user), _) => format!(" (read by the workers, as user {user})"),
                (None, group) => {
                    let group = group.as_deref().unwrap_or_default();
                    format!(" (read by the workers, as group {group})")
                }
            };
            hatchery_master::look_as(&account, || unusable(&config.listen, &whose))
                .unwrap_or_else(|error| vec![format!("certificates cannot be looked at: {error}")])
        }
    }
}

#[cfg(feature = "tls")]
fn unusable(listens: &[hatchery_master::Listen], whose: &str) -> Vec<String> {
    listens
        .iter()
        .filter_map(|listen| {
            let error = hatchery_worker::check_certificate(&listen.opening.tls()?).err()?;
            let address = &listen.address;
            Some(format!("`listen` cannot be {address}: {error}{whose}"))
        })
        .collect()
}

/// One sentence for each listener that asks for TLS, which this build does not have.
#[cfg(not(feature = "tls"))]
pub(crate) fn unusable_certificates(settings: &Settings) -> Vec<String> {
    let listens = settings.config.listen.iter();
    listens
        .filter(|listen| listen.opening.tls().is_some())
        .map(|listen| {
            format!(
                "`listen` cannot be {} with `cert` and `key`: this program was built without TLS; build it with \
                 the feature `tls` of hatchery, or take the two options away",
                listen.address
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Inputs, Layer, load};

    fn said(listen: &str) -> Vec<String> {
        let (settings, problems) = load(Inputs {
            app: "app",
            flags: Layer {
                listen: Some(vec![listen.parse().unwrap()]),
                ..Layer::default()
            },
            config: None,
            has_section: false,
            environment: [],
            cwd: Path::new("/nowhere"),
        });
        assert_eq!(problems, []);
        unusable_certificates(&settings)
    }

    #[test]
    fn without_a_certificate_there_is_nothing_to_say() {
        assert_eq!(said("127.0.0.1:1?name=a"), [""; 0]);
    }

    #[cfg(feature = "tls")]
    #[test]
    fn relative_paths_are_of_the_directory_the_command_was_called_in() {
        assert_eq!(
            said("127.0.0.1:1?cert=c.pem&key=/k.pem"),
            [
                "`listen` cannot be 127.0.0.1:1: the file /nowhere/c.pem cannot be read: there is no such file"
            ]
        );
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_build_without_tls_says_so() {
        let said = said("127.0.0.1:1?cert=c.pem&key=/k.pem");
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("the feature `tls`"), "{said:?}");
    }
}
