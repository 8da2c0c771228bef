//! The socket unit: systemd binds, and keeps what waits while the service is not there.

use std::fmt::Write as _;

use hatchery_master::{Address, Config, Inherited, Listen, UnixOptions};

use super::command_line::path;

/// The same addresses, as sockets in the order of the unit. What the unit sets is left out.
pub(super) fn inherited(listen: &[Listen]) -> Vec<Listen> {
    let inherited = |(n, listen): (usize, &Listen)| Listen {
        address: Address::Systemd(Inherited::Nth(n)),
        backlog: None,
        v6only: None,
        unix: UnixOptions::default(),
        ..listen.clone()
    };
    listen.iter().enumerate().map(inherited).collect()
}

/// One unit for all addresses: only its sockets have an order.
pub(super) fn text(config: &Config) -> Result<String, Vec<String>> {
    let problems = problems(&config.listen);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut out = String::new();
    // A String takes every write.
    let _ = write_unit(&mut out, config);
    Ok(out)
}

fn problems(listen: &[Listen]) -> Vec<String> {
    let cannot = |listen: &Listen| match &listen.address {
        Address::Systemd(_) => Some("it is one already; say what systemd is to bind"),
        Address::Tcp(address) | Address::Udp(address) if address.port() == 0 => {
            Some("systemd needs to be told a port")
        }
        Address::Tcp(_) | Address::Udp(_) | Address::Unix(_) => None,
    };
    let mut problems: Vec<String> = listen
        .iter()
        .filter_map(|listen| {
            Some(format!(
                "`listen` cannot be {listen} with --sockets: {}",
                cannot(listen)?
            ))
        })
        .collect();
    let mut same = |option: &str, values: Vec<String>| {
        if values.windows(2).any(|pair| pair.first() != pair.last()) {
            problems.push(format!(
                "all addresses of a socket unit have the same `{option}`; here they have {}",
                values.join(", ")
            ));
        }
    };
    let shown =
        |value: Option<u32>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    same(
        "backlog",
        listen
            .iter()
            .filter(|l| !is_udp(l))
            .map(|l| shown(l.backlog))
            .collect(),
    );
    same(
        "v6only",
        listen
            .iter()
            .filter(|l| is_v6(l))
            .map(|l| v6only(l).to_string())
            .collect(),
    );
    let unix = || {
        listen
            .iter()
            .filter(|l| matches!(l.address, Address::Unix(_)))
    };
    same("mode", unix().map(|l| shown(l.unix.mode)).collect());
    let owner = |l: &Listen| {
        l.unix
            .owner
            .as_ref()
            .map_or_else(|| "none".to_owned(), ToString::to_string)
    };
    same("owner", unix().map(owner).collect());
    problems
}

fn write_unit(out: &mut String, config: &Config) -> std::fmt::Result {
    writeln!(
        out,
        "[Unit]\nDescription=Sockets of {}\n\n[Socket]",
        config.name.replace('%', "%%")
    )?;
    for listen in &config.listen {
        match &listen.address {
            Address::Tcp(address) => writeln!(out, "ListenStream={address}")?,
            Address::Udp(address) => writeln!(out, "ListenDatagram={address}")?,
            Address::Unix(file) => writeln!(out, "ListenStream={}", path(file).replace('%', "%%"))?,
            Address::Systemd(_) => {}
        }
    }
    let backlog = config.listen.iter().find_map(|listen| listen.backlog);
    writeln!(out, "Backlog={}", backlog.unwrap_or(Config::BACKLOG))?;
    if let Some(listen) = config.listen.iter().find(|listen| is_v6(listen)) {
        let only = if v6only(listen) { "ipv6-only" } else { "both" };
        writeln!(out, "BindIPv6Only={only}")?;
    }
    let unix = config.listen.iter().map(|listen| &listen.unix);
    if let Some(mode) = unix.clone().find_map(|unix| unix.mode) {
        writeln!(out, "SocketMode={mode:04o}")?;
    }
    if let Some(owner) = unix.clone().find_map(|unix| unix.owner.as_ref()) {
        let owner = owner.to_string();
        let (user, group) = owner.split_once(':').unwrap_or((&owner, ""));
        for (key, name) in [("SocketUser", user), ("SocketGroup", group)] {
            if !name.is_empty() {
                writeln!(out, "{key}={name}")?;
            }
        }
    }
    writeln!(
        out,
        "Service={}.service\n\n[Install]\nWantedBy=sockets.target",
        config.name
    )
}

fn is_udp(listen: &Listen) -> bool {
    matches!(listen.address, Address::Udp(_))
}

fn is_v6(listen: &Listen) -> bool {
    match &listen.address {
        Address::Tcp(address) | Address::Udp(address) => address.is_ipv6(),
        Address::Unix(_) | Address::Systemd(_) => false,
    }
}

fn v6only(listen: &Listen) -> bool {
    listen.v6only.unwrap_or(true)
}
