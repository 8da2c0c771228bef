//! The page of `metrics`, as Prometheus would read it.

use std::collections::BTreeMap;

use crate::cluster::Cluster;

/// One look at the page.
#[derive(Debug, Clone)]
pub struct Metrics {
    types: BTreeMap<String, String>,
    /// As they are written: a count is no fraction.
    series: BTreeMap<String, String>,
}

impl Metrics {
    /// Reads a page. Every value has to have a type.
    #[track_caller]
    pub fn parse(page: &str) -> Self {
        let mut metrics = Self {
            types: BTreeMap::new(),
            series: BTreeMap::new(),
        };
        for line in page.lines() {
            if let Some(text) = line.strip_prefix("# TYPE ") {
                let (name, kind) = text.split_once(' ').unwrap();
                let known = metrics.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(known, None, "{name} comes twice");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let known = metrics.series.insert(series.to_owned(), value.to_owned());
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert_eq!(known, None, "{series} comes twice");
                assert!(metrics.types.contains_key(name(series)), "{series}");
            }
        }
        metrics
    }

    /// The value of a series, as `hatchery_worker_ready{slot="0"}`.
    pub fn find(&self, series: &str) -> Option<f64> {
        self.series.get(series)?.parse().ok()
    }

    /// The same for one that is there.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        self.find(series)
            .unwrap_or_else(|| panic!("no {series} in {:#?}", self.series))
    }

    /// The same for a whole number.
    #[track_caller]
    pub fn count(&self, series: &str) -> u64 {
        let value = self.series.get(series);
        let value = value.unwrap_or_else(|| panic!("no {series} in {:#?}", self.series));
        value.parse().unwrap()
    }

    /// Every counter that went back, or away, since `before`.
    pub fn fallen_since(&self, before: &Self) -> Vec<String> {
        let counters = before.series.iter().filter(|(series, _)| {
            before
                .types
                .get(name(series))
                .is_some_and(|kind| kind == "counter")
        });
        counters
            .filter(|(series, value)| self.find(series) < value.parse().ok())
            .map(|(series, value)| format!("{series}: {value}, then {:?}", self.find(series)))
            .collect()
    }
}

fn name(series: &str) -> &str {
    series.split('{').next().unwrap()
}

impl Cluster {
    /// The metrics now, as the command prints them.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let ran = self.verb(&["metrics"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        Metrics::parse(&ran.stdout)
    }

    /// The same over the control socket, where a busy machine has more time.
    #[track_caller]
    pub fn metrics_unhurried(&self) -> Metrics {
        let mut control = self.control();
        control.ask("metrics").unwrap();
        let reply = control.receive().expect("the metrics");
        Metrics::parse(reply["text"].as_str().unwrap())
    }
}
