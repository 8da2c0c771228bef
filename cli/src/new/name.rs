//! What an application may be called.

use super::NewError;

/// As cargo has it, and a bit stricter: it becomes the name of a service and of a container, too.
pub(super) fn check(name: &str) -> Result<(), NewError> {
    let letters = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if !letters || !name.starts_with(|c: char| c.is_ascii_alphabetic()) || name.len() > 64 {
        return Err(NewError::Name(name.to_owned()));
    }
    let crate_name = name.replace('-', "_");
    let taken = [TAKEN, KEYWORDS]
        .iter()
        .any(|names| names.contains(&&*crate_name));
    if taken || crate_name.starts_with("hatchery_") {
        return Err(NewError::Taken(name.to_owned()));
    }
    Ok(())
}

/// Names of dependencies, of cargo's own folders, and of crates that are always there.
const TAKEN: &[&str] = &[
    "hatchery",
    "axum",
    "serde_json",
    "tracing",
    "test",
    "core",
    "std",
    "alloc",
    "proc_macro",
    "build",
    "deps",
    "examples",
    "incremental",
];

/// Of Rust, those that could be a package's name otherwise.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "Self", "static", "struct", "super", "trait", "true", "try", "type",
    "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["shop", "my-shop", "shop2", "a", "My_Shop"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = "a".repeat(65);
        for bad in [
            "", "2shop", "-shop", "my shop", "../shop", "shöp", "a/b", "a.b", &long,
        ] {
            assert!(matches!(check(bad), Err(NewError::Name(_))), "{bad}");
        }
        for taken in [
            "hatchery",
            "hatchery-agent",
            "axum",
            "serde-json",
            "test",
            "fn",
            "async",
            "self",
        ] {
            assert!(matches!(check(taken), Err(NewError::Taken(_))), "{taken}");
        }
    }
}
