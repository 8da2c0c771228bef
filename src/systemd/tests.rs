//! Units of made-up applications.

use super::command_line::quoted;
use super::*;
use crate::config::{Inputs, Layer, load};

fn layer(listen: &[&str]) -> Layer {
    Layer {
        listen: (!listen.is_empty()).then(|| listen.iter().map(|l| l.parse().unwrap()).collect()),
        ..Layer::default()
    }
}

fn made(flags: Layer, sockets: bool) -> Result<Vec<Unit>, Vec<String>> {
    let (settings, problems) = load(Inputs {
        app: "shop",
        flags,
        config: None,
        has_section: false,
        environment: [],
        cwd: Path::new("/srv"),
    });
    assert_eq!(problems, []);
    let application = Application {
        program: Path::new("/usr/local/bin/shop"),
        settings: &settings,
        config_file: Some(Path::new("/etc/my shop.toml")),
    };
    units(&application, sockets)
}

fn service(flags: Layer) -> String {
    made(flags, false).unwrap().swap_remove(0).text
}

#[track_caller]
fn has(text: &str, line: &str) {
    assert!(
        text.lines().any(|known| known == line),
        "no {line} in\n{text}"
    );
}

#[track_caller]
fn has_not(text: &str, part: &str) {
    assert!(!text.contains(part), "{part} in\n{text}");
}

#[test]
fn the_numbers_follow_the_settings() {
    let text = service(Layer::default());
    has(&text, "TimeoutStartSec=130");
    has(&text, "TimeoutStopSec=36");
    let text = service(Layer {
        agent_start_timeout: Some(std::time::Duration::from_secs(5)),
        drain_timeout: Some(std::time::Duration::from_millis(90_500)),
        pre_stop_delay: Some(std::time::Duration::from_secs(15)),
        ..Layer::default()
    });
    has(&text, "TimeoutStartSec=75");
    has(&text, "TimeoutStopSec=112");
    has(&text, "    \"--drain-timeout=1m 30s 500ms\"");
}

#[test]
fn a_file_stays_a_file_and_everything_else_becomes_flags() {
    let text = service(Layer {
        daemon: Some(true),
        weights: Some(vec![3, 1]),
        ..layer(&["127.0.0.1:1?name=a&backlog=7", "unix:/run/x/y.sock"])
    });
    has(&text, "ExecStart=/usr/local/bin/shop start \\");
    has(&text, "    \"--config=/etc/my shop.toml\" \\");
    has(&text, "    --runtime-dir=%t/hatchery/shop \\");
    has(&text, "    --listen=127.0.0.1:1?name=a&backlog=7 \\");
    has(&text, "    --listen=unix:/run/x/y.sock \\");
    has(&text, "    --weights=3 \\");
    has(&text, "    --weights=1");
    has_not(&text, "daemon");
    has(
        &text,
        "ExecReload=/usr/local/bin/shop reload --runtime-dir=%t/hatchery/shop",
    );
    has(&text, "RuntimeDirectory=hatchery/shop");
    has(&text, "ReadWritePaths=/run/x");
    let text = service(Layer {
        runtime_dir: Some("own".into()),
        ..Layer::default()
    });
    has(&text, "    --runtime-dir=/srv/own");
    has(&text, "ReadWritePaths=/srv/own");
    has_not(&text, "RuntimeDirectory=");
}

#[test]
fn rights_are_those_that_are_needed() {
    let text = service(layer(&["127.0.0.1:8080"]));
    has(&text, "DynamicUser=yes");
    has(&text, "CapabilityBoundingSet=");
    has_not(&text, "AmbientCapabilities");
    let text = service(layer(&["0.0.0.0:80"]));
    has(&text, "AmbientCapabilities=CAP_NET_BIND_SERVICE");
    let text = service(Layer {
        user: Some("www".to_owned()),
        nice: Some(-5),
        ..layer(&["0.0.0.0:80"])
    });
    has_not(&text, "DynamicUser");
    has_not(&text, "AmbientCapabilities");
    assert!(text.contains("CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL"));
    has(&text, "LimitNICE=-5");
    has(&text, "    --nice=-5");
}

#[test]
fn systemd_binds_in_order() {
    let made = made(
        layer(&[
            "[::]:80?name=web&backlog=64&v6only=false",
            "unix:/run/a.sock?mode=0660&owner=www:web&backlog=64",
            "udp:127.0.0.1:53",
        ]),
        true,
    );
    let [service, socket] = made.unwrap().try_into().unwrap();
    assert_eq!(
        [&*service.name, &*socket.name],
        ["shop.service", "shop.socket"]
    );
    has(&service.text, "    --listen=systemd#0?name=web \\");
    has(&service.text, "    --listen=systemd#1 \\");
    has(&service.text, "    --listen=systemd#2");
    has(&service.text, "Requires=shop.socket");
    has_not(&service.text, "AmbientCapabilities");
    has_not(&service.text, "ReadWritePaths");
    for line in [
        "ListenStream=[::]:80",
        "ListenStream=/run/a.sock",
        "ListenDatagram=127.0.0.1:53",
        "Backlog=64",
        "BindIPv6Only=both",
        "SocketMode=0660",
        "SocketUser=www",
        "SocketGroup=web",
        "Service=shop.service",
    ] {
        has(&socket.text, line);
    }
}

#[test]
fn what_systemd_cannot_bind_is_told() {
    let said = made(
        layer(&[
            "127.0.0.1:0",
            "systemd:web",
            "127.0.0.1:1?backlog=5",
            "127.0.0.1:2",
        ]),
        true,
    );
    let said = said.unwrap_err().join("\n");
    for part in [
        "127.0.0.1:0 with --sockets",
        "a port",
        "systemd:web",
        "one already",
        "the same `backlog`",
    ] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

#[test]
fn words_are_read_as_they_were_meant() {
    for (word, written) in [
        ("--a=b", "--a=b"),
        ("50%", "50%%"),
        ("$HOME", "$$HOME"),
        ("a b", "\"a b\""),
        ("a\"b\\", "\"a\\\"b\\\\\""),
        ("0;1", "\"0;1\""),
        ("", "\"\""),
    ] {
        assert_eq!(quoted(word), written);
    }
}
