//! The files of a new application. `{{name}}` and the like in them, and in their names, are replaced.

/// Path in the new folder, and text.
pub(super) const FILES: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", include_str!("template/gitignore.in")),
    (".dockerignore", include_str!("template/dockerignore.in")),
    ("Dockerfile", include_str!("template/Dockerfile.in")),
    ("{{name}}.service", include_str!("template/app.service.in")),
    ("src/main.rs", include_str!("template/src/main.rs.in")),
    ("src/agent.rs", include_str!("template/src/agent.rs.in")),
    ("src/worker.rs", include_str!("template/src/worker.rs.in")),
    (
        "tests/lifecycle.rs",
        include_str!("template/tests/lifecycle.rs.in"),
    ),
];

/// What takes the places.
#[derive(Debug)]
pub(super) struct Words<'a> {
    pub(super) name: &'a str,
    /// Where hatchery comes from, as in a manifest.
    pub(super) dependency: &'a str,
}

impl Words<'_> {
    pub(super) fn put_into(&self, text: &str) -> String {
        text.replace("{{name}}", self.name)
            .replace("{{dependency}}", self.dependency)
            .replace("{{rust}}", env!("CARGO_PKG_RUST_VERSION"))
    }
}
