//! The pages: what they link to is there, the book has all of them, and the tutorial builds the example.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers, too"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hatchery_tests::source;

/// Every page of the repository.
fn pages() -> Vec<PathBuf> {
    let root = source::root();
    let mut pages = Vec::new();
    let mut folders: Vec<PathBuf> = ["docs", "examples", "bench", "tests"]
        .iter()
        .map(|folder| root.join(folder))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Peers of the benchmarks are installed there.
            if path.is_dir() && !path.ends_with("scratch") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                pages.push(path);
            }
        }
    }
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "md") {
            pages.push(path);
        }
    }
    assert!(pages.len() > 25, "{pages:?}");
    pages
}

/// A page without its blocks of code.
fn prose(page: &Path) -> String {
    let text = std::fs::read_to_string(page).unwrap();
    let mut code = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Where links lead to: `](TARGET)`.
fn links(prose: &str) -> Vec<String> {
    let targets = prose.split("](").skip(1);
    targets
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

/// The anchors of a page, as the usual renderers make them of its headings.
fn anchors(page: &Path) -> BTreeSet<String> {
    let headings = prose(page);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let words = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        for link in links(&prose(&page)) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let there = target.exists() && (anchor.is_empty() || anchors(&target).contains(anchor));
            if !there {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_book_has_every_chapter() {
    let docs = source::root().join("docs");
    let listed: BTreeSet<PathBuf> = links(&prose(&docs.join("SUMMARY.md")))
        .iter()
        .map(|link| docs.join(link))
        .collect();
    let chapters = pages().into_iter().filter(|page| page.starts_with(&docs));
    let missing: Vec<_> = chapters
        .filter(|page| !page.ends_with("SUMMARY.md") && !listed.contains(page))
        .collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

#[test]
fn the_tutorial_builds_the_guestbook() {
    let root = source::root();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let tutorial = read("docs/tutorial.md");
    let main = read("examples/guestbook/main.rs");
    assert!(tutorial.contains(&read("examples/guestbook/secretary.rs")));
    // It has the worker first, and the agent's lines later.
    for part in main.split("\n\n").skip(1) {
        let later = tutorial.contains(part);
        assert!(later, "the tutorial does not have\n{part}");
    }
}

#[test]
fn the_test_to_be_copied_is_one_that_passes() {
    let root = source::root();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let passes = read("tests/tests/testing.rs");
    let (_, passes) = passes.split_once("#[test]").unwrap();
    assert!(read("docs/testing.md").contains(passes));
}

/// A page about measurements has no figures of its own: so many of its rows are those of the report that it links.
fn has_the_stored_rows(page: &str, is_measured: impl Fn(&str) -> bool, rows: usize) -> [String; 2] {
    let page = source::root().join(page);
    let text = std::fs::read_to_string(&page).unwrap();
    let report = links(&text)
        .into_iter()
        .find(|link| link.contains("/results/"))
        .unwrap();
    let report = std::fs::read_to_string(page.parent().unwrap().join(report)).unwrap();
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let stored: BTreeSet<String> = report.lines().map(squeezed).collect();
    let measured: Vec<&str> = text.lines().filter(|line| is_measured(line)).collect();
    assert_eq!(measured.len(), rows);
    for row in measured {
        assert!(stored.contains(&squeezed(row)), "{row}");
    }
    [text, report]
}

#[test]
fn the_load_balancers_have_the_stored_figures() {
    // Those with latencies are the report's, the others are of the article.
    let is_measured = |line: &str| line.contains(" us |");
    let [text, report] = has_the_stored_rows("docs/articles/load-balancers.md", is_measured, 22);
    for figure in ["7,276", "21,401", "24,677", "21,395"] {
        assert!(text.contains(figure) && report.contains(figure), "{figure}");
    }
}

#[test]
fn who_gets_the_connections_has_the_stored_figures() {
    let is_measured = |line: &str| line.contains(" % |");
    has_the_stored_rows("docs/articles/distribution.md", is_measured, 15);
}

#[test]
fn the_image_server_has_the_stored_figures() {
    let is_measured = |line: &str| line.contains(" MB (");
    has_the_stored_rows("docs/articles/image-server.md", is_measured, 15);
}
