//! What `single` means for other settings, and what it rules out: whatever needs more than one process, or one that can be replaced.

use hatchery_master::Strategy;

use super::settings::Settings;
use super::value::Workers;

/// How many workers are meant: with `single` there is one, unless another number was said.
pub(super) fn workers(single: bool, said: Option<Workers>) -> Workers {
    match said {
        None | Some(Workers::Auto) if single => Workers::Count(1),
        said => said.unwrap_or(Workers::Auto),
    }
}

/// One sentence for each setting that makes no sense with `single`.
pub(super) fn contradictions(settings: &Settings) -> Vec<String> {
    let config = &settings.config;
    if !config.single {
        return Vec::new();
    }
    let told = |name: &str| match settings.sources.get(name) {
        Some(source) => format!("`{name}` in {source}"),
        None => format!("`{name}`"),
    };
    let mut sentences = Vec::new();
    if config.workers != 1 {
        let (workers, count) = (told("workers"), config.workers);
        sentences.push(format!(
            "{workers} cannot be {count} with `single`, which has one worker; leave one of the two out"
        ));
    }
    for listen in &config.listen {
        let strategy = listen.strategy.unwrap_or(config.strategy);
        if strategy != Strategy::SHARED {
            sentences.push(format!(
                "`listen` cannot be {listen} with the strategy {strategy} and `single`: the one worker accepts by itself; \
                 leave the strategy out, or take {}",
                Strategy::SHARED
            ));
        }
    }
    let children = &config.children;
    let of_a_process = [
        ("user", children.run_as.user.is_some()),
        ("group", children.run_as.group.is_some()),
        ("nice", children.nice.is_some()),
        ("cpu_affinity", children.cpu_affinity.is_some()),
    ];
    sentences.extend(said(&of_a_process).map(|name| {
        let name = told(name);
        format!(
            "{name} is for processes beside the master, and with `single` there are none; leave it out, and start the \
             application as what it is to be"
        )
    }));
    let recycle = &config.recycle;
    let of_a_replacement = [
        ("max_requests", recycle.max_requests > 0),
        ("max_lifetime", !recycle.max_lifetime.is_zero()),
        ("max_memory", recycle.max_memory > 0),
        ("max_memory_hard", recycle.kill_memory > 0),
    ];
    sentences.extend(said(&of_a_replacement).map(|name| {
        let name = told(name);
        format!("{name} has a worker replaced, and with `single` nobody can be; leave it out")
    }));
    if config.program.is_some() {
        let program = told("program");
        sentences.push(format!(
            "{program} is a process of its own, and with `single` there is none; leave one of the two out"
        ));
    }
    sentences
}

fn said<'a>(settings: &'a [(&'a str, bool)]) -> impl Iterator<Item = &'a str> {
    settings
        .iter()
        .filter(|(_, said)| *said)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::super::layer::Layer;
    use super::super::{Inputs, load};
    use super::*;

    fn settings(text: &str) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("app.toml"), text).unwrap();
        let (settings, problems) = load(Inputs {
            app: "app",
            has_section: false,
            flags: Layer::default(),
            config: Some("app.toml".into()),
            environment: [],
            cwd: dir.path(),
        });
        assert_eq!(problems.len(), 0, "{problems:?}");
        settings
    }

    #[test]
    fn one_worker_that_accepts_by_itself() {
        for text in [
            "single = true",
            "single = true\nworkers = 'auto'",
            "single = true\nworkers = 1\nstrategy = 'shared'",
        ] {
            let settings = settings(text);
            assert_eq!(settings.config.workers, 1);
            assert_eq!(settings.config.strategy, Strategy::SHARED);
            assert!(!settings.automatic);
            assert_eq!(contradictions(&settings), [""; 0]);
        }
        let settings = settings("single = false\nworkers = 3\nmax_requests = 7");
        assert_eq!(contradictions(&settings), [""; 0]);
    }

    #[test]
    fn what_makes_no_sense_has_a_sentence() {
        for (text, part) in [
            ("workers = 2", "cannot be 2 with `single`"),
            (
                "strategy = 'ip-hash'",
                "127.0.0.1:7001 with the strategy ip-hash",
            ),
            (
                "listen = 'unix:/a?strategy=round-robin'",
                "the strategy round-robin and `single`",
            ),
            ("user = 'nobody'", "is for processes beside the master"),
            ("group = 'nobody'", "`group`"),
            ("nice = 3", "`nice`"),
            ("cpu_affinity = 'auto'", "`cpu_affinity`"),
            ("max_requests = 9", "has a worker replaced"),
            ("max_lifetime = '1h'", "`max_lifetime`"),
            ("max_memory = '64MiB'", "`max_memory`"),
            ("max_memory_hard = '64MiB'", "`max_memory_hard`"),
            #[cfg(feature = "program")]
            ("program = ['a']", "is a process of its own"),
        ] {
            let said = contradictions(&settings(&format!("single = true\n{text}")));
            assert_eq!(said.len(), 1, "{text}: {said:?}");
            assert!(said[0].contains(part), "{said:?}");
        }
    }
}
