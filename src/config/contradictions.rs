//! Settings that are right each for itself and make no sense together.

use hatchery_master::{Address, Listen, Strategy};

use super::settings::Settings;

/// One sentence for each contradiction.
pub(crate) fn contradictions(settings: &Settings) -> Vec<String> {
    let config = &settings.config;
    let strategy = |listen: &Listen| listen.strategy.unwrap_or(config.strategy);
    let mut sentences = Vec::new();
    for listen in &config.listen {
        let strategy = strategy(listen);
        if strategy.needs_port() && matches!(listen.address, Address::Unix(_)) {
            sentences.push(format!(
                "`listen` cannot be {listen} with the strategy {strategy}: it needs a TCP address; choose \
                 another strategy for it, as in {}?strategy={}",
                listen.address,
                Strategy::default()
            ));
        }
    }
    let recycle = &config.recycle;
    if recycle.kill_memory > 0 && recycle.max_memory >= recycle.kill_memory {
        sentences.push(
            "`max_memory` must be less than `max_memory_hard`: a worker is to be replaced before it is killed"
                .to_owned(),
        );
    }
    sentences.extend(super::single::contradictions(settings));
    #[cfg(feature = "program")]
    sentences.extend(super::program::contradictions(settings));
    #[cfg(feature = "fleet")]
    sentences.extend(super::fleet::contradictions(settings));
    let (weights, workers) = (config.weights.0.len(), config.workers);
    let told = |why: String| match settings.sources.get("weights") {
        Some(source) => format!("`weights` in {source}: {why}"),
        None => format!("`weights`: {why}"),
    };
    if u32::try_from(weights).is_ok_and(|weights| weights > workers) {
        sentences.push(told(format!(
            "there are {weights} of them for {workers} {}; leave out those without a worker",
            if workers == 1 { "worker" } else { "workers" }
        )));
    }
    if weights > 0 && !config.listen.iter().any(|l| strategy(l).uses_weights()) {
        sentences.push(told(
            "no address has the strategy weighted, which alone has weights; choose it or leave them out"
                .to_owned(),
        ));
    }
    sentences
}
