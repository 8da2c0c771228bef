//! Whether agent and workers can be what the configuration says: another user's, urgent, bound to CPUs.

use super::settings::Settings;

/// One sentence for each that cannot be had here, or not by who asks for it.
pub(crate) fn unusable_attributes(settings: &Settings) -> Vec<String> {
    let config = &settings.config;
    let problems = config.children.problems(config.threads);
    problems.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Inputs, Layer, load};

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let (settings, problems) = load(Inputs {
            app: "app",
            flags: Layer {
                user: Some("no-such-user".to_owned()),
                cpu_affinity: Some("0;1023".parse().unwrap()),
                ..Layer::default()
            },
            config: None,
            has_section: false,
            environment: [],
            cwd: Path::new("/nowhere"),
        });
        assert_eq!(problems, []);
        let said = unusable_attributes(&settings);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].starts_with("`user` cannot be no-such-user"),
            "{said:?}"
        );
        assert!(said[1].contains("CPU 1023"), "{said:?}");
    }
}
