//! What is run: `script`, `args`, `interpreter` and what belongs to them.

use std::path::Path;

use serde_json::{Map, Value};

use super::Refused;
use super::draft::Draft;

/// What PM2 runs a file with that says nothing else, by the end of its name.
const INTERPRETERS: [(&str, &str); 9] = [
    ("js", "node"),
    ("cjs", "node"),
    ("mjs", "node"),
    ("ts", "node"),
    ("py", "python3"),
    ("sh", "bash"),
    ("rb", "ruby"),
    ("pl", "perl"),
    ("php", "php"),
];

/// What [`draw`] has an eye on.
pub(super) const NAMES: [&str; 8] = [
    "script",
    "cmd",
    "exec",
    "args",
    "interpreter",
    "exec_interpreter",
    "interpreter_args",
    "node_args",
];

/// What is run, as PM2 names it.
pub(super) fn script(app: &Map<String, Value>) -> Option<String> {
    let names = ["script", "cmd", "exec"].into_iter();
    let mut said = names.filter_map(|name| app.get(name)?.as_str());
    said.next()
        .filter(|script| !script.is_empty())
        .map(str::to_owned)
}

/// Draws the command line.
pub(super) fn draw(
    app: &Map<String, Value>,
    script: &str,
    draft: &mut Draft,
) -> Result<(), Refused> {
    let interpreter = interpreter(app, script)?;
    let mut words = Vec::new();
    match interpreter {
        Some(interpreter) => {
            words.push(interpreter);
            words.extend(list(app, "interpreter_args")?);
            words.extend(list(app, "node_args")?);
            words.push(script.to_owned());
        }
        // As PM2: a line for a shell.
        None if script.contains(char::is_whitespace) => {
            words.extend(["bash".to_owned(), "-c".to_owned(), format!("exec {script}")]);
        }
        None => words.push(here(script)),
    }
    words.extend(list(app, "args")?);
    let words: Vec<toml::Value> = words.into_iter().map(toml::Value::String).collect();
    draft.set("program", words);
    draft.remark(
        "it has to take its socket as descriptor 3 (LISTEN_FDS), in Node: server.listen({ fd: 3 })",
    );
    Ok(())
}

/// A file beside the configuration is no command in PATH.
fn here(script: &str) -> String {
    let path = Path::new(script);
    if script.contains('/') || path.extension().is_none() {
        script.to_owned()
    } else {
        format!("./{script}")
    }
}

fn interpreter(app: &Map<String, Value>, script: &str) -> Result<Option<String>, Refused> {
    let said = app
        .get_key_value("interpreter")
        .or_else(|| app.get_key_value("exec_interpreter"));
    if let Some((name, value)) = said {
        return match value.as_str() {
            Some("none" | "") => Ok(None),
            Some(word) => Ok(Some(word.to_owned())),
            None if value.is_null() => Ok(None),
            None => Err(Refused::new(name, value, "it has to be a string")),
        };
    }
    if script.contains(char::is_whitespace) {
        return Ok(None);
    }
    let extension = Path::new(script).extension().and_then(|e| e.to_str());
    let known = INTERPRETERS.iter().find(|(end, _)| Some(*end) == extension);
    Ok(known.map(|(_, interpreter)| (*interpreter).to_owned()))
}

/// Words, as a list or as a line for a shell.
fn list(app: &Map<String, Value>, name: &str) -> Result<Vec<String>, Refused> {
    let Some(value) = app.get(name) else {
        return Ok(Vec::new());
    };
    if let Some(line) = value.as_str() {
        let words = shlex::split(line);
        return words.ok_or_else(|| Refused::new(name, value, "a quote in it has no end"));
    }
    if let Some(items) = value.as_array() {
        let words = items.iter().map(super::word);
        let words: Option<Vec<String>> = words.collect();
        return words.ok_or_else(|| Refused::new(name, value, "it has to be strings"));
    }
    if value.is_null() {
        return Ok(Vec::new());
    }
    Err(Refused::new(
        name,
        value,
        "it has to be a string or a list of strings",
    ))
}
