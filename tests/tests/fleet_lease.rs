//! A lease is never held twice, whatever happens to Redis and to the ways there.
//!
//! Members are tasks of one process, so that one clock measures when each of them holds what.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hatchery::fleet::Fleet;
use hatchery_tests::cut::{Network, Weather};
use hatchery_tests::members::{LEASE, becomes, boot, join, soon};
use hatchery_tests::redis::Redis;
use hatchery_tests::wait::pass_in_task as pass;

/// A time in which somebody certainly held the lease: seen at its beginning and at its end.
#[derive(Debug, Clone, Copy)]
struct Held {
    who: usize,
    token: u64,
    from: Instant,
    to: Instant,
}

type History = Arc<Mutex<Vec<Held>>>;

/// Contends for ever and writes down what it held. Gives the lease back, or forgets it, now and then.
async fn contend(who: usize, fleet: Fleet, history: History) {
    for round in 0_usize.. {
        let lease = fleet.lease("job").unwrap();
        let token = lease.held().await;
        let from = Instant::now();
        let mut to = from;
        let enough = Duration::from_millis(1000 + 700 * ((who + round) as u64 % 4));
        loop {
            // In this order: it was held at this moment if it still is now.
            let now = Instant::now();
            if lease.token() != Some(token) {
                break;
            }
            to = now;
            if now - from > enough {
                break;
            }
            pass(Duration::from_millis(2)).await;
        }
        history.lock().unwrap().push(Held {
            who,
            token,
            from,
            to,
        });
        if round % 2 == 0 {
            lease.release().await;
        } else {
            drop(lease);
        }
        // Whoever asks again at once finds it free: the others get their turn.
        pass(LEASE).await;
    }
}

/// Nobody held it while somebody else did, and tokens grew.
fn judge(history: &History) -> Vec<Held> {
    let mut all = history.lock().unwrap().clone();
    all.sort_by_key(|held| held.from);
    for pair in all.windows(2) {
        let [first, second] = pair else { continue };
        assert!(
            first.to < second.from,
            "at the same time: {first:?} and {second:?}"
        );
        assert!(
            first.token < second.token,
            "tokens: {first:?} and {second:?}"
        );
    }
    all
}

fn handed_over(history: &History) -> usize {
    let all = judge(history);
    all.windows(2)
        .filter(|pair| pair[0].who != pair[1].who)
        .count()
}

/// A number below `limit` that looks like any other.
fn pick(state: &mut u64, limit: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % limit
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_never_held_twice_whatever_happens() {
    storm(Redis::start(&[]), 0x9E37_79B9_7F4A_7C15).await;
}

/// It comes back with its data after a crash, but for those of the last second.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_never_held_twice_with_a_redis_that_remembers() {
    let options = ["--appendonly", "yes", "--appendfsync", "everysec"];
    storm(Redis::start(&options), 0xD1B5_4A32_D192_ED03).await;
}

async fn storm(mut redis: Redis, mut state: u64) {
    let networks: Vec<_> = (0..4).map(|_| Network::to(redis.port())).collect();
    let history = History::default();
    let mut tasks = tokio::task::JoinSet::new();
    for (who, network) in networks.iter().enumerate() {
        tasks.spawn(contend(
            who,
            join(boot(&network.redis_url())),
            Arc::clone(&history),
        ));
    }
    for _ in 0..14 {
        let whom = usize::try_from(pick(&mut state, 4)).unwrap();
        let time = Duration::from_millis(100 + pick(&mut state, 2500));
        match pick(&mut state, 8) {
            0 => {
                redis.pause();
                pass(time).await;
                redis.resume();
            }
            1 => redis.restart(),
            bad @ 2..6 => {
                let weathers = [
                    Weather::Silent,
                    Weather::Broken,
                    Weather::Mute,
                    Weather::Deaf,
                ];
                networks[whom].set(weathers[usize::try_from(bad).unwrap() - 2]);
                pass(time).await;
                networks[whom].set(Weather::Fine);
            }
            6 => {
                redis.ask("FLUSHALL");
            }
            _ => {
                redis.ask("CLIENT KILL TYPE normal");
            }
        }
        pass(Duration::from_millis(pick(&mut state, 2000))).await;
        judge(&history);
    }
    let before = handed_over(&history);
    // And when all is well again, so is the lease.
    becomes("it goes from one to the next", async || {
        assert!(tasks.try_join_next().is_none(), "a contender has ended");
        handed_over(&history) >= before + 3
    })
    .await;
    tasks.shutdown().await;
    judge(&history);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_back_need_not_be_waited_for() {
    let redis = Redis::start(&[]);
    let (one, two) = (join(boot(&redis.url())), join(boot(&redis.url())));
    let (first, second) = (one.lease("job").unwrap(), two.lease("job").unwrap());
    let either = async {
        tokio::select! {
            _ = first.held() => true,
            _ = second.held() => false,
        }
    };
    let (holder, other) = if soon("somebody gets it", either).await {
        (first, second)
    } else {
        (second, first)
    };
    assert!(!other.is_held());
    let token = holder.token().unwrap();
    holder.release().await;
    let next = soon("the other one gets it", other.held()).await;
    assert!(next > token);
    assert_eq!(
        one.status().unwrap().leases + two.status().unwrap().leases,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_of_other_names_are_other_leases() {
    let redis = Redis::start(&[]);
    let fleet = join(boot(&redis.url()));
    let (a, b) = (fleet.lease("a").unwrap(), fleet.lease("b").unwrap());
    let tokens = soon("both", async { [a.held().await, b.held().await] }).await;
    assert_ne!(tokens[0], tokens[1]);
    assert!(a.is_held() && b.is_held());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_cannot_reach_redis_stops_in_time() {
    let redis = Redis::start(&[]);
    let network = Network::to(redis.port());
    let (holder, other) = (join(boot(&network.redis_url())), join(boot(&redis.url())));
    let lease = holder.lease("job").unwrap();
    let token = soon("the lease", lease.held()).await;
    let rival = other.lease("job").unwrap();
    network.set(Weather::Silent);
    let lost = async {
        lease.lost(token).await;
        Instant::now()
    };
    let next = async {
        rival.held().await;
        Instant::now()
    };
    let (ended, began) = soon("it changes hands", async { tokio::join!(lost, next) }).await;
    assert!(!lease.is_held());
    // A third of the lease, less what a busy machine takes to notice.
    let spare = began.saturating_duration_since(ended);
    assert!(spare > LEASE / 10, "{spare:?}");
    assert!(rival.token().unwrap() > token);
}

/// Each time the one that takes over is behind the other one by whatever it was, and the way leads to it at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_never_held_twice_over_failovers() {
    let mut servers = [Redis::start(&[]), Redis::start(&[])];
    let network = Network::to(servers[0].port());
    let history = History::default();
    let mut tasks = tokio::task::JoinSet::new();
    for who in 0..3 {
        let fleet = join(boot(&network.redis_url()));
        tasks.spawn(contend(who, fleet, Arc::clone(&history)));
    }
    for round in 0..3 {
        let (old, new) = (round % 2, (round + 1) % 2);
        servers[new].ask(&format!("REPLICAOF 127.0.0.1 {}", servers[old].port()));
        becomes("the replica follows", async || {
            servers[new]
                .ask("INFO replication")
                .contains("master_link_status:up")
        })
        .await;
        let before = handed_over(&history);
        becomes("somebody holds it", async || handed_over(&history) > before).await;
        servers[old].kill();
        servers[new].ask("REPLICAOF NO ONE");
        network.lead_to(servers[new].port());
        let before = handed_over(&history);
        becomes("somebody holds it again", async || {
            assert!(tasks.try_join_next().is_none(), "a contender has ended");
            handed_over(&history) > before
        })
        .await;
        servers[old].revive();
    }
    tasks.shutdown().await;
    judge(&history);
}
