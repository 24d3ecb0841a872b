//! What people see before they see any code: manifests, READMEs, the book.

// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest(folder: &Path) -> Table {
    read(&folder.join("Cargo.toml")).parse().unwrap()
}

/// Files of a folder with an ending, or the folders in it without one.
fn entries(folder: &Path, ending: Option<&str>) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| match ending {
            Some(ending) => path.extension().is_some_and(|e| e == ending),
            None => path.is_dir(),
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{}", folder.display());
    found
}

fn crates() -> Vec<PathBuf> {
    entries(&root().join("crates"), None)
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

/// A block of code between fences: the words after the fence, and the lines.
struct Block {
    words: String,
    text: String,
}

/// The text without its blocks of code, and the blocks.
fn blocks(text: &str) -> (String, Vec<Block>) {
    let (mut prose, mut blocks, mut open): (_, _, Option<Block>) = (String::new(), Vec::new(), None);
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(words)) => open = Some(Block { words: words.to_owned(), text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.text.extend([line, "\n"]),
            (None, None) => prose.extend([line, "\n"]),
        }
    }
    assert!(open.is_none(), "a block of code is not closed");
    (prose, blocks)
}

/// Targets of links and images.
fn links(prose: &str) -> Vec<&str> {
    prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect()
}

/// The name under which a heading can be linked to.
fn anchors(prose: &str) -> BTreeSet<String> {
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| -> String {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn manifests_hold_what_a_registry_shows() {
    let workspace = manifest(&root());
    let shared = &workspace["workspace"]["package"];
    assert_eq!(shared["license"].as_str(), Some("MIT OR Apache-2.0"));
    assert!(shared["rust-version"].is_str());
    for folder in crates() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let manifest = manifest(&folder);
        let package = &manifest["package"];
        assert_eq!(package["name"].as_str(), Some(name));
        for key in ["version", "edition", "license"] {
            assert_eq!(package[key]["workspace"].as_bool(), Some(true), "{name}: {key}");
        }
        // candle asks for a newer compiler; what can do without it promises more.
        let candle = manifest["dependencies"].get("candle-core");
        let needs = candle.is_some_and(|c| c.get("optional").is_none()) || name == "dina";
        assert_eq!(package["rust-version"].is_str(), needs, "{name}: rust-version");
        let description = package["description"].as_str().unwrap();
        assert!((20..=200).contains(&description.len()), "{name}: {description}");
        let keywords = strings(&package["keywords"]);
        assert!(
            (1..=5).contains(&keywords.len()) && keywords.iter().all(|k| k.len() <= 20),
            "{name}: {keywords:?}"
        );
        assert!((1..=5).contains(&strings(&package["categories"]).len()), "{name}");
        for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
            assert_eq!(read(&folder.join(licence)), read(&root().join(licence)), "{name}: {licence}");
        }

        // The documentation on the registry's site shows all that needs no GPU.
        let docs = &package["metadata"]["docs"]["rs"];
        let none = Table::new();
        let features = manifest.get("features").map_or(&none, |f| f.as_table().unwrap());
        let mut shown: Vec<&str> = docs.get("features").map_or(vec![], strings);
        shown.push("default");
        let mut at = 0;
        while let Some(feature) = shown.get(at) {
            shown.extend(features.get(*feature).map_or(vec![], strings));
            at += 1;
        }
        let all = docs.get("all-features").is_some();
        for feature in features.keys().filter(|f| !["default", "cuda", "metal"].contains(&f.as_str())) {
            assert!(
                all || shown.contains(&feature.as_str()),
                "{name}: the documentation is built without '{feature}'"
            );
        }
    }
}

/// `.ci/release` takes these blocks for the dependencies of a crate of its own, and runs the examples in it.
#[test]
fn readmes_name_what_their_examples_need() {
    let workspace = manifest(&root());
    let known = workspace["workspace"]["dependencies"].as_table().unwrap();
    let version = |value: &Value| value.as_str().or_else(|| value["version"].as_str()).unwrap().to_owned();
    for folder in crates() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let (_, blocks) = blocks(&read(&folder.join("README.md")));
        let needs = blocks.iter().find(|block| block.words == "toml").unwrap_or_else(|| panic!("{name}"));
        let needs: Table = needs.text.parse().unwrap();
        let needs = needs["dependencies"].as_table().unwrap();
        // The facade itself is no dependency of the workspace; it has the version of all others.
        assert!(needs.contains_key(name), "{name}");
        for (dependency, value) in needs {
            let full = version(known.get(dependency).unwrap_or(&known["dina-core"]));
            let said = version(value);
            assert!(
                full == said || full.starts_with(&format!("{said}.")),
                "{name}: {dependency} {said}, not {full}"
            );
        }
        let examples: Vec<&Block> = blocks.iter().filter(|b| b.words.starts_with("rust")).collect();
        assert!(!examples.is_empty(), "{name}");
        assert!(examples.iter().all(|b| !b.words.contains("ignore")), "{name}: an example is not compiled");
        for example in examples {
            let words = |c: char| !c.is_alphanumeric() && c != '_';
            for dependency in known.keys().chain([&"dina".to_owned()]) {
                let path = format!("{}::", dependency.replace('-', "_"));
                let used = example
                    .text
                    .match_indices(&path)
                    .any(|(at, _)| example.text[..at].chars().next_back().is_none_or(words));
                assert!(!used || needs.contains_key(dependency), "{name}: an example uses {dependency}");
            }
        }
    }
}

#[test]
fn every_direct_dependency_has_a_reason() {
    let page = read(&root().join("docs/dependencies.md"));
    let reasons = page.split("## Why each is there").nth(1).unwrap();
    let given: BTreeSet<&str> = reasons
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .collect();
    let mut used = BTreeSet::new();
    for folder in crates() {
        let manifest = manifest(&folder);
        used.extend(manifest["dependencies"].as_table().unwrap().keys().cloned());
    }
    for dependency in used.iter().filter(|d| !d.starts_with("dina")) {
        assert!(given.contains(dependency.as_str()), "docs/dependencies.md gives no reason for {dependency}");
    }
    for dependency in given.iter().filter(|d| **d != "dependency") {
        assert!(
            used.contains(*dependency),
            "docs/dependencies.md gives a reason for {dependency}, which is gone"
        );
    }
}

#[test]
fn the_book_holds_every_text_and_figure() {
    let docs = root().join("docs");
    let summary = read(&docs.join("SUMMARY.md"));
    let listed: BTreeSet<&str> = links(&summary).into_iter().collect();
    let mut linked = BTreeSet::new();
    for path in entries(&docs, Some("md")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name == "SUMMARY.md" || listed.contains(name.as_str()), "{name} is not in SUMMARY.md");
        linked.extend(links(&read(&path)).into_iter().map(str::to_owned));
    }
    for path in entries(&docs, Some("svg")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(linked.contains(&name), "no text shows {name}");
    }
}

#[test]
fn links_lead_somewhere() {
    let root = root();
    let docs = root.join("docs");
    let mut texts = vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("CHANGELOG.md")];
    texts.extend(entries(&docs, Some("md")));
    texts.extend(crates().into_iter().map(|folder| folder.join("README.md")));
    for path in texts {
        let (prose, _) = blocks(&read(&path));
        for link in links(&prose) {
            let at = format!("{}: {link}", path.display());
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) =
                link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{at}: no such file");
            // A registry and a book show their own files only.
            assert!(!path.starts_with(root.join("crates")), "{at}: leads out of the package");
            assert!(!path.starts_with(&docs) || !file.contains('/'), "{at}: leads out of the book");
            if let Some(anchor) = anchor {
                assert!(anchors(&blocks(&read(&target)).0).contains(anchor), "{at}: no such heading");
            }
        }
    }
}

/// Rust in the book is compiled (`examples/common/book.rs`); what is not Rust says what it is.
#[test]
fn code_in_the_book_is_compiled_or_marked() {
    let compiled = read(&root().join("examples/common/book.rs"));
    for path in entries(&root().join("docs"), Some("md")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        for block in blocks(&read(&path)).1 {
            assert!(!block.words.is_empty(), "{name}: a block of code without a language");
            if block.words.starts_with("rust") {
                assert!(!block.words.contains("ignore"), "{name}: Rust that is not compiled");
                assert!(
                    compiled.contains(&format!("docs/{name}")),
                    "{name} is not in examples/common/book.rs"
                );
            }
        }
    }
}
