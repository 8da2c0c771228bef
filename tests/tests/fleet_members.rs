//! Members of a fleet, as tasks of one process, against a real Redis that fails in many ways.

use std::time::Duration;

use hatchery::fleet::{About, Fleet, FleetError, Subscription};
use hatchery_tests::cut::{Network, Weather};
use hatchery_tests::members::{becomes, boot, connected, is_connected, join, login, soon};
use hatchery_tests::redis::Redis;

/// A broadcast comes back. One that is under way when the connection is lost, on a busy machine say, may be lost with it.
async fn comes_through(fleet: &Fleet, ear: &mut Subscription) {
    let losses = || fleet.status().map(|status| status.losses);
    soon("a broadcast comes", async {
        loop {
            let before = losses();
            if fleet.broadcast("news", &1).await.is_err() {
                soon("it connects", fleet.connected()).await;
                continue;
            }
            tokio::select! {
                message = ear.next() => return assert_eq!(message.decode(), Ok(1)),
                () = becomes("it is lost", async || losses() > before) => {}
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_hears_a_broadcast_once_the_sender_too() {
    let redis = Redis::start(&[]);
    let fleets: [Fleet; 3] = connected(&redis.url()).await;
    let mut ears = fleets
        .each_ref()
        .map(|fleet| fleet.subscribe("news").unwrap());
    let mut other = fleets[1].subscribe("weather").unwrap();
    for number in 0..100 {
        assert_eq!(fleets[0].broadcast("news", &number).await, Ok(3));
    }
    for ear in &mut ears {
        for number in 0..100 {
            let message = soon("a message", ear.next()).await;
            assert_eq!(message.decode::<u32>(), Ok(number));
            assert_eq!(*message.from(), fleets[0].me().unwrap().id);
            assert!(!message.is_question());
        }
    }
    fleets[2].broadcast("weather", "fine").await.unwrap();
    // Whatever came twice would have come before this.
    fleets[2].broadcast("news", "last").await.unwrap();
    for ear in &mut ears {
        assert_eq!(
            soon("the last", ear.next()).await.decode(),
            Ok("last".to_owned())
        );
    }
    assert_eq!(other.next().await.decode(), Ok("fine".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_seen_until_they_leave() {
    let redis = Redis::start(&[]);
    let fleets: [Fleet; 3] = connected(&redis.url()).await;
    let mut seen = fleets[0].members().await.unwrap();
    let mut there = fleets.each_ref().map(|fleet| fleet.me().unwrap()).to_vec();
    seen.sort_by(|a, b| a.id.cmp(&b.id));
    there.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(seen, there);
    assert_eq!((seen[0].pid, seen[0].workers), (std::process::id(), 4));
    assert_eq!(seen[0].version.as_deref(), Some("1.2.3"));
    assert!(!seen[0].host.is_empty());
    fleets[1].leave().await;
    assert_eq!(fleets[0].members().await.unwrap().len(), 2);
    assert_eq!(fleets[1].members().await, Err(FleetError::Disconnected));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_while_it_appears_is_not_seen() {
    let redis = Redis::start(&[]);
    assert_eq!(redis.ask("CLIENT PAUSE 3600000 WRITE"), "+OK");
    // Whether a script waits that writes, and whether something has come behind it.
    let waits = |behind: bool| {
        let clients = redis.ask("CLIENT LIST");
        clients.lines().any(|client| {
            let has = |what| client.contains(what);
            has(" flags=b ") && has(" cmd=eval ") && has(" qbuf=0 ") != behind
        })
    };
    let fleet = join(boot(&redis.url()));
    becomes("its first sign of life waits", async || waits(false)).await;
    let leaves = tokio::spawn(async move { fleet.leave().await });
    becomes("its goodbye waits behind it", async || waits(true)).await;
    assert_eq!(redis.ask("CLIENT UNPAUSE"), "+OK");
    soon("it leaves", leaves).await.unwrap();
    let [watcher]: [Fleet; 1] = connected(&redis.url()).await;
    assert_eq!(watcher.members().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_is_forgotten_and_who_is_cut_off_comes_back() {
    let redis = Redis::start(&[]);
    let network = Network::to(redis.port());
    let [watcher]: [Fleet; 1] = connected(&redis.url()).await;
    let far = join(boot(&network.redis_url()));
    soon("it connects", far.connected()).await;
    assert_eq!(watcher.members().await.unwrap().len(), 2);
    network.set(Weather::Silent);
    becomes("the far one is forgotten", async || {
        watcher.members().await.unwrap().len() == 1
    })
    .await;
    assert!(!is_connected(&far));
    assert_eq!(
        far.broadcast("news", "").await,
        Err(FleetError::Disconnected)
    );
    network.set(Weather::Fine);
    becomes("the far one is back", async || {
        watcher.members().await.unwrap().len() == 2
    })
    .await;
    assert_eq!(far.status().unwrap().losses, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_ends_when_all_have_answered() {
    let redis = Redis::start(&[]);
    let fleets: [Fleet; 3] = connected(&redis.url()).await;
    for (number, fleet) in fleets.iter().take(2).enumerate() {
        let mut ear = fleet.subscribe("size").unwrap();
        tokio::spawn(async move {
            loop {
                let question = ear.next().await;
                let asked: usize = question.decode().unwrap();
                question.answer(&(asked + number)).await.unwrap();
                let again = question.answer(&0).await;
                assert_eq!(again, Err(FleetError::NoQuestion));
            }
        });
    }
    for round in 0..20 {
        let hour = Duration::from_secs(3600);
        let mut answers = fleets[2]
            .request_all("size", &(round * 10), hour)
            .await
            .unwrap();
        let mut said = Vec::new();
        while let Some(answer) = soon("an answer or the end", answers.next()).await {
            said.push(answer.decode::<usize>().unwrap());
        }
        said.sort_unstable();
        assert_eq!(said, [round * 10, round * 10 + 1]);
        assert_eq!(answers.missing(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_an_answer_ends_with_its_deadline() {
    let redis = Redis::start(&[]);
    let fleets: [Fleet; 2] = connected(&redis.url()).await;
    let _silent = fleets[1].subscribe("size").unwrap();
    let second = Duration::from_secs(1);
    let mut answers = fleets[0].request_all("size", &1, second).await.unwrap();
    assert!(soon("the end", answers.next()).await.is_none());
    assert_eq!(answers.missing(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_refused() {
    let redis = Redis::start(&[]);
    let [fleet]: [Fleet; 1] = connected(&redis.url()).await;
    let none = Fleet::default();
    assert_eq!(
        none.broadcast("a", &1).await,
        Err(FleetError::NotConfigured)
    );
    assert_eq!(none.lease("a").unwrap_err(), FleetError::NotConfigured);
    assert_eq!(none.status(), None);
    let name = |len| FleetError::Name { len };
    assert_eq!(fleet.broadcast("", &1).await, Err(name(0)));
    assert_eq!(fleet.subscribe(&"x".repeat(256)).unwrap_err(), name(256));
    assert_eq!(fleet.lease("").unwrap_err(), name(0));
    let large = vec![0; 1024 * 1024 + 1];
    let refused = fleet.broadcast_bytes("a", &large).await;
    let too_large = FleetError::TooLarge {
        len: large.len(),
        max: large.len() - 1,
    };
    assert_eq!(refused, Err(too_large));
    assert_eq!(fleet.broadcast_bytes("a", &large[1..]).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_starts_without_redis_and_finds_it_later() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let fleet = join(boot(&redis.url()));
    let mut ear = fleet.subscribe("news").unwrap();
    becomes("it knows why", async || {
        let trouble = fleet.status().unwrap().trouble.unwrap();
        trouble.contains("refused")
    })
    .await;
    assert_eq!(
        fleet.broadcast("news", &1).await,
        Err(FleetError::Disconnected)
    );
    assert_eq!(fleet.members().await, Err(FleetError::Disconnected));
    redis.revive();
    soon("it connects", fleet.connected()).await;
    assert_eq!(fleet.broadcast("news", &2).await, Ok(1));
    assert_eq!(soon("it comes", ear.next()).await.decode(), Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_redis_is_noticed_bounded_and_forgotten() {
    let redis = Redis::start(&[]);
    let [fleet]: [Fleet; 1] = connected(&redis.url()).await;
    let mut ear = fleet.subscribe("news").unwrap();
    redis.pause();
    let payload = vec![7; 1024 * 1024];
    let sends = (0..64).map(|_| fleet.broadcast_bytes("news", &payload));
    let results = soon("each is told", futures_util::future::join_all(sends)).await;
    let count = |error: FleetError| {
        let told = results
            .iter()
            .filter(|result| result.as_ref() == Err(&error));
        told.count()
    };
    let busy = [
        FleetError::Busy,
        FleetError::Unanswered,
        FleetError::Disconnected,
    ]
    .map(count);
    assert!(busy[0] > 32 && busy[1] > 0, "{busy:?}");
    assert_eq!(busy.iter().sum::<usize>(), 64);
    // Whoever waited for an answer may hear of it first.
    becomes("it is noticed", async || !is_connected(&fleet)).await;
    redis.resume();
    soon("it connects", fleet.connected()).await;
    becomes("messages go through", async || {
        fleet.broadcast("news", "again").await.is_ok()
    })
    .await;
    // What nobody answered for may come, once, and nothing after it that was refused.
    let mut large = 0;
    while soon("a message", ear.next()).await.payload().len() == payload.len() {
        large += 1;
    }
    assert!(large <= busy[1], "{large} of {busy:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_costs_leases_and_no_messages() {
    let redis = Redis::start(&[]);
    let [fleet]: [Fleet; 1] = connected(&redis.url()).await;
    let lease = fleet.lease("job").unwrap();
    let token = soon("the lease", lease.held()).await;
    redis.ask("CONFIG SET maxmemory-policy noeviction");
    redis.ask("CONFIG SET maxmemory 1");
    soon("it is lost", lease.lost(token)).await;
    let mut ear = fleet.subscribe("news").unwrap();
    comes_through(&fleet, &mut ear).await;
    becomes("it says what is wrong", async || {
        let trouble = fleet.status().unwrap().trouble;
        trouble.is_some_and(|trouble| trouble.contains("full"))
    })
    .await;
    assert!(is_connected(&fleet));
    redis.ask("CONFIG SET maxmemory 0");
    assert!(soon("the lease again", lease.held()).await > token);
    becomes("nothing is wrong", async || {
        fleet.status().unwrap().trouble.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_follows_to_the_server_that_takes_over() {
    let old = Redis::start(&[]);
    let new = Redis::start(&["--replicaof", "127.0.0.1", &old.port().to_string()]);
    let network = Network::to(old.port());
    let fleet = join(boot(&network.redis_url()));
    soon("it connects", fleet.connected()).await;
    let lease = fleet.lease("job").unwrap();
    let token = soon("the lease", lease.held()).await;
    becomes("the replica has it", async || {
        new.ask("INFO replication")
            .contains("master_link_status:up")
    })
    .await;
    // As a manager of failovers does it: the old one takes no writes, the new one does, and then the way changes.
    new.ask("REPLICAOF NO ONE");
    old.ask(&format!("REPLICAOF 127.0.0.1 {}", new.port()));
    becomes("the old one is given up", async || !is_connected(&fleet)).await;
    network.lead_to(new.port());
    soon("it connects", fleet.connected()).await;
    becomes("messages go through", async || {
        fleet.broadcast("news", &1).await.is_ok()
    })
    .await;
    assert!(soon("the lease", lease.held()).await >= token);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_in_the_documentation_suffice() {
    let redis = Redis::start(&[]);
    redis.allow("app", "hunter2", "app");
    redis.ask("ACL SETUSER weak on >hunter2 -@all +info ~* resetchannels");
    let file = redis.folder().join("password");
    std::fs::write(&file, "hunter2").unwrap();
    let as_user = |user| join(login(&redis.url(), Some(user), file.clone()));
    let (fleet, weak) = (as_user("app"), as_user("weak"));
    soon("it connects", fleet.connected()).await;
    let mut ear = fleet.subscribe("news").unwrap();
    comes_through(&fleet, &mut ear).await;
    assert_eq!(fleet.members().await.unwrap().len(), 1);
    let lease = fleet.lease("job").unwrap();
    soon("the lease", lease.held()).await;
    lease.release().await;
    becomes("nothing is wrong", async || {
        fleet.status().unwrap().trouble.is_none()
    })
    .await;
    fleet.leave().await;
    becomes("who may not is told so", async || {
        let trouble = weak.status().unwrap().trouble.unwrap_or_default();
        trouble.contains("does not let this user in (NOPERM)")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn applications_of_other_names_do_not_meet() {
    let redis = Redis::start(&[]);
    let [fleet]: [Fleet; 1] = connected(&redis.url()).await;
    let stranger = Fleet::join(
        boot(&redis.url()),
        About {
            name: "other".into(),
            version: None,
            workers: std::sync::Arc::new(|| 1),
        },
    );
    soon("it connects", stranger.connected()).await;
    assert_eq!(stranger.broadcast("news", &1).await, Ok(1));
    assert_eq!(fleet.members().await.unwrap().len(), 1);
    let (mine, theirs) = (fleet.lease("job").unwrap(), stranger.lease("job").unwrap());
    soon("both hold it", async {
        tokio::join!(mine.held(), theirs.held())
    })
    .await;
}
