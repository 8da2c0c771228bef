//! How many workers a reload replaces at once: the first one alone, then as many as it was told, and CPUs allow.

use hatchery_tests::{Cluster, Plan, playground};

/// How many processes of the new generation booted beside each other: the first, and at most.
#[track_caller]
fn booted_together(plan: Plan) -> (usize, usize) {
    let cluster = plan.workers(5).worker_start("slow:200").start();
    let before = cluster.mark();
    let ran = cluster.verb(&["reload"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let together = count(&cluster, before);
    cluster.stop();
    together
}

fn count(cluster: &Cluster, mark: usize) -> (usize, usize) {
    let (mut booting, mut first, mut most) = (0, None, 0);
    for event in cluster.events().iter().skip(mark) {
        match event.event.as_str() {
            "worker-spawned" => booting += 1,
            "worker-ready" => {
                first.get_or_insert(booting);
                booting -= 1;
            }
            _ => {}
        }
        most = most.max(booting);
    }
    (first.unwrap_or(0), most)
}

#[test]
fn one_after_the_other_unless_it_is_said() {
    assert_eq!(booted_together(playground!()), (1, 1));
}

#[test]
fn as_many_as_it_is_told_and_the_cpus_allow() {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = playground!().flag("--surge", "2");
    assert_eq!(booted_together(plan), (1, cpus.min(2)));
    let plan = playground!().flag("--surge", "1024");
    let (first, most) = booted_together(plan);
    assert_eq!(first, 1);
    // A quota of CPU time is rounded up here, and down there.
    assert!((cpus.min(4)..=(cpus + 1).min(4)).contains(&most), "{most}");
}

/// What the file says of it holds from the next reload on, as everything that a reload has read.
#[test]
fn it_can_change_while_the_cluster_runs() {
    let plan = playground!();
    let file = plan.path("app.toml");
    std::fs::write(&file, "").unwrap();
    let cluster = plan
        .flag("--config", &file)
        .workers(5)
        .worker_start("slow:200")
        .start();
    std::fs::write(&file, "surge = 2").unwrap();
    for expected in [1, 2] {
        let mark = cluster.mark();
        let ran = cluster.verb(&["reload"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(count(&cluster, mark), (1, cpus.min(expected)));
    }
    cluster.stop();
}
