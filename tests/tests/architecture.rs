//! What may depend on what, and where certain things may stand at all.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hatchery_tests::cargo::{cargo, metadata, printed};
use hatchery_tests::source::{self, has_word};
use serde_json::Value;

/// What each package of the workspace pulls in, directly and indirectly, without what only tests need.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |value: &Value| value.as_array().unwrap().clone();

    let names: BTreeMap<String, String> = list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let edges: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let used = list(&node["deps"])
                .iter()
                .filter(|dep| {
                    list(&dep["dep_kinds"])
                        .iter()
                        .any(|kind| kind["kind"] != "dev")
                })
                .map(|dep| text(&dep["pkg"]))
                .collect();
            (text(&node["id"]), used)
        })
        .collect();
    list(&metadata["workspace_members"])
        .iter()
        .map(|member| {
            let mut found = BTreeSet::new();
            let mut todo = edges[member.as_str().unwrap()].clone();
            while let Some(id) = todo.pop() {
                if found.insert(names[&id].clone()) {
                    todo.extend(edges[&id].iter().cloned());
                }
            }
            (names[member.as_str().unwrap()].clone(), found)
        })
        .collect()
}

#[test]
fn crates_depend_only_on_what_they_may() {
    let dependencies = dependencies();
    let forbidden = [
        (
            "hatchery-protocol",
            vec![
                "hatchery",
                "hatchery-master",
                "hatchery-agent",
                "hatchery-worker",
                "axum",
                "hyper",
                "rustls",
            ],
        ),
        (
            "hatchery-master",
            vec![
                "hatchery",
                "hatchery-agent",
                "hatchery-worker",
                "hatchery-program",
                "axum",
                "hyper",
                "rustls",
            ],
        ),
        (
            "hatchery-program",
            vec![
                "hatchery",
                "hatchery-master",
                "hatchery-agent",
                "hatchery-worker",
                "axum",
                "hyper",
                "rustls",
            ],
        ),
        (
            "hatchery-agent",
            vec![
                "hatchery",
                "hatchery-master",
                "hatchery-worker",
                "axum",
                "hyper",
            ],
        ),
        (
            "hatchery-worker",
            vec!["hatchery", "hatchery-master", "hatchery-agent"],
        ),
    ];
    let of_binaries = ["clap", "anyhow", "tracing-subscriber"];
    for (library, forbidden) in forbidden {
        for name in forbidden.iter().chain(&of_binaries) {
            assert!(
                !dependencies[library].contains(*name),
                "{library} depends on {name}"
            );
        }
    }
}

#[test]
fn the_check_of_dependencies_sees_them() {
    let dependencies = dependencies();
    assert!(
        dependencies["hatchery-worker"].contains("hyper"),
        "an indirect one, too"
    );
    assert!(dependencies["hatchery"].contains("hatchery-master"));
}

/// What a build of one package has in it, with these features.
fn built_with(package: &str, features: &str) -> BTreeSet<String> {
    let mut command = cargo("tree");
    command
        .args(["--edges", "normal", "--prefix", "none", "--format", "{lib}"])
        .args(["--package", package, "--features", features]);
    let names = printed(&mut command);
    names.lines().map(str::to_owned).collect()
}

/// Who does not ask for a fleet pays nothing for it; and with it, only the agent speaks to Redis.
#[test]
fn redis_comes_with_the_feature_alone() {
    for package in [
        "hatchery",
        "hatchery-agent",
        "hatchery-worker",
        "hatchery-master",
        "hatchery-protocol",
    ] {
        let built = built_with(package, "");
        assert!(built.contains("serde"), "{built:?}");
        assert!(!built.contains("redis"), "{package} without the feature");
    }
    assert!(!built_with("hatchery", "tls").contains("redis"));
    assert!(!built_with("hatchery-worker", "tls").contains("redis"));
    for package in ["hatchery", "hatchery-agent"] {
        assert!(built_with(package, "fleet").contains("redis"), "{package}");
    }
}

/// Same events, same actions: nothing in the supervisor may look at a clock, a file, a socket or a die,
/// nor depend on the order of a hash.
#[test]
fn the_supervisor_is_pure() {
    let words = [
        "tokio",
        "rustix",
        "nix",
        "Instant",
        "SystemTime",
        "HashMap",
        "HashSet",
        "rand",
        "RandomState",
        "thread",
        "async",
        "await",
        "unsafe",
        "monotonic",
        "clock_gettime",
        "env",
        "File",
        "println",
        "eprintln",
        "tracing",
    ];
    let paths = [
        "std::io",
        "std::fs",
        "std::net",
        "std::process",
        "std::os",
        "std::sync",
    ];
    let files = source::rust_files("master/src/supervisor");
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        // The supervisor's tests may do what they like.
        if file
            .components()
            .any(|part| matches!(part.as_os_str().to_str(), Some("sim" | "tests")))
            || matches!(
                file.file_stem().and_then(|stem| stem.to_str()),
                Some("sim" | "rules" | "tests")
            )
        {
            continue;
        }
        let code = source::product_code(&file);
        for word in words {
            assert!(!has_word(&code, word), "{word} in {}", file.display());
        }
        let code: String = code.split_whitespace().collect();
        for path in paths {
            assert!(!code.contains(path), "{path} in {}", file.display());
        }
        // `use std::{fs, ..}` would slip through the paths above.
        assert!(
            !code.contains("usestd::{"),
            "a grouped use of std in {}",
            file.display()
        );
    }
}

/// Where unsafe code may stand; everything else is checked by the compiler alone.
const UNSAFE: [&str; 2] = ["protocol/src/sys.rs", "master/src/sys.rs"];

#[test]
fn unsafe_code_stands_in_one_file_a_crate() {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in [
        "protocol", "master", "agent", "worker", "program", "cli", "src", "examples", "tests",
    ] {
        files.extend(source::rust_files(folder));
    }
    assert!(files.len() > 40, "{files:?}");
    let with_unsafe: Vec<&Path> = files
        .iter()
        .filter(|file| has_word(&source::code(file), "unsafe"))
        .map(PathBuf::as_path)
        .collect();
    for file in with_unsafe {
        assert!(
            UNSAFE.iter().any(|allowed| file == Path::new(allowed)),
            "unsafe in {}",
            file.display()
        );
    }
}

/// A wait for any child takes the exit status of a worker away from whoever waits for that worker.
#[test]
fn nobody_waits_for_any_child() {
    for folder in [
        "protocol", "master", "agent", "worker", "program", "cli", "src",
    ] {
        for file in source::rust_files(folder) {
            let code = source::product_code(&file);
            for word in ["WaitId::All", "waitpid", "waitpgid"] {
                assert!(!has_word(&code, word), "{word} in {}", file.display());
            }
        }
    }
}

/// Where a signal goes to a number instead of a pidfd, and why the number is no stranger's: nobody can have waited
/// for the process, or it is a group, which has no pidfd and whose number lasts as long as one of its members.
const SIGNALLED_BY_NUMBER: [(&str, &str); 11] = [
    (
        "protocol/src/child/group.rs",
        "who was in this process's own group when it was read, a moment ago",
    ),
    (
        "master/src/orphans.rs",
        "children that nobody else waits for",
    ),
    ("master/src/spawn.rs", "a child that was made a moment ago"),
    (
        "master/src/process.rs",
        "the group of a child that was not waited for yet",
    ),
    (
        "master/src/roll.rs",
        "the group of a process whose pidfd took the signal",
    ),
    (
        "master/src/succession/attendant.rs",
        "the group of a process whose pidfd took the signal",
    ),
    ("program/src/life.rs", "a child that was not waited for yet"),
    (
        "program/src/remains.rs",
        "children that nobody else waits for",
    ),
    (
        "cli/src/dev/build.rs",
        "the group of a child that was not waited for yet",
    ),
    (
        "cli/src/dev/application.rs",
        "a child that was not waited for yet",
    ),
    (
        "src/testing/cluster.rs",
        "what an application's own test does to a process that it has just looked up",
    ),
];

/// A number may be somebody else's by the time that the signal comes.
#[test]
fn nobody_is_signalled_by_number_but_where_the_number_is_certain() {
    let mut found = BTreeSet::new();
    for folder in [
        "protocol", "master", "agent", "worker", "program", "cli", "src",
    ] {
        for file in source::rust_files(folder) {
            let code = source::product_code(&file);
            let words = ["kill_process", "kill_process_group", "killpg", "tgkill"];
            if words.iter().any(|word| has_word(&code, word)) {
                found.insert(file.display().to_string());
            }
        }
    }
    let allowed = SIGNALLED_BY_NUMBER.map(|(file, _)| file.to_owned());
    assert_eq!(found, BTreeSet::from(allowed));
}

/// A test that sleeps is a test that fails on a busy machine, and one that is ignored tests nothing.
#[test]
fn tests_do_not_sleep() {
    for file in source::rust_files("tests") {
        if file == Path::new("tests/src/wait.rs") {
            continue;
        }
        let code = source::code(&file);
        assert!(!has_word(&code, "sleep"), "{}", file.display());
        for word in ["ignore", "should_panic"] {
            assert!(
                !code.contains(&format!("#[{word}")),
                "{word} in {}",
                file.display()
            );
        }
    }
}

/// The tests that a page names, as `suite::test`.
fn named(page: &str) -> Vec<(&str, &str)> {
    let words = page.split('`').skip(1).step_by(2);
    words
        .filter_map(|name| name.split_once("::"))
        .filter(|(suite, _)| *suite != "suite")
        .collect()
}

#[track_caller]
fn exist(tests: &[(&str, &str)]) {
    for (suite, test) in tests {
        let file = Path::new("tests/tests").join(suite).with_extension("rs");
        assert!(has_word(&source::code(&file), test), "{suite}::{test}");
    }
}

/// A page that names tests which do not exist promises what nobody checks.
#[test]
fn the_page_of_parity_names_tests_that_exist() {
    let page = std::fs::read_to_string(source::root().join("tests/PARITY.md")).unwrap();
    let tests = named(&page);
    assert!(tests.len() > 80, "{tests:?}");
    exist(&tests);
}

#[test]
fn the_articles_name_tests_that_exist() {
    let mut tables = 0;
    for article in std::fs::read_dir(source::root().join("docs/articles")).unwrap() {
        let page = std::fs::read_to_string(article.unwrap().path()).unwrap();
        if let Some((_, table)) = page.split_once("## What is tested") {
            let (table, _) = table.split_once("```").unwrap_or((table, ""));
            let tests = named(table);
            assert!(!tests.is_empty(), "{table}");
            exist(&tests);
            tables += 1;
        }
    }
    assert!(tables >= 6, "{tables}");
}
