//! Where the new application gets hatchery from: a published version, or a checkout of its source.

use std::fs;
use std::path::Path;

use super::NewError;

/// What the new manifest says about hatchery, and what the new folder gets from there.
#[derive(Debug)]
pub(super) struct Origin {
    /// What stands behind `hatchery = { `.
    pub(super) dependency: String,
    /// The checkout's Cargo.lock: those versions were tested together, and whoever has built the checkout has them already.
    pub(super) lock: Option<String>,
}

impl Origin {
    /// The published version that belongs to this command.
    pub(super) fn published() -> Self {
        Self {
            dependency: format!("version = \"{}\"", env!("CARGO_PKG_VERSION")),
            lock: None,
        }
    }

    /// The checkout in that folder.
    pub(super) fn checkout(folder: &Path) -> Result<Self, NewError> {
        let no_checkout = || NewError::NoCheckout(folder.to_owned());
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).map_err(|_| no_checkout())?;
        let manifest: toml::Table = manifest.parse().map_err(|_| no_checkout())?;
        let name = manifest
            .get("package")
            .and_then(|package| package.get("name"));
        if name.and_then(toml::Value::as_str) != Some("hatchery") {
            return Err(no_checkout());
        }
        // The new folder may be anywhere, and be moved.
        let path = folder.canonicalize().map_err(|_| no_checkout())?;
        let path = path.to_str().ok_or_else(no_checkout)?;
        Ok(Self {
            dependency: format!("path = {}", toml::Value::from(path)),
            lock: fs::read_to_string(folder.join("Cargo.lock")).ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_checkout_is_said() {
        let place = tempfile::tempdir().unwrap();
        for manifest in [
            None,
            Some("nonsense ["),
            Some("[package]\nname = \"other\"\n"),
            Some("[workspace]\n"),
        ] {
            if let Some(manifest) = manifest {
                fs::write(place.path().join("Cargo.toml"), manifest).unwrap();
            }
            let error = Origin::checkout(place.path()).unwrap_err();
            assert!(matches!(error, NewError::NoCheckout(_)), "{error}");
        }
    }

    #[test]
    fn a_checkout_is_named_by_its_whole_path_whatever_is_in_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("it's \"here\"");
        fs::create_dir(&folder).unwrap();
        fs::write(
            folder.join("Cargo.toml"),
            "[package]\nname = \"hatchery\"\n",
        )
        .unwrap();
        fs::write(folder.join("Cargo.lock"), "version = 4\n").unwrap();
        let origin = Origin::checkout(&folder).unwrap();
        assert_eq!(origin.lock.as_deref(), Some("version = 4\n"));
        let line: toml::Table = origin.dependency.parse().unwrap();
        let path = folder.canonicalize().unwrap();
        assert_eq!(line["path"].as_str(), path.to_str());
    }
}
