//! Two clusters on this machine, which meet in one Redis as two hosts would.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::{fs, thread};

use hatchery_tests::plan::bare;
use hatchery_tests::process::{field, kill};
use hatchery_tests::redis::{Redis, free_port};
use hatchery_tests::tls::{Authority, Files};
use hatchery_tests::{Cluster, Plan, Ran, command::run, playground, trace};
use rcgen::SanType;
use rustix::process::Signal;
use serde_json::{Value, json};

const PLAYGROUND: &str = env!("CARGO_BIN_EXE_playground");

fn host(redis: &Redis) -> Plan {
    let plan = playground!();
    let notes = plan.path("fleet");
    plan.flag("--fleet", redis.url())
        .flag("--fleet-lease", "1s")
        .env("PLAYGROUND_FLEET", notes)
}

/// What the agents of this cluster have written, in order.
fn notes(plan: &Plan) -> Vec<Value> {
    trace::read(&plan.path("fleet"))
}

/// The last word on something.
fn last(plan: &Plan, name: &str) -> Option<Value> {
    let mut notes = notes(plan).into_iter().rev();
    notes.find_map(|note| note.get(name).cloned())
}

/// Two of them that see each other.
fn two(redis: &Redis) -> [(Plan, Cluster); 2] {
    let plans = [host(redis), host(redis)];
    let hosts = plans.map(|plan| (plan.clone(), plan.start()));
    for (plan, cluster) in &hosts {
        cluster.expect("it sees two members", || {
            notes(plan).contains(&json!({"members": 2}))
        });
    }
    hosts
}

/// The last token that was held and not lost.
fn holds(plan: &Plan) -> Option<u64> {
    let mut token = None;
    for note in notes(plan) {
        token = note["held"]
            .as_u64()
            .or_else(|| token.filter(|t| note["lost"] != *t));
    }
    token
}

#[test]
fn hosts_hear_each_other_and_one_of_them_holds_the_lease() {
    let redis = Redis::start(&[]);
    let [(plan_a, a), (plan_b, b)] = two(&redis);
    for (cluster, plan, other) in [(&a, &plan_a, &b), (&b, &plan_b, &a)] {
        let heard = [
            json!({"heard": cluster.agent()}),
            json!({"heard": other.agent()}),
        ];
        cluster.expect("it hears both agents", || {
            let notes = notes(plan);
            heard.iter().all(|note| notes.contains(note))
        });
    }
    a.expect("one holds the lease", || {
        holds(&plan_a).is_some() != holds(&plan_b).is_some()
    });
    let (first, first_plan, second, second_plan) = if holds(&plan_a).is_some() {
        (&a, &plan_a, &b, &plan_b)
    } else {
        (&b, &plan_b, &a, &plan_a)
    };
    let before = holds(first_plan).unwrap();
    // It dies with its lease in hand: the other host takes it, or its own successor does.
    kill(first.agent(), Signal::KILL);
    let newer = |token: Option<u64>| token.is_some_and(|token| token > before);
    first.expect("somebody holds it again", || {
        newer(holds(second_plan)) || newer(holds(first_plan))
    });
    // A stop gives it back: the other host has it at once, and sees nobody else.
    first.stop();
    second.expect("the other one holds it", || newer(holds(second_plan)));
    second.expect("and is alone", || {
        last(second_plan, "members") == Some(json!(1))
    });
}

#[test]
fn without_redis_a_host_serves_on_and_finds_its_fleet_again() {
    let mut redis = Redis::start(&[]);
    let [(plan, a), (_, _b)] = two(&redis);
    redis.kill();
    a.expect("it notices", || {
        last(&plan, "connected") == Some(json!(false))
    });
    assert_eq!(a.get("/"), "Hello World");
    // A reload of everything, while there is no Redis.
    assert_eq!(a.verb(&["reload", "--agent"]).code, Some(0));
    assert_eq!(a.get("/"), "Hello World");
    redis.revive();
    a.expect("it is back", || last(&plan, "members") == Some(json!(2)));
    a.expect("and says so", || {
        last(&plan, "connected") == Some(json!(true))
    });
}

#[test]
fn a_host_starts_without_its_fleet() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let plan = host(&redis);
    let cluster = plan.clone().start();
    assert_eq!(cluster.get("/"), "Hello World");
    cluster.expect("it knows", || {
        notes(&plan).contains(&json!({"connected": false}))
    });
    redis.revive();
    cluster.expect("it finds its fleet", || {
        notes(&plan).contains(&json!({"members": 1}))
    });
}

// What is wrong with the configuration.

fn check(args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = bare(PLAYGROUND);
    command.arg("check").args(args).envs(env.iter().copied());
    run(command)
}

#[track_caller]
fn refused(ran: &Ran, words: &str) {
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains(words), "no `{words}` in {ran:?}");
    assert!(!format!("{ran:?}").contains("hunter2"), "{ran:?}");
}

fn secret(folder: &Path, text: &str) -> String {
    let path = folder.join("password");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_bad_address_is_refused_and_a_password_in_it_not_shown() {
    refused(
        &check(&["--fleet", "nonsense"], &[]),
        "`fleet` in flag --fleet: it must be like",
    );
    let said = check(&["--fleet", "redis://:hunter2@localhost"], &[]);
    refused(&said, "an address has no user and no password");
    let said = check(&[], &[("HATCHERY_FLEET", "redis://me:hunter2@localhost")]);
    refused(&said, "HATCHERY_FLEET");
    refused(&check(&["--fleet-user", "me"], &[]), "set `fleet`");
    let lease = check(&[], &[("HATCHERY_FLEET_LEASE", "1ms")]);
    refused(&lease, "it must be from 1s to 5m");
}

#[test]
fn a_wrong_password_ends_the_start_and_a_right_one_is_shown_nowhere() {
    let redis = Redis::start(&["--requirepass", "hunter2hunter2"]);
    let url = redis.url();
    let folder = tempfile::tempdir().unwrap();
    refused(
        &check(&["--fleet", &url], &[]),
        "refuses the user or the password (NOAUTH)",
    );
    let wrong = secret(folder.path(), "hunter2");
    let args = ["--fleet", &url, "--fleet-password-file", &wrong];
    refused(
        &check(&args, &[]),
        "refuses the user or the password (WRONGPASS)",
    );
    let start = host(&redis)
        .flag("--fleet-password-file", &wrong)
        .run_to_end();
    assert_eq!(start.code, Some(4));
    refused(
        &check(
            &["--fleet", &url, "--fleet-password-file", "/nowhere/at/all"],
            &[],
        ),
        "/nowhere/at/all",
    );

    let right = secret(folder.path(), "hunter2hunter2\n");
    for (flag, variable) in [(true, false), (false, true)] {
        let mut plan = host(&redis);
        if flag {
            plan = plan.flag("--fleet-password-file", &right);
        }
        if variable {
            plan = plan.env("HATCHERY_FLEET_PASSWORD", "hunter2hunter2");
        }
        let cluster = plan.clone().start();
        cluster.expect("it is a member", || {
            notes(&plan).contains(&json!({"members": 1}))
        });
        let shown = [
            cluster.verb(&["status"]).stdout,
            cluster.verb(&["status", "--json"]).stdout,
            cluster.verb(&["metrics"]).stdout,
            plan.run_verb(&["print-config"]).stdout,
            field(cluster.agent(), "cmdline")
                .unwrap_or_default()
                .join(" "),
            fs::read_to_string(format!("/proc/{}/cmdline", cluster.master())).unwrap(),
            cluster.stderr(),
            cluster.stdout(),
        ];
        for text in shown {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

/// Answers everybody with these words, once.
fn server_that_says(words: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(words);
        }
    });
    format!("redis://{address}")
}

#[test]
fn what_is_no_redis_is_refused() {
    let web = server_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    refused(&check(&["--fleet", &web], &[]), "is no Redis");
    let old = server_that_says(b"$41\r\n# Server\r\nredis_version:5.0.3\r\nrun_id:abc\r\n");
    refused(
        &check(&["--fleet", &old], &[]),
        "has version 5.0.3: a fleet needs 6 or later",
    );
    // Nobody there is not a mistake: a host starts without its fleet.
    assert_eq!(
        check(&["--fleet", "redis://127.0.0.1:1"], &[]).code,
        Some(0)
    );
}

#[test]
fn tls_works_with_the_right_authority_and_is_refused_without() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue_with(folder.path(), |params| {
        let here = std::net::Ipv4Addr::LOCALHOST.into();
        params.subject_alt_names.push(SanType::IpAddress(here));
    });
    let ca = folder.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let files = Files::of(folder.path());
    let (cert, key) = (path(&files.cert), path(&files.key));
    let port = free_port().to_string();
    let redis = Redis::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &path(&ca),
        "--tls-auth-clients",
        "no",
    ]);
    let secure = format!("rediss://127.0.0.1:{port}");
    let trusted = check(&["--fleet", &secure, "--fleet-ca-file", &path(&ca)], &[]);
    assert_eq!(trusted.code, Some(0), "{trusted:?}");
    refused(
        &check(&["--fleet", &secure], &[]),
        "there is no TLS with Redis",
    );
    let nonsense = check(&["--fleet", &secure, "--fleet-ca-file", "/nowhere"], &[]);
    refused(
        &nonsense,
        "the file /nowhere of `fleet_ca_file` cannot be read",
    );
    let useless = check(
        &["--fleet", &redis.url(), "--fleet-ca-file", &path(&ca)],
        &[],
    );
    refused(&useless, "`fleet_ca_file` is for TLS");

    let plan = host(&redis)
        .without("--fleet")
        .flag("--fleet", format!("rediss://127.0.0.1:{port}"))
        .flag("--fleet-ca-file", path(&ca));
    let cluster = plan.clone().start();
    cluster.expect("it is a member", || {
        notes(&plan).contains(&json!({"members": 1}))
    });
    // A server that wants TLS hangs up on others, as a proxy without a server does: no mistake for certain.
    let plan = host(&redis).without("--fleet");
    let plan = plan.flag("--fleet", format!("redis://127.0.0.1:{port}"));
    let cluster = plan.start();
    cluster.expect("the log says what it may be", || {
        cluster
            .stderr()
            .contains("a server that expects TLS does so (rediss://)")
    });
}
