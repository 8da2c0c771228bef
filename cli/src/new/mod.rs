//! `hatchery new NAME`: an application to begin with, which compiles, serves, has an agent, a worker and a test of its life.
//!
//! The template is a folder of plain files (`template/`). Nothing that exists is written to, and what was begun is removed
//! again when it cannot be finished.

mod checkout;
mod files;
mod name;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use thiserror::Error;

use self::checkout::Origin;
use self::files::{FILES, Words};

/// The command line makes no sense.
const USAGE: u8 = 2;
/// The folder cannot be made.
const BAD_PLACE: u8 = 4;

#[derive(Debug, Parser)]
#[command(name = "hatchery new", about = "Make an application to begin with")]
pub(crate) struct Cli {
    /// Its name, and that of its folder: letters, digits, `-` and `_`, a letter first
    name: String,
    /// Where the folder is made, instead of here
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Build against the checkout of hatchery at this path, instead of a published version
    #[arg(long, value_name = "PATH")]
    hatchery: Option<PathBuf>,
}

/// Why there is no new application.
#[derive(Debug, Error)]
enum NewError {
    #[error(
        "`{0}` cannot be the name of a package: use letters, digits, `-` and `_`, a letter first, 64 at the most"
    )]
    Name(String),
    #[error("`{0}` means something to cargo, to Rust or to hatchery already: choose another name")]
    Taken(String),
    #[error("{} exists already, and nothing was written to it: choose another name, or another place with --into", .0.display())]
    Exists(PathBuf),
    #[error("{} is no checkout of hatchery: there is no Cargo.toml of the package `hatchery` in it", .0.display())]
    NoCheckout(PathBuf),
    #[error("{} cannot be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

/// Does what `arguments` ask, those behind the word `new`.
pub(crate) fn run(arguments: &[OsString]) -> ExitCode {
    let words = std::iter::once("hatchery new".into()).chain(arguments.iter().cloned());
    let cli = match Cli::try_parse_from::<_, OsString>(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Help comes this way, too.
            let _ = error.print();
            return ExitCode::from(if error.exit_code() == 0 { 0 } else { USAGE });
        }
    };
    match create(&cli) {
        Ok(folder) => {
            let folder = folder.display();
            // Nobody listening is no error.
            let _ = writeln!(
                io::stdout(),
                "made {folder}\n\n  cd {folder}\n  cargo run\n\nand in a second terminal:\n\n  curl http://127.0.0.1:7001/"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            let usage = matches!(error, NewError::Name(_) | NewError::Taken(_));
            ExitCode::from(if usage { USAGE } else { BAD_PLACE })
        }
    }
}

fn create(cli: &Cli) -> Result<PathBuf, NewError> {
    name::check(&cli.name)?;
    let origin = match &cli.hatchery {
        Some(folder) => Origin::checkout(folder)?,
        None => Origin::published(),
    };
    let folder = match &cli.into {
        Some(place) => place.join(&cli.name),
        None => PathBuf::from(&cli.name),
    };
    match fs::create_dir(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(NewError::Exists(folder));
        }
        Err(source) => {
            return Err(NewError::Unwritable {
                path: folder,
                source,
            });
        }
    }
    if let Err(error) = fill(&folder, &cli.name, &origin) {
        // It was made a moment ago, and nobody has anything in it.
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    Ok(folder)
}

fn fill(folder: &Path, name: &str, origin: &Origin) -> Result<(), NewError> {
    let words = Words {
        name,
        dependency: &origin.dependency,
    };
    for (path, text) in FILES {
        write(&folder.join(words.put_into(path)), &words.put_into(text))?;
    }
    match &origin.lock {
        Some(lock) => write(&folder.join("Cargo.lock"), lock),
        None => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> Result<(), NewError> {
    let parent = path.parent().unwrap_or(path);
    let written = fs::create_dir_all(parent).and_then(|()| fs::write(path, text));
    written.map_err(|source| NewError::Unwritable {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli(name: &str, into: &Path) -> Cli {
        Cli {
            name: name.to_owned(),
            into: Some(into.to_owned()),
            hatchery: None,
        }
    }

    #[test]
    fn what_exists_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("shop");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("mine"), "mine").unwrap();
        let error = create(&cli("shop", place.path())).unwrap_err();
        assert!(matches!(error, NewError::Exists(_)), "{error}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_place_that_is_not_there_is_said() {
        let place = tempfile::tempdir().unwrap();
        let error = create(&cli("shop", &place.path().join("nowhere"))).unwrap_err();
        assert!(matches!(error, NewError::Unwritable { .. }), "{error}");
    }

    #[test]
    fn nothing_of_the_template_is_left_in_it() {
        let place = tempfile::tempdir().unwrap();
        let folder = create(&cli("my-shop", place.path())).unwrap();
        for (name, _) in FILES {
            let name = name.replace("{{name}}", "my-shop");
            let text = fs::read_to_string(folder.join(&name)).unwrap();
            assert!(!text.contains("{{"), "{name}: {text}");
        }
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("my-shop"));
    }
}
