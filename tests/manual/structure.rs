//! The structure of the repository: paths in the documentation exist, crates depend on each other as
//! docs/architecture.md draws it, and no crate or file outgrows its reader.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{ROOT, read};

/// Folders at the root of the repository that documentation names.
const FOLDERS: [&str; 10] =
    ["benches", "crates", "deploy", "dist", "docs", "examples", "fuzz", "man", "scripts", "tests"];

/// The longest source file, in lines.
const LONGEST_FILE: usize = 450;

/// The largest crate, in lines of its sources.
const LARGEST_CRATE: usize = 13_000;

#[test]
fn every_path_in_the_documentation_exists() {
    let mut dead = Vec::new();
    for page in pages() {
        let text = read(&page);
        let named = paths_in_code(&text).filter(|path| !path_exists(path));
        dead.extend(named.map(|path| format!("{page}: `{path}`")));
        let linked = links(&text).filter(|target| !link_exists(&page, target));
        dead.extend(linked.map(|target| format!("{page}: link to {target}")));
    }
    let list = dead.join("\n  ");
    assert!(dead.is_empty(), "no such path from the root of the repository:\n  {list}");
}

#[test]
fn the_crates_depend_on_each_other_as_the_architecture_page_draws_it() {
    let (drawn, real) = (drawn_dependencies(), real_dependencies());
    let every_crate: BTreeSet<&String> = drawn.keys().chain(real.keys()).collect();
    let mut wrong = String::new();
    for name in every_crate {
        if drawn.get(name) != real.get(name) {
            let words = |graph: &Graph| match graph.get(name) {
                Some(uses) if uses.is_empty() => "nothing".to_owned(),
                Some(uses) => uses.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
                None => "no such crate".to_owned(),
            };
            wrong += &format!("\n  {name}: drawn {}; Cargo {}", words(&drawn), words(&real));
        }
    }
    assert!(wrong.is_empty(), "docs/architecture.md and the manifests differ:{wrong}");
}

#[test]
fn no_source_file_is_too_long_to_read() {
    let long: Vec<String> = sources(Path::new(ROOT))
        .into_iter()
        .map(|file| (lines(&file), file))
        .filter(|&(lines, _)| lines > LONGEST_FILE)
        .map(|(lines, file)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "more than {LONGEST_FILE} lines:\n  {}", long.join("\n  "));
}

#[test]
fn no_crate_is_too_large() {
    for entry in fs::read_dir(Path::new(ROOT).join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        // The sources of the root package have no Cargo.toml in their folder.
        let is_crate = folder.join("Cargo.toml").exists();
        let folder = if is_crate { folder.join("src") } else { folder };
        let size: usize = sources(&folder).iter().map(|file| lines(file)).sum();
        assert!(size <= LARGEST_CRATE, "{}: {size} lines", folder.display());
    }
}

#[test]
fn paths_are_found_in_spans_and_blocks_of_code() {
    let text = "`crates/a/b.rs:7`, `x.rs`\nand `ip link` or `core/src/`.\n\n`/proc/net/`\n\
                ```sh\ncp dist/a /b\n```\n[a](b.md#c) [d](https://e)";
    let paths: Vec<&str> = paths_in_code(text).collect();
    assert_eq!(paths, ["crates/a/b.rs", "x.rs", "core/src/", "dist/a"]);
    assert_eq!(links(text).collect::<Vec<_>>(), ["b.md"]);
}

/// README.md, CONTRIBUTING.md and the pages of docs. CHANGELOG.md is history: it names paths as they
/// were.
fn pages() -> Vec<String> {
    let mut pages = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for entry in fs::read_dir(Path::new(ROOT).join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages.sort();
    pages
}

/// The words of code, in spans and in blocks, that name a file or a folder of this repository. In a
/// span a source file or a folder counts even if its path does not begin at the root: it should.
fn paths_in_code(page: &str) -> impl Iterator<Item = &str> {
    page.split("```").enumerate().flat_map(|(at, part)| -> Vec<&str> {
        let is_block = at % 2 == 1;
        if is_block {
            return words(part).filter(|word| begins_at_root(word)).collect();
        }
        let paragraphs = part.split("\n\n");
        let spans = paragraphs.flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
        spans.flat_map(words).filter(|word| is_path(word)).collect()
    })
}

/// The words of some code, without punctuation and line numbers.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split_whitespace().map(|word| {
        let word = word.trim_matches(['(', ')', ',', ';', '"', '\'']);
        word.split(':').next().unwrap_or(word)
    })
}

fn begins_at_root(word: &str) -> bool {
    word.split_once('/').is_some_and(|(folder, _)| FOLDERS.contains(&folder))
}

fn is_path(word: &str) -> bool {
    // Names of benchmarks and of modules have slashes, too.
    let is_source = word.ends_with(".rs") || word.contains("/src/");
    begins_at_root(word) || is_source && !word.starts_with(['/', '~'])
}

/// The targets of links to other files, without the heading in them.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter(|target| !target.contains("://"));
    files.map(|target| target.split('#').next().unwrap_or(target)).filter(|file| !file.is_empty())
}

fn link_exists(page: &str, target: &str) -> bool {
    let folder = Path::new(page).parent().unwrap_or_else(|| Path::new(""));
    Path::new(ROOT).join(folder).join(target).exists()
}

/// True if `path` exists in this repository. A `*` in a name stands for any characters.
fn path_exists(path: &str) -> bool {
    let must_be_folder = path.ends_with('/');
    let mut found = vec![PathBuf::from(ROOT)];
    for name in path.split('/').filter(|name| !name.is_empty()) {
        found = match name.split_once('*') {
            None => found.iter().map(|folder| folder.join(name)).collect(),
            Some((start, end)) => {
                let entries = found.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
                let matches = |path: &PathBuf| {
                    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                    name.strip_prefix(start).is_some_and(|rest| rest.ends_with(end))
                };
                entries.map(|entry| entry.unwrap().path()).filter(matches).collect()
            }
        };
        found.retain(|path| path.exists());
    }
    found.iter().any(|path| path.is_dir() || !must_be_folder)
}

/// The dependencies of each crate, by folder names below `crates`.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The folder of the sources of the root package, which may use every crate.
const ROOT_PACKAGE: &str = "umacvlan";

/// The arrows of the drawing in docs/architecture.md, its first block of code.
fn drawn_dependencies() -> Graph {
    let page = read("docs/architecture.md");
    let drawing = page.split("```").nth(1).expect("the page has a drawing");
    let mut graph = Graph::new();
    for line in drawing.lines().filter_map(|line| line.strip_prefix("crates/")) {
        let (name, _) = line.split_once(' ').expect(line);
        let (_, uses) = line.split_once("<- ").expect(line);
        let uses = uses.split_whitespace().filter(|&word| word != "nothing");
        let known = graph.insert(name.to_owned(), uses.map(str::to_owned).collect());
        assert_eq!(known, None, "crates/{name} is drawn twice");
    }
    assert!(graph.remove(ROOT_PACKAGE).is_some(), "crates/{ROOT_PACKAGE} is not drawn");
    graph
}

/// The dependencies in the manifests, without those of tests.
fn real_dependencies() -> Graph {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let internal = |name: &Value| -> Option<String> {
        Some(name.as_str()?.strip_prefix("umacvlan-")?.to_owned())
    };
    let mut graph = Graph::new();
    for package in metadata["packages"].as_array().unwrap() {
        let Some(name) = internal(&package["name"]) else {
            continue;
        };
        let dependencies = package["dependencies"].as_array().unwrap();
        // Dependencies of tests and of build scripts have a kind.
        let normal = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
        let uses = normal.filter_map(|dependency| internal(&dependency["name"])).collect();
        graph.insert(name, uses);
    }
    graph
}

/// Every `.rs` file in a folder, except for what Cargo and git have put there.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                files.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn lines(file: &Path) -> usize {
    fs::read_to_string(file).unwrap().lines().count()
}
