//! What a type makes of what file and variables say, and the sentences for what it cannot take.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
struct Shop {
    name: String,
    #[serde(default)]
    open: bool,
    #[serde(default)]
    limit: Option<u16>,
    #[serde(default)]
    rate: f64,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    ports: Vec<u16>,
    #[serde(default)]
    corners: Option<(i8, i8)>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    database: Option<Database>,
    #[serde(default)]
    peers: Vec<Database>,
    #[serde(default)]
    labels: HashMap<String, u8>,
    #[serde(default)]
    by_number: BTreeMap<u16, bool>,
    #[serde(default)]
    address: Option<SocketAddr>,
    #[serde(default, rename = "max-items", alias = "most")]
    max_items: u32,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Fast,
    Careful,
    Limited {
        by: u8,
    },
}

#[derive(Debug, PartialEq, Deserialize)]
struct Blank {
    text: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Database {
    user: Word,
    port: u16,
}

/// A type with a rule of its own.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Word(String);

impl TryFrom<String> for Word {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.contains(' ') {
            return Err("it must be one word");
        }
        Ok(Self(text))
    }
}

/// As a file and variables say it: a text that begins with `$` is a variable's.
fn value(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::String(text) => match text.strip_prefix('$') {
            Some(said) => Value::Variable(said.to_owned()),
            None => Value::Text(text.clone()),
        },
        Json::Number(number) => Value::Number(number.clone()),
        Json::Bool(on) => Value::Switch(*on),
        Json::Array(items) => Value::List(items.iter().map(value).collect()),
        Json::Object(table) => Value::Table(
            table
                .iter()
                .map(|(name, inner)| (name.clone(), value(inner)))
                .collect(),
        ),
        Json::Null => panic!("there is no nothing in a section"),
    }
}

fn section(json: &str) -> Section {
    let Value::Table(table) = value(&serde_json::from_str(json).unwrap()) else {
        panic!("not a table: {json}");
    };
    Section::new(table, Some("/etc/shop.toml".into()))
}

fn shop(more: &str) -> Result<Shop, String> {
    let comma = if more.is_empty() { "" } else { "," };
    section(&format!(r#"{{"name": "corner"{comma}{more}}}"#))
        .read()
        .map_err(|error: ConfigError| error.to_string())
}

#[test]
fn a_field_takes_what_file_and_variable_say_alike() {
    type Sees = fn(&Shop) -> bool;
    let rows: [(&str, &str, Sees); 13] = [
        (r#""open": true"#, r#""open": "$true""#, |s| s.open),
        (r#""open": true"#, r#""open": "$1""#, |s| s.open),
        (r#""limit": 80"#, r#""limit": "$80""#, |s| {
            s.limit == Some(80)
        }),
        (r#""rate": 1.5"#, r#""rate": "$1.5""#, |s| {
            s.rate.to_bits() == 1.5f64.to_bits()
        }),
        (r#""rate": 2"#, r#""rate": "$2""#, |s| {
            s.rate.to_bits() == 2f64.to_bits()
        }),
        (r#""tags": ["a", "b c"]"#, r#""tags": "$a, b c""#, |s| {
            s.tags == ["a", "b c"]
        }),
        (r#""tags": []"#, r#""tags": "$""#, |s| s.tags.is_empty()),
        (r#""ports": [1, 2]"#, r#""ports": "$1,2""#, |s| {
            s.ports == [1, 2]
        }),
        (r#""corners": [-1, 2]"#, r#""corners": "$-1, 2""#, |s| {
            s.corners == Some((-1, 2))
        }),
        (r#""mode": "careful""#, r#""mode": "$careful""#, |s| {
            s.mode == Mode::Careful
        }),
        (
            r#""mode": {"limited": {"by": 3}}"#,
            r#""mode": {"limited": {"by": "$3"}}"#,
            |s| s.mode == Mode::Limited { by: 3 },
        ),
        (
            r#""database": {"user": "me", "port": 5}"#,
            r#""database": {"user": "$me", "port": "$5"}"#,
            |s| {
                s.database
                    .as_ref()
                    .is_some_and(|d| d.port == 5 && d.user.0 == "me")
            },
        ),
        (r#""labels": {"a": 1}"#, r#""labels": {"a": "$1"}"#, |s| {
            s.labels["a"] == 1
        }),
    ];
    for (file, variable, sees) in rows {
        for said in [file, variable] {
            let shop = shop(said).unwrap_or_else(|error| panic!("{said}: {error}"));
            assert!(sees(&shop), "{said}: {shop:?}");
        }
    }
}

#[test]
fn a_variable_is_what_its_field_is_and_nothing_is_guessed() {
    // A password may look like a number, or have a comma.
    assert_eq!(
        shop(r#""tags": ["1"], "name": "$007,8""#).unwrap().name,
        "007,8"
    );
    assert!(shop(r#""by_number": {"80": "$true"}"#).unwrap().by_number[&80]);
    let address = shop(r#""address": "$127.0.0.1:80""#).unwrap().address;
    assert_eq!(address.unwrap().port(), 80);
    let blank: Blank = section(r#"{"text": "$"}"#).read().unwrap();
    assert_eq!(blank.text.as_deref(), Some(""));
}

#[test]
fn names_are_found_in_other_spellings() {
    for name in ["max-items", "max_items", "MAX_ITEMS", "most"] {
        let found = shop(&format!(r#""{name}": 3"#)).map(|shop| shop.max_items);
        assert_eq!(found, Ok(3), "{name}");
    }
    let labels = shop(r#""labels": {"max-items": 1}"#).unwrap().labels;
    assert_eq!(labels["max-items"], 1, "names of a map are its own");
}

#[test]
fn every_mistake_names_the_key_and_who_made_it() {
    let rows = ill_typed().into_iter().chain(ill_named());
    for (said, sentence) in rows {
        let told = shop(said).unwrap_err();
        assert_eq!(told, sentence, "{said}");
        assert!(!told.contains("hunter2"), "a value is shown: {told}");
    }
}

const FILE: &str = "file /etc/shop.toml";

fn ill_typed() -> Vec<(&'static str, String)> {
    let (file, variable) = (FILE, "environment variable HATCHERY_APP__");
    vec![
        (
            r#""limit": "hunter2""#,
            format!(
                "bad value for `app.limit` in {file}: it must be a whole number from 0 to 65535, and it is a string"
            ),
        ),
        (
            r#""limit": "$hunter2""#,
            format!(
                "bad value for `app.limit` in {variable}LIMIT: it must be a whole number from 0 to 65535"
            ),
        ),
        (
            r#""limit": 70000"#,
            format!(
                "bad value for `app.limit` in {file}: it must be a whole number from 0 to 65535"
            ),
        ),
        (
            r#""limit": 1.5"#,
            format!(
                "bad value for `app.limit` in {file}: it must be a whole number from 0 to 65535, and it is a number with a fraction"
            ),
        ),
        (
            r#""open": "$hunter2""#,
            format!("bad value for `app.open` in {variable}OPEN: it must be true or false"),
        ),
        (
            r#""rate": "$inf""#,
            format!("bad value for `app.rate` in {variable}RATE: it must be a number"),
        ),
        (
            r#""tags": true"#,
            format!(
                "bad value for `app.tags` in {file}: it must be an array, and it is true or false"
            ),
        ),
        (
            r#""ports": [1, "hunter2"]"#,
            format!(
                "bad value for `app.ports[1]` in {file}: it must be a whole number from 0 to 65535, and it is a string"
            ),
        ),
        (
            r#""ports": "$1,hunter2""#,
            format!(
                "bad value for `app.ports[1]` in {variable}PORTS: it must be a whole number from 0 to 65535"
            ),
        ),
        (
            r#""corners": [1, 2, 3]"#,
            format!("bad value for `app.corners` in {file}: it must be an array of 2"),
        ),
        (
            r#""mode": "hunter2""#,
            format!(
                "bad value for `app.mode` in {file}: it must be one of `fast`, `careful`, `limited`"
            ),
        ),
        (
            r#""mode": 3"#,
            format!(
                "bad value for `app.mode` in {file}: it must be one of `fast`, `careful`, `limited`"
            ),
        ),
        (
            r#""database": "$hunter2""#,
            format!("bad value for `app.database` in {variable}DATABASE: it must be a table"),
        ),
    ]
}

fn ill_named() -> Vec<(&'static str, String)> {
    let (file, variable) = (FILE, "environment variable HATCHERY_APP__");
    vec![
        (
            r#""database": {"user": "me"}"#,
            format!(
                "`app.database.port` is missing: set it under [app.database] of {file}, or {variable}DATABASE__PORT in the environment"
            )
            .replace("environment variable ", ""),
        ),
        (
            r#""peers": [{"user": "me"}]"#,
            format!("`app.peers[0].port` is missing: set it in `app.peers[0]` of {file}"),
        ),
        (
            r#""database": {"user": "not one word", "port": 1}"#,
            format!("bad value for `app.database.user` in {file}: it must be one word"),
        ),
        (
            r#""address": "hunter2""#,
            format!("bad value for `app.address` in {file}: invalid socket address syntax"),
        ),
        (
            r#""database": {"user": "me", "port": 1, "prot": 2}"#,
            format!("unknown key `app.database.prot` in {file}; it may be `user`, `port`"),
        ),
        (
            r#""database": {"user": "me", "port": 1, "prot": "$2"}"#,
            format!("unknown key `app.database.prot` in {variable}DATABASE__PROT; it may be `user`, `port`"),
        ),
        (
            r#""max-items": 1, "max_items": 2"#,
            format!("`app.max-items` stands twice in {file}, in two spellings"),
        ),
        (
            r#""by_number": {"hunter": true}"#,
            format!(
                "bad value for `app.by_number.hunter` in {file}: it must be a whole number from 0 to 65535, and it is a string"
            ),
        ),
    ]
}

#[test]
fn what_is_missing_can_be_set_where_there_is_no_file_yet() {
    let error = Section::default().read::<Database>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`app.user` is missing: set it under [app] of a configuration file (`--config FILE`), or HATCHERY_APP__USER in \
         the environment"
    );
}

#[test]
fn a_key_that_variables_alone_say_is_theirs() {
    let sentence = |said: &str| shop(said).unwrap_err();
    let variables = sentence(r#""databse": {"port": "$1", "user": "$me"}"#);
    assert!(
        variables.starts_with(
            "unknown key `app.databse` in environment variable HATCHERY_APP__DATABSE__PORT;"
        ),
        "{variables}"
    );
    let both = sentence(r#""databse": {"port": "$1", "user": "me"}"#);
    assert!(
        both.starts_with("unknown key `app.databse` in file /etc/shop.toml;"),
        "{both}"
    );
}

#[test]
fn values_are_not_shown() {
    let section =
        section(r#"{"token": "hunter2", "inner": {"key": "$hunter2"}, "list": ["hunter2"]}"#);
    let shown = format!("{section:?} {section:#?} {:?}", section.keys());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("token"), "{shown}");
    let keys = section.keys();
    assert_eq!(
        keys,
        [
            (
                "app.inner.key",
                "environment variable HATCHERY_APP__INNER__KEY"
            ),
            ("app.list", "file /etc/shop.toml"),
            ("app.token", "file /etc/shop.toml"),
        ]
        .map(|(key, origin)| (key.to_owned(), origin.to_owned()))
    );
}

/// The wire form is a contract between two builds.
#[test]
fn golden_section() {
    let section = section(r#"{"a": "x", "b": 1, "c": true, "d": [1.5], "e": {"f": "$y"}}"#);
    let json = serde_json::to_string(&section).unwrap();
    assert_eq!(
        json,
        concat!(
            r#"{"values":{"table":{"a":{"text":"x"},"b":{"number":1},"c":{"switch":true},"d":{"list":[{"number":1.5}]},"#,
            r#""e":{"table":{"f":{"variable":"y"}}}}},"file":"/etc/shop.toml"}"#
        )
    );
    assert_eq!(serde_json::from_str::<Section>(&json).unwrap(), section);
    assert_eq!(section.size(), json.len());
}

/// The deepest that is let through can be read by whoever gets it.
#[test]
fn the_deepest_section_travels() {
    let mut value = Value::Switch(true);
    for _ in 1..MAX_DEPTH {
        value = Value::List(vec![value]);
    }
    let section = Section::new([("a".to_owned(), value)].into(), None);
    let json = serde_json::to_string(&section).unwrap();
    assert_eq!(serde_json::from_str::<Section>(&json).unwrap(), section);
}
