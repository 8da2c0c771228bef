//! The section as file and environment give it: what is laid over what, and what is refused.

use std::path::Path;

use serde::Deserialize;

use super::super::{Inputs, Layer, load, to_toml};
use super::*;
use crate::config::Settings;

/// The sources together, as a command reads them.
fn loaded(
    file: Option<&str>,
    variables: &[(&str, &str)],
    has_section: bool,
) -> (Settings, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    let environment = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect::<Vec<_>>();
    let (settings, problems) = load(Inputs {
        app: "app",
        flags: Layer::default(),
        config: file.map(|_| path),
        has_section,
        environment,
        cwd: Path::new("/"),
    });
    let shown = dir.path().display().to_string();
    let problems = problems
        .iter()
        .map(|problem| problem.to_string().replace(&shown, ""));
    (settings, problems.collect())
}

fn section(file: Option<&str>, variables: &[(&str, &str)]) -> Section {
    let (settings, problems) = loaded(file, variables, true);
    assert_eq!(problems, [""; 0]);
    settings.config.section.unwrap()
}

/// A file, variables, and what comes of name and user, limit and most open.
type Laid<'a> = (
    Option<&'a str>,
    &'a [(&'a str, &'a str)],
    [&'a str; 2],
    [u16; 2],
);

/// A file, variables, and words of the sentence.
type Mistake<'a> = (Option<&'a str>, Vec<(&'a str, &'a str)>, &'a str);

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(default)]
struct Shop {
    name: String,
    limit: u16,
    when: String,
    database: Database,
    servers: Vec<Database>,
}

impl Default for Shop {
    fn default() -> Self {
        Self {
            name: "default".into(),
            limit: 1,
            when: String::new(),
            database: Database::default(),
            servers: Vec::new(),
        }
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Database {
    user: String,
    max_open: u8,
}

#[test]
fn default_below_file_below_environment_key_by_key() {
    let file = "workers = 2\n[app]\nname = 'file'\nwhen = 2026-01-31\n[app.database]\nuser = 'file'\nmax-open = 3\n";
    let rows: [Laid<'_>; 7] = [
        (None, &[], ["default", ""], [1, 0]),
        (Some("workers = 2"), &[], ["default", ""], [1, 0]),
        (Some("[app]\n"), &[], ["default", ""], [1, 0]),
        (Some(file), &[], ["file", "file"], [1, 3]),
        (
            Some(file),
            &[("HATCHERY_APP__NAME", "env")],
            ["env", "file"],
            [1, 3],
        ),
        (
            Some(file),
            &[
                ("HATCHERY_APP__DATABASE__MAX_OPEN", "4"),
                ("HATCHERY_APP__LIMIT", "9"),
            ],
            ["file", "file"],
            [9, 4],
        ),
        (
            None,
            &[
                ("HATCHERY_APP__DATABASE__USER", "env"),
                ("HATCHERY_APP__DATABASE__MAX_OPEN", "5"),
            ],
            ["default", "env"],
            [1, 5],
        ),
    ];
    for (file, variables, texts, numbers) in rows {
        let shop: Shop = section(file, variables).read().unwrap();
        assert_eq!(
            [&*shop.name, &*shop.database.user],
            texts,
            "{file:?} {variables:?}"
        );
        assert_eq!(
            [shop.limit, shop.database.max_open.into()],
            numbers,
            "{file:?} {variables:?}"
        );
    }
    let shop: Shop = section(Some(file), &[]).read().unwrap();
    assert_eq!(shop.when, "2026-01-31", "a date is text");
    let servers = "[[app.servers]]\nuser = 'a'\n[[app.servers]]\nuser = 'b'\n";
    let shop: Shop = section(Some(servers), &[]).read().unwrap();
    assert_eq!(shop.servers[1].user, "b");
}

#[test]
fn a_variable_takes_the_place_of_what_the_file_has_there() {
    let whole = section(
        Some("[app.name]\nfirst = 'a'"),
        &[("HATCHERY_APP__NAME", "b")],
    );
    assert_eq!(whole.read::<Named>().unwrap().name, "b");
    let part = section(
        Some("[app]\ndatabase = 'a'"),
        &[("HATCHERY_APP__DATABASE__USER", "b")],
    );
    assert_eq!(part.read::<Shop>().unwrap().database.user, "b");
}

#[test]
fn every_mistake_is_told_without_its_value() {
    let deep = format!("app = {}true{}", "[".repeat(20), "]".repeat(20));
    let deep = deep.replacen("app = ", "[app]\nkey = ", 1);
    let deep_variable = format!("HATCHERY_APP__{}", ["A"; 20].join("__"));
    let large = format!("[app]\nkey = '{}'", "x".repeat(MAX_SIZE));
    let rows: Vec<Mistake<'_>> = vec![
        (
            Some("app = 'hunter2'"),
            vec![],
            "bad value for `app` in file /app.toml: it must be a table: the application's own keys stand under [app]",
        ),
        (
            Some("[app]\nrate = nan"),
            vec![],
            "bad value for `app.rate` in file /app.toml: it must be a finite number",
        ),
        (
            Some(&deep),
            vec![],
            "tables and arrays are nested too deep there: 16 levels are allowed",
        ),
        (
            None,
            vec![(&deep_variable, "hunter2")],
            "it is nested too deep: 16 levels are allowed",
        ),
        (Some(&large), vec![], "bytes and at most 65536 are allowed"),
        (
            None,
            vec![("HATCHERY_APP__", "hunter2")],
            "bad value for `app` in environment variable HATCHERY_APP__: a key has to stand behind HATCHERY_APP__",
        ),
        (
            None,
            vec![("HATCHERY_APP__A____B", "hunter2")],
            "bad value for `app.a.b` in environment variable HATCHERY_APP__A____B: a key has to stand behind",
        ),
        (
            None,
            vec![
                ("HATCHERY_APP__A__B", "hunter2"),
                ("HATCHERY_APP__A", "hunter2"),
            ],
            "bad value for `app.a.b` in environment variable HATCHERY_APP__A__B: another variable says the whole",
        ),
        (
            None,
            vec![
                ("HATCHERY_APP__A", "hunter2"),
                ("HATCHERY_APP__a", "hunter2"),
            ],
            "bad value for `app.a` in environment variable HATCHERY_APP__a: two variables say it",
        ),
    ];
    for (file, variables, words) in rows {
        let (_, problems) = loaded(file, &variables, true);
        assert_eq!(problems.len(), 1, "{words}: {problems:?}");
        assert!(problems[0].contains(words), "no `{words}` in {problems:?}");
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn who_has_no_configuration_of_its_own_refuses_one() {
    let (settings, problems) = loaded(
        Some("[app]\na = 'hunter2'"),
        &[("HATCHERY_APP__B", "hunter2")],
        false,
    );
    assert_eq!(settings.config.section, None);
    for (problem, origin) in problems
        .iter()
        .zip(["file /app.toml", "environment variable HATCHERY_APP__B"])
    {
        let begins = format!(
            "bad value for `app` in {origin}: this application has no configuration of its own;"
        );
        assert!(problem.starts_with(&begins), "{problem}");
    }
    assert_eq!(problems.len(), 2);
    assert_eq!(loaded(None, &[], false).1, [""; 0]);
}

#[test]
fn keys_are_shown_and_values_are_not() {
    let (settings, problems) = loaded(
        Some("workers = 2\n[app]\ntoken = 'hunter2'"),
        &[("HATCHERY_APP__INNER__KEY", "hunter2")],
        true,
    );
    assert_eq!(problems, [""; 0]);
    let shown = to_toml(&settings);
    assert!(
        shown.contains("# app.token is set and not shown # file "),
        "{shown}"
    );
    let variable =
        "# app.inner.key is set and not shown # environment variable HATCHERY_APP__INNER__KEY";
    assert!(shown.contains(variable), "{shown}");
    let shown = format!("{shown} {settings:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(
        settings.config.section.unwrap().variables(),
        ["HATCHERY_APP__INNER__KEY"]
    );
}
