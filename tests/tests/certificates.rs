//! Certificates: how they are renewed while they are served, and which are refused before anything starts.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use hatchery_tests::process::kill;
use hatchery_tests::tls::{Authority, Client, Files, certificate, secure};
use hatchery_tests::wait::meanwhile;
use hatchery_tests::{Cluster, Plan, playground, step};
use rustix::process::Signal;

// Renewal.

/// Connects until the server shows another certificate than before.
fn expect_certificate(
    cluster: &Cluster,
    client: &Client,
    wanted: &rustls::pki_types::CertificateDer<'_>,
) {
    cluster.expect("the new certificate is served", || {
        let connection = client.connect(cluster.address()).unwrap();
        certificate(&connection) == *wanted
    });
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    let (plan, authority) = secure(playground!().workers(1));
    let cluster = plan.start();
    let folder = cluster.plan().path("tls");
    // Not to be confused with what the certificate was when a session began.
    let client = || authority.client();
    let mut old = client().connect(cluster.address()).unwrap();
    let who = old.whoami().unwrap();
    let new = authority.issue(&folder);
    expect_certificate(&cluster, &client(), &new);
    assert_eq!(
        old.whoami().unwrap(),
        who,
        "open connections are left alone"
    );
    let mut after = client().connect(cluster.address()).unwrap();
    assert_eq!(after.whoami().unwrap().pid, who.pid, "nobody was restarted");
    cluster.expect("it is in the log", || {
        cluster.stderr().contains("was renewed")
    });
}

#[test]
fn links_that_lead_to_new_files_renew_a_certificate() {
    let plan = playground!();
    let authority = Authority::new();
    let (old, new) = (plan.path("old"), plan.path("new"));
    fs::create_dir(&old).unwrap();
    fs::create_dir(&new).unwrap();
    authority.issue(&old);
    let wanted = authority.issue(&new);
    let live = plan.path("live");
    fs::create_dir(&live).unwrap();
    for name in ["cert.pem", "key.pem"] {
        symlink(old.join(name), live.join(name)).unwrap();
    }
    let cluster = plan.listen(Files::of(&live).at("127.0.0.1:0")).start();
    authority.client().connect(cluster.address()).unwrap();
    for name in ["cert.pem", "key.pem"] {
        fs::remove_file(live.join(name)).unwrap();
        symlink(new.join(name), live.join(name)).unwrap();
    }
    expect_certificate(&cluster, &authority.client(), &wanted);
}

#[test]
fn files_that_are_no_pair_leave_the_old_certificate_and_one_warning() {
    let (plan, authority) = secure(playground!().workers(1));
    let cluster = plan.start();
    let files = Files::of(&cluster.plan().path("tls"));
    let client = authority.client();
    let served = certificate(&client.connect(cluster.address()).unwrap());
    fs::write(&files.cert, "half a certi").unwrap();
    let warnings = || cluster.stderr().matches("stays").count();
    cluster.expect("it is told", || {
        client.connect(cluster.address()).unwrap();
        warnings() > 0
    });
    // Longer than a look at the files is good for.
    meanwhile(Duration::from_millis(2500), || {
        let connection = authority.client().connect(cluster.address()).unwrap();
        assert_eq!(certificate(&connection), served);
    });
    assert_eq!(warnings(), 1, "{}", cluster.stderr());
    let wanted = authority.issue(&cluster.plan().path("tls"));
    expect_certificate(&cluster, &authority.client(), &wanted);
}

// Bad input.

/// Both `start` and `check` end with code 4 and one sentence that has these words, and nothing is left.
fn is_refused(plan: Plan, address: &str, words: &[&str]) {
    let ran = plan.run_verb(&["check", "--listen", address]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "no `{word}` in {ran:?}");
    }
    let ended = plan.listen(address).run_to_end();
    ended.expect_code(4).expect_stderr(words);
    assert_eq!(ended.events, []);
    assert_eq!(ended.trace, []);
}

#[test]
fn certificates_that_cannot_be_served_are_refused_before_the_start() {
    type Damage = fn(&Authority, &Files);
    let folder = |files: &Files| files.cert.parent().unwrap().to_owned();
    let rows: [(Damage, &[&str]); 8] = [
        (
            |_, files| fs::remove_file(&files.cert).unwrap(),
            &["cert.pem", "there is no such file"],
        ),
        (
            |_, files| fs::remove_file(&files.key).unwrap(),
            &["key.pem", "there is no such file"],
        ),
        (
            |_, files| fs::write(&files.cert, [0x30, 0x82, 1]).unwrap(),
            &["cert.pem", "holds no certificate", "PEM"],
        ),
        (
            |_, files| fs::write(&files.key, "secret").unwrap(),
            &["key.pem", "holds no private key", "PEM"],
        ),
        (
            |_, files| fs::rename(&files.key, &files.cert).unwrap(),
            &["holds a private key", "swapped"],
        ),
        (
            |authority, files| {
                let key = fs::read(&files.key).unwrap();
                authority.issue(files.cert.parent().unwrap());
                fs::write(&files.key, key).unwrap();
            },
            &["key.pem", "does not belong", "cert.pem"],
        ),
        (
            |authority, files| {
                authority.issue_with(files.cert.parent().unwrap(), |params| {
                    params.not_after = rcgen::date_time_ymd(2020, 5, 6);
                });
            },
            &["cert.pem", "expired on 2020-05-06", "renew"],
        ),
        (
            |authority, files| {
                authority.issue_with(files.cert.parent().unwrap(), |params| {
                    params.not_before = rcgen::date_time_ymd(2990, 5, 6);
                    params.not_after = rcgen::date_time_ymd(2991, 5, 6);
                });
            },
            &["cert.pem", "not valid before 2990-05-06", "clock"],
        ),
    ];
    for (damage, words) in rows {
        let plan = playground!();
        let (authority, files) = (Authority::new(), Files::of(&plan.path("tls")));
        fs::create_dir(folder(&files)).unwrap();
        authority.issue(&folder(&files));
        damage(&authority, &files);
        is_refused(plan, &files.at("127.0.0.1:0"), words);
    }
}

#[test]
fn a_key_that_may_not_be_read_is_refused() {
    let plan = playground!().own_copy().as_nobody();
    let files = Files::of(&plan.path("tls"));
    fs::create_dir(files.key.parent().unwrap()).unwrap();
    Authority::new().issue(files.key.parent().unwrap());
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    let ended = plan.listen(files.at("127.0.0.1:0")).run_to_end();
    ended
        .expect_code(4)
        .expect_stderr(&["key.pem", "permission denied"]);
    assert_eq!(ended.events, []);
}

#[test]
fn what_the_application_takes_itself_must_not_look_like_tls() {
    for options in ["name=raw", "name=raw&proxy-protocol"] {
        let plan = playground!();
        let files = Files::of(&plan.path("tls"));
        fs::create_dir(files.key.parent().unwrap()).unwrap();
        Authority::new().issue(files.key.parent().unwrap());
        let address = files.at(&format!("127.0.0.1:0?{options}"));
        let ended = plan.listen(address).run_to_end();
        ended
            .expect_code(3)
            .expect_stderr(&["Worker::start", "takes the connections", "`cert`"]);
    }
}

#[test]
fn half_of_the_options_is_a_mistake_like_any_other() {
    for (options, words) in [
        ("cert=a.pem", ["cert", "key"]),
        ("key=a.pem", ["key", "cert"]),
        ("cert=&key=a", ["cert", "path"]),
    ] {
        let address = format!("127.0.0.1:0?{options}");
        let ran = playground!().run_verb(&["check", "--listen", &address]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "no `{word}` in {ran:?}");
        }
    }
}

#[test]
fn relative_paths_and_print_config() {
    let (plan, _) = secure(playground!());
    let ran = plan.run_verb(&[
        "print-config",
        "--listen",
        "127.0.0.1:0?key=tls/key.pem&cert=tls/cert.pem&name=web&proxy-protocol",
    ]);
    let tls = plan.path("tls");
    let address = Files::of(&tls).at("127.0.0.1:0?name=web&proxy-protocol=true");
    assert!(ran.stdout.contains(&address), "{address} in {ran:?}");
}

#[test]
fn a_replacement_that_finds_no_certificate_is_tried_again() {
    let (plan, authority) = secure(playground!().workers(1));
    let cluster = plan.start();
    let folder = cluster.plan().path("tls");
    fs::remove_file(Files::of(&folder).cert).unwrap();
    kill(cluster.worker(0), Signal::KILL);
    let failed = cluster.wait_where("the replacement fails", |event| {
        event.event == "worker-exited" && event.why().contains("there is no such file")
    });
    assert!(failed.why().contains("cert.pem"), "{failed:?}");
    authority.issue(&folder);
    cluster.wait_nth(step("worker-ready"), 2);
    let mut connection = authority.client().connect(cluster.address()).unwrap();
    assert_eq!(connection.get("/").unwrap().text(), "Hello World");
    cluster.expect_orderly_end();
}
