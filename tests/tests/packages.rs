//! The packages as others get them: complete, for the Rust and the systems they name, with nothing in them that
//! nobody needs or whose licence does not suit.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hatchery_tests::cargo::{cargo, members, metadata, printed, published};
use hatchery_tests::source;
use serde_json::Value;
use spdx::{Expression, ParseMode};

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// A file of the repository that is TOML.
fn toml(path: &str) -> toml::Table {
    let text = std::fs::read_to_string(source::root().join(path)).unwrap();
    text.parse().unwrap()
}

fn words(value: &toml::Value) -> BTreeSet<&str> {
    let words = value.as_array().unwrap().iter();
    words.map(|word| word.as_str().unwrap()).collect()
}

/// The folder of a package, relative to the root of the workspace.
fn folder(package: &Value) -> &Path {
    let manifest = Path::new(text(&package["manifest_path"]));
    let folder = manifest.parent().unwrap();
    folder.strip_prefix(source::root()).unwrap()
}

#[test]
fn each_package_says_what_a_registry_asks_for() {
    let metadata = metadata();
    let published = published(&metadata);
    assert_eq!(published.len(), 7);
    for package in published {
        let name = text(&package["name"]);
        for field in ["description", "license", "readme", "rust_version"] {
            assert!(!text(&package[field]).is_empty(), "{field} of {name}");
        }
        for field in ["keywords", "categories"] {
            assert!(
                (1..=5).contains(&list(&package[field]).len()),
                "{field} of {name}"
            );
        }
        // Elsewhere it does not build, so there is nothing that could be shown.
        let shown = &package["metadata"]["docs"]["rs"];
        assert_eq!(
            list(&shown["targets"]),
            ["x86_64-unknown-linux-gnu"],
            "{name}"
        );
        let features = package["features"].as_object().unwrap();
        assert_eq!(
            shown["all-features"] == true,
            !features.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn each_package_has_all_its_files() {
    for package in published(&metadata()) {
        let name = text(&package["name"]);
        let mut command = cargo("package");
        command.args(["--list", "--allow-dirty", "--package", name]);
        let packed = printed(&mut command);
        let packed: BTreeSet<&str> = packed.lines().collect();
        let mut needed: BTreeSet<String> = ["README.md", "LICENSE-MIT", "LICENSE-APACHE"]
            .map(str::to_owned)
            .into();
        let folder = folder(package);
        let sources = source::rust_files(folder.join("src").to_str().unwrap());
        assert!(!sources.is_empty(), "{name}");
        needed.extend(sources.iter().map(|file| {
            let file = file.strip_prefix(folder).unwrap();
            file.to_str().unwrap().to_owned()
        }));
        for file in &needed {
            assert!(packed.contains(file.as_str()), "{name} lacks {file}");
        }
        for file in packed {
            let foreign = [
                "bench/",
                "tests/tests/",
                "fuzz/",
                "scripts/",
                ".ci/",
                "target/",
            ];
            let foreign = foreign.iter().any(|folder| file.starts_with(folder));
            assert!(!foreign, "{name} has {file}");
        }
    }
}

/// `[features]` of the facade, its rustdoc and its page are the same list.
#[test]
fn each_feature_is_explained() {
    let manifest = toml("Cargo.toml");
    let features: BTreeSet<&str> = manifest["features"]
        .as_table()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    for (page, row) in [("src/lib.rs", "//! | `"), ("docs/features.md", "| `")] {
        let text = std::fs::read_to_string(source::root().join(page)).unwrap();
        let explained: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(row)?.split('`').next())
            .filter(|name| !name.starts_with("hatchery"))
            .collect();
        assert_eq!(explained, features, "{page}");
    }
}

/// Whoever has the Rust that the packages ask for can build them: clippy watches over our own code
/// (`incompatible_msrv`), this over everybody else's.
#[test]
fn no_dependency_asks_for_a_newer_rust() {
    let version = |text: &str| -> Vec<u32> {
        let mut parts: Vec<u32> = text.split('.').map(|part| part.parse().unwrap()).collect();
        parts.resize(3, 0);
        parts
    };
    let manifest = toml("Cargo.toml");
    let ours = manifest["workspace"]["package"]["rust-version"]
        .as_str()
        .unwrap();
    let metadata = metadata();
    let mut asking = 0;
    for package in list(&metadata["packages"]) {
        if let Some(theirs) = package["rust_version"].as_str() {
            let name = text(&package["name"]);
            assert!(
                version(theirs) <= version(ours),
                "{name} needs Rust {theirs}"
            );
            asking += 1;
        }
    }
    assert!(asking > 50, "{asking}");
}

/// What `cargo deny check licenses bans` looks at, for those who do not have it.
#[test]
fn licences_suit_and_nothing_is_banned() {
    let deny = toml("deny.toml");
    let allowed = words(&deny["licenses"]["allow"]);
    let exceptions: BTreeMap<&str, BTreeSet<&str>> = deny["licenses"]["exceptions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["crate"].as_str().unwrap(), words(&one["allow"])))
        .collect();
    let banned: BTreeSet<&str> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["crate"].as_str().unwrap())
        .collect();
    assert!(!banned.is_empty());
    let metadata = metadata();
    for package in list(&metadata["packages"]) {
        let name = text(&package["name"]);
        assert!(!banned.contains(name), "{name} is banned");
        let licence = package["license"].as_str().unwrap_or_default();
        // Older packages have a slash for `OR`.
        let licence = Expression::parse_mode(licence, ParseMode::LAX).unwrap();
        let suits = licence.evaluate(|one| {
            let id = one.license.id().map_or("", |id| id.name);
            let excepted = exceptions.get(name).is_some_and(|ids| ids.contains(id));
            one.addition.is_none() && (allowed.contains(id) || excepted)
        });
        assert!(suits, "{name} has the licence {licence}");
    }
}

/// What `cargo machete` looks at, for those who do not have it.
#[test]
fn each_dependency_is_used() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in members(&metadata) {
        let name = text(&package["name"]);
        let mut files = BTreeSet::new();
        for target in list(&package["targets"]) {
            let main = Path::new(text(&target["src_path"]));
            let folder = main.parent().unwrap().strip_prefix(source::root()).unwrap();
            // A build script stands where everything does.
            if target["kind"][0] != "custom-build" {
                files.extend(source::rust_files(folder.to_str().unwrap()));
            }
        }
        let code: String = files.iter().map(|file| source::code(file)).collect();
        let excused = package["metadata"]["cargo-machete"]["ignored"].as_array();
        for dependency in list(&package["dependencies"]) {
            let used = text(&dependency["name"]).replace('-', "_");
            let excused = excused.is_some_and(|names| names.contains(&dependency["name"]));
            match (source::has_word(&code, &used), excused) {
                (true, false) | (false, true) => {}
                (false, false) => wrong.push(format!("{name} does not use {used}")),
                (true, true) => wrong.push(format!("{name} uses {used} and is excused from it")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Nothing of ours has to be compiled there, and nothing of others is: so it needs no target to be installed.
#[test]
fn on_other_systems_a_build_ends_with_one_sentence() {
    let apart = tempfile::tempdir().unwrap();
    for target in [
        "aarch64-apple-darwin",
        "x86_64-pc-windows-msvc",
        "x86_64-unknown-freebsd",
        "wasm32-unknown-unknown",
    ] {
        let mut command = cargo("check");
        command
            .args(["--package", "hatchery-cli", "--target", target])
            .arg("--target-dir")
            .arg(apart.path());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{target}: {said}");
        let errors: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("error: ") && !line.contains("build script logged"))
            .collect();
        assert_eq!(errors.len(), 1, "{target}: {said}");
        assert!(errors[0].contains("hatchery needs Linux: "), "{said}");
        assert!(
            errors[0].ends_with(&format!("This build is for {target}")),
            "{said}"
        );
    }
}
