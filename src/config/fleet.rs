//! The settings of the fleet (feature `fleet`).
//!
//! People put passwords into addresses, although they do not belong there. So the text of an address is taken
//! as it is, whatever it is, and judged later by a sentence that does not repeat it: the usual way to refuse a
//! value shows it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hatchery_agent::fleet::{Address, AddressError};
use hatchery_protocol::boot::FleetBoot;

use super::layer::Layer;
use super::settings::Settings;
use super::value::{self, Parsed};

const LEASE: Duration = Duration::from_secs(15);
const SHORTEST_LEASE: Duration = Duration::from_secs(1);
const LONGEST_LEASE: Duration = Duration::from_secs(300);

/// What stands where the address of a Redis server should.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct FleetAddress(String);

impl FleetAddress {
    /// As a configuration has it.
    pub(super) fn said(boot: &FleetBoot) -> Self {
        Self(boot.address.clone())
    }

    pub(super) fn checked(&self) -> Result<Address, AddressError> {
        self.0.parse()
    }
}

impl fmt::Debug for FleetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetAddress(..)")
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of the parsers; see above why it refuses nothing"
)]
pub(super) fn address(text: &str) -> Parsed<FleetAddress> {
    Ok(FleetAddress(text.to_owned()))
}

pub(super) fn user(text: &str) -> Parsed<String> {
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c == '\0') {
        return Err("it must be the name of a user of Redis's, without spaces".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn lease(text: &str) -> Parsed<Duration> {
    match value::duration(text)? {
        length if (SHORTEST_LEASE..=LONGEST_LEASE).contains(&length) => Ok(length),
        _ => Err("it must be from 1s to 5m".to_owned()),
    }
}

/// What the settings come to: nothing, if none of them is set.
pub(super) fn boot(layer: &Layer, cwd: &Path) -> Option<FleetBoot> {
    let Layer {
        fleet,
        fleet_user,
        fleet_password_file,
        fleet_ca_file,
        fleet_lease,
        ..
    } = layer;
    let silent = fleet.is_none()
        && fleet_user.is_none()
        && fleet_password_file.is_none()
        && fleet_ca_file.is_none()
        && fleet_lease.is_none();
    let absolute = |path: &Option<PathBuf>| path.as_ref().map(|path| cwd.join(path));
    (!silent).then(|| FleetBoot {
        // Without one this is no fleet yet, and `contradictions` says so.
        address: fleet.clone().map_or_else(String::new, |address| address.0),
        user: fleet_user.clone(),
        password_file: absolute(fleet_password_file),
        ca_file: absolute(fleet_ca_file),
        lease: fleet_lease.unwrap_or(LEASE),
    })
}

/// The other way round.
pub(super) fn tell(boot: Option<&FleetBoot>, layer: &mut Layer) {
    let Some(boot) = boot else {
        return;
    };
    layer.fleet = Some(FleetAddress::said(boot));
    layer.fleet_user.clone_from(&boot.user);
    layer.fleet_password_file.clone_from(&boot.password_file);
    layer.fleet_ca_file.clone_from(&boot.ca_file);
    layer.fleet_lease = Some(boot.lease);
}

/// One sentence for what cannot be, before anybody is asked.
pub(super) fn contradictions(settings: &Settings) -> Option<String> {
    let boot = settings.config.fleet.as_ref()?;
    let Some(source) = settings.sources.get("fleet") else {
        return Some(
            "there are settings for a fleet, but none says where its Redis is: set `fleet`, as in \
             redis://host:6379, or leave the others out"
                .to_owned(),
        );
    };
    let error = boot.address.parse::<Address>().err();
    if let Some(error) = error {
        return Some(format!("bad value for `fleet` in {source}: {error}"));
    }
    (boot.ca_file.is_some() && !boot.address.starts_with("rediss:")).then(|| {
        "`fleet_ca_file` is for TLS, and `fleet` does not ask for it: begin the address with rediss://, or leave \
         the file out"
            .to_owned()
    })
}

/// One sentence if the fleet's Redis answers and cannot be used, or something else answers. Nobody there is no
/// mistake of the configuration: a host starts without its fleet. Blocks; not for a running master.
pub(crate) fn unusable_fleet(settings: &Settings) -> Option<String> {
    let boot = settings.config.fleet.as_ref()?;
    // Who the agent is is told elsewhere, if it cannot be.
    let account = settings.config.children.run_as.find().ok()?;
    let look = || hatchery_agent::fleet::check(boot);
    let looked = match account {
        None => look(),
        Some(account) => match hatchery_master::look_as(&account, look) {
            Ok(looked) => looked,
            Err(error) => return Some(format!("the fleet cannot be looked at: {error}")),
        },
    };
    let error = looked
        .err()
        .filter(hatchery_agent::fleet::ConnectError::is_configuration)?;
    Some(format!("`fleet` cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Inputs, contradictions, load, to_toml};
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let environment = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let (settings, problems) = load(Inputs {
            app: "app",
            flags: Layer::default(),
            config: None,
            has_section: false,
            environment: environment.collect::<Vec<_>>(),
            cwd: Path::new("/etc/app"),
        });
        assert_eq!(problems, []);
        settings
    }

    #[test]
    fn without_a_word_there_is_no_fleet() {
        assert_eq!(settings(&[]).config.fleet, None);
    }

    #[test]
    fn a_fleet_as_it_reaches_the_agent_and_as_it_is_shown() {
        let settings = settings(&[
            ("HATCHERY_FLEET", "rediss://r:6380"),
            ("HATCHERY_FLEET_USER", "web"),
            ("HATCHERY_FLEET_PASSWORD_FILE", "password"),
            ("HATCHERY_FLEET_PASSWORD", "hunter2"),
        ]);
        assert_eq!(contradictions(&settings), [""; 0]);
        let boot = settings.config.fleet.clone().unwrap();
        assert_eq!(boot.password_file.unwrap(), Path::new("/etc/app/password"));
        assert_eq!((boot.lease, boot.user.as_deref()), (LEASE, Some("web")));
        let shown = to_toml(&settings);
        assert!(
            shown.contains("fleet = \"rediss://r:6380\" # env"),
            "{shown}"
        );
        assert!(!shown.contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_is_said_and_not_repeated() {
        let password = settings(&[("HATCHERY_FLEET", "redis://me:hunter2@r")]);
        let said = contradictions(&password);
        assert!(
            said[0].starts_with("bad value for `fleet` in environment variable HATCHERY_FLEET: an address has no user"),
            "{said:?}"
        );
        let shown = format!("{said:?} {} {:?}", to_toml(&password), password.to_layer());
        assert!(!shown.contains("hunter2"), "{shown}");
        let nowhere = settings(&[("HATCHERY_FLEET_USER", "web")]);
        assert!(contradictions(&nowhere)[0].contains("set `fleet`"));
        let plain = settings(&[
            ("HATCHERY_FLEET", "redis://r"),
            ("HATCHERY_FLEET_CA_FILE", "c"),
        ]);
        assert!(contradictions(&plain)[0].contains("rediss://"));
    }

    #[test]
    fn a_lease_has_its_bounds() {
        assert_eq!(lease("1s"), Ok(SHORTEST_LEASE));
        assert!(lease("999ms").is_err() && lease("301s").is_err());
    }
}
