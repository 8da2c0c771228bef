//! What a build is made of, as files and folders.
//!
//! An application may write files beside its source, and its folder may hold anything: so not all that is below the
//! package counts, but its `src`, its manifest and build script, and what cargo says the program was made of, which
//! includes packages elsewhere that it depends on.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Folders of which everything counts.
    pub(super) trees: BTreeSet<PathBuf>,
    /// Files that count, there or not.
    pub(super) files: BTreeSet<PathBuf>,
}

impl Sources {
    /// Adds a package by its folder.
    pub(super) fn package(&mut self, folder: &Path) {
        self.trees.insert(folder.join("src"));
        self.files.insert(folder.join("Cargo.toml"));
        self.files.insert(folder.join("build.rs"));
    }

    /// Adds a file or a folder.
    pub(super) fn path(&mut self, path: PathBuf) {
        if path.is_dir() {
            self.trees.insert(path);
        } else {
            self.files.insert(path);
        }
    }

    /// Adds what cargo noted that this program was made of.
    pub(super) fn of_program(&mut self, program: &Path) {
        let note = std::fs::read_to_string(program.with_extension("d")).unwrap_or_default();
        for path in noted(&note) {
            // Made by the build itself.
            let made = program
                .parent()
                .is_some_and(|folder| path.starts_with(folder));
            if made || self.concern(&path) {
                continue;
            }
            if let Some(package) = path.ancestors().find(|a| a.join("Cargo.toml").is_file()) {
                self.package(package);
            }
            if !self.concern(&path) {
                self.path(path);
            }
        }
    }

    /// Whether a change of this path may change the program.
    pub(super) fn concern(&self, path: &Path) -> bool {
        let below =
            |tree: &PathBuf| path.strip_prefix(tree).is_ok_and(is_source) && !is_made(path, tree);
        self.files.contains(path) || self.trees.iter().any(below)
    }
}

/// Whether no part of the path is hidden, or what editors put beside a file.
fn is_source(path: &Path) -> bool {
    path.components().all(|part| {
        let Component::Normal(name) = part else {
            return true;
        };
        let name = name.to_string_lossy();
        !name.starts_with(['.', '#']) && !name.ends_with('~')
    })
}

/// Whether it lies in a folder for what programs make, which cargo's is: they have a tag.
fn is_made(path: &Path, tree: &Path) -> bool {
    let folders = path
        .ancestors()
        .take_while(|folder| folder.starts_with(tree));
    folders
        .into_iter()
        .any(|folder| folder.join("CACHEDIR.TAG").is_file())
}

/// The files in a note of cargo's: `PROGRAM: FILE FILE`, spaces in names behind a backslash.
fn noted(note: &str) -> Vec<PathBuf> {
    let Some((_, files)) = note.lines().next().and_then(|line| line.split_once(": ")) else {
        return Vec::new();
    };
    // No name has a zero.
    let files = files.replace("\\ ", "\0");
    let files = files.split(' ').filter(|file| !file.is_empty());
    files.map(|file| file.replace('\0', " ").into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_source() {
        let mut sources = Sources::default();
        sources.package(Path::new("/shop"));
        for (path, counts) in [
            ("/shop/src", true),
            ("/shop/src/main.rs", true),
            ("/shop/src/bin/other/main.rs", true),
            ("/shop/src/page.html", true),
            ("/shop/Cargo.toml", true),
            ("/shop/build.rs", true),
            ("/shop/visitors.txt", false),
            ("/shop/Cargo.lock", false),
            ("/shop/target/debug/shop", false),
            ("/shop/src/.main.rs.swp", false),
            ("/shop/src/.#main.rs", false),
            ("/shop/src/#main.rs#", false),
            ("/shop/src/main.rs~", false),
            ("/srcs/main.rs", false),
        ] {
            assert_eq!(sources.concern(Path::new(path)), counts, "{path}");
        }
    }

    #[test]
    fn what_a_build_makes_is_no_source() {
        let place = tempfile::tempdir().unwrap();
        let made = place.path().join("target/debug");
        std::fs::create_dir_all(&made).unwrap();
        let mut sources = Sources::default();
        sources.path(place.path().to_owned());
        assert!(sources.concern(&made.join("shop")));
        std::fs::write(place.path().join("target/CACHEDIR.TAG"), "").unwrap();
        assert!(!sources.concern(&made.join("shop")));
        assert!(sources.concern(&place.path().join("app.toml")));
    }

    #[test]
    fn names_with_spaces_are_read() {
        let note = "/t/debug/shop: /a/main.rs /my\\ shop/src/lib.rs\n\n/a/main.rs:\n";
        assert_eq!(
            noted(note),
            [Path::new("/a/main.rs"), Path::new("/my shop/src/lib.rs")]
        );
        assert_eq!(noted(""), [""; 0].map(PathBuf::from));
        assert_eq!(noted("/t/debug/shop: \n"), [""; 0].map(PathBuf::from));
    }

    #[test]
    fn a_program_says_what_it_was_made_of() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        for folder in ["shop/src", "shop/pages", "till/src", "target/debug/build"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        std::fs::write(at("till/Cargo.toml"), "").unwrap();
        std::fs::write(at("shop/Cargo.toml"), "").unwrap();
        let made_of = [
            "shop/src/main.rs",
            "shop/pages/index.html",
            "shop/pages",
            "till/src/lib.rs",
            "target/debug/build/made.rs",
        ];
        let note: Vec<String> = made_of
            .iter()
            .map(|path| at(path).display().to_string())
            .collect();
        let note = format!("shop: {}\n", note.join(" "));
        std::fs::write(at("target/debug/shop.d"), note).unwrap();
        let mut sources = Sources::default();
        sources.package(&at("shop"));
        sources.of_program(&at("target/debug/shop"));
        assert_eq!(
            sources.trees.iter().collect::<Vec<_>>(),
            [&at("shop/pages"), &at("shop/src"), &at("till/src")]
        );
        assert!(sources.concern(&at("shop/pages/index.html")));
        assert!(sources.concern(&at("till/Cargo.toml")));
        assert!(!sources.concern(&at("target/debug/build/made.rs")));
    }
}
