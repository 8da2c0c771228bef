//! What can be wrong with a section, said without the values in it.
//!
//! The errors of usual deserializers quote what they refuse. Here serde hands the refused value over and it is dropped, but
//! for its kind.

use std::fmt;

use serde::de::{self, Expected, Unexpected};
use thiserror::Error;

use super::place::{self, Step};
use super::{NAME, Section};
use crate::message::clip;

/// What is wrong with the application's own configuration, in one sentence: which key, who says it, and what it
/// should be. No value is in it, unless the application's own check puts one there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// What was refused, and where.
#[derive(Debug)]
pub(super) struct Refusal {
    /// From the inside out.
    path: Vec<Step>,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    /// Another type, or out of bounds.
    Wrong {
        expected: String,
        found: Option<&'static str>,
    },
    Missing(&'static str),
    /// The name is the last step of the path.
    Unknown {
        known: &'static [&'static str],
    },
    Twice(&'static str),
    /// What the author's own code said.
    Own(String),
}

impl Refusal {
    const fn new(problem: Problem) -> Self {
        Self {
            path: Vec::new(),
            problem,
        }
    }

    /// It is about what stands in a table or an array.
    pub(super) fn under(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    /// It is about the name itself.
    pub(super) fn named(self, name: &str) -> Self {
        if self.path.is_empty() {
            self.under(Step::Name(name.to_owned()))
        } else {
            self
        }
    }

    /// A name that the type does not have.
    pub(super) fn unknown(name: &str, known: &'static [&'static str]) -> Self {
        Self::new(Problem::Unknown { known }).under(Step::Name(name.to_owned()))
    }

    /// In the operator's words.
    pub(super) fn in_section(self, section: &Section) -> ConfigError {
        let mut path = self.path;
        path.reverse();
        let sentence = match self.problem {
            Problem::Missing(name) => {
                path.push(Step::Name(name.to_owned()));
                missing(&path, section)
            }
            Problem::Twice(name) => {
                path.push(Step::Name(name.to_owned()));
                let (key, origin) = (place::key(&path), place::origin(&path, section));
                format!("`{key}` stands twice in {origin}, in two spellings")
            }
            Problem::Unknown { known } => {
                let (key, origin) = (place::key(&path), place::origin(&path, section));
                format!("unknown key `{key}` in {origin}; {}", listed(known))
            }
            Problem::Wrong { expected, found } => {
                let found = found.filter(|_| place::variable_at(&path, section).is_none());
                let found = found.map_or_else(String::new, |found| format!(", and it is {found}"));
                bad(&path, section, &format!("it must be {expected}{found}"))
            }
            Problem::Own(text) => bad(&path, section, &text),
        };
        ConfigError(sentence)
    }
}

fn bad(path: &[Step], section: &Section, why: &str) -> String {
    let (key, origin) = (place::key(path), place::origin(path, section));
    format!("bad value for `{key}` in {origin}: {why}")
}

fn missing(path: &[Step], section: &Section) -> String {
    let key = place::key(path);
    let above = path.split_last().map_or(path, |(_, above)| above);
    let file = match &section.file {
        Some(file) => format!("file {file}"),
        None => "a configuration file (`--config FILE`)".to_owned(),
    };
    let table = place::key(above);
    // An array's items have no names that a header could have.
    let header = if above.iter().all(|step| matches!(step, Step::Name(_))) {
        format!(" under [{table}] of {file}")
    } else {
        format!(" in `{table}` of {file}")
    };
    let variable = place::variable(path).map_or_else(String::new, |name| {
        format!(", or {name} in the environment")
    });
    format!("`{key}` is missing: set it{header}{variable}")
}

fn listed(known: &[&str]) -> String {
    if known.is_empty() {
        return "there is none to be set there".to_owned();
    }
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("it may be {}", known.join(", "))
}

/// In words of configuration files instead of Rust's.
fn in_words(expected: &str) -> String {
    let whole = |least: &dyn fmt::Display, most: &dyn fmt::Display| {
        format!("a whole number from {least} to {most}")
    };
    match expected {
        "u8" => whole(&u8::MIN, &u8::MAX),
        "u16" => whole(&u16::MIN, &u16::MAX),
        "u32" => whole(&u32::MIN, &u32::MAX),
        "i8" => whole(&i8::MIN, &i8::MAX),
        "i16" => whole(&i16::MIN, &i16::MAX),
        "i32" => whole(&i32::MIN, &i32::MAX),
        "u64" | "u128" | "usize" => "a whole number that is not negative".to_owned(),
        "i64" | "i128" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "a table".to_owned(),
        "unit" => "nothing".to_owned(),
        other => {
            if other.starts_with("struct ") {
                return "a table".to_owned();
            }
            match other.strip_prefix("a tuple of size ") {
                Some(size) => format!("an array of {size}"),
                None => one_line(other),
            }
        }
    }
}

fn one_line(text: &str) -> String {
    let mut text = text.lines().collect::<Vec<_>>().join(", ");
    clip(&mut text);
    text
}

const fn kind(found: &Unexpected<'_>) -> Option<&'static str> {
    match found {
        Unexpected::Bool(_) => Some("true or false"),
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => Some("a whole number"),
        Unexpected::Float(_) => Some("a number with a fraction"),
        Unexpected::Str(_) => Some("a string"),
        Unexpected::Seq => Some("an array"),
        Unexpected::Map => Some("a table"),
        Unexpected::Char(_)
        | Unexpected::Bytes(_)
        | Unexpected::Unit
        | Unexpected::Option
        | Unexpected::NewtypeStruct
        | Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant
        | Unexpected::Other(_) => None,
    }
}

fn wrong(found: Option<&'static str>, expected: &dyn Expected) -> Refusal {
    let expected = in_words(&expected.to_string());
    Refusal::new(Problem::Wrong { expected, found })
}

impl de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Own(one_line(&message.to_string())))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        wrong(kind(&found), expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        wrong(None, expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        wrong(None, expected)
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
        let expected = format!("one of {}", known.join(", "));
        let found = None;
        Self::new(Problem::Wrong { expected, found })
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::unknown(name, known)
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new(Problem::Missing(name))
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::new(Problem::Twice(name))
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // serde asks for this where it tries several types in turn, and then says something else.
        write!(f, "the section [{NAME}] cannot be read")
    }
}
