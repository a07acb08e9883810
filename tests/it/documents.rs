//! What the documents say of the repository is so.

mod command_lines;
mod configuration;
mod kafka_tools;
mod links;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The documents that somebody reads, by their place in the repository; not what tests or fuzzers are fed with.
fn documents() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for folder in [".", "docs", "docs/runbooks", "dashboards"] {
        let entries = fs::read_dir(root().join(folder)).expect("the folder is there");
        let names = entries.map(|entry| entry.expect("it can be read").file_name());
        files.extend(names.map(|name| Path::new(folder).join(name)));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    assert!(files.len() > 18, "{files:?}");
    let read = |file: PathBuf| {
        let text = read(&file.to_string_lossy());
        (file, text)
    };
    files.into_iter().map(read).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// What stands between a pair of backticks, outside of blocks of code; a pair may span lines of a paragraph.
fn inline_code(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_a_fence = false;
    let (mut paragraph, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence || in_a_fence || line.trim().is_empty() || line.starts_with("    ") {
            found.extend(text[paragraph..at].split('`').skip(1).step_by(2));
            paragraph = at + line.len();
        }
        in_a_fence ^= is_fence;
        at += line.len();
    }
    found.extend(text[paragraph..].split('`').skip(1).step_by(2));
    found
}

/// The lines of all blocks of code, without what they are indented by.
fn lines_of_code(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_a_fence = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_a_fence = !in_a_fence;
        } else if in_a_fence || line.starts_with("    ") {
            found.push(line.trim());
        }
    }
    found
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn each_threat_has_a_test_and_each_test_that_the_threat_model_names_exists() {
    let mut files = Vec::new();
    for folder in ["src", "actors", "tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    let code: String = files.iter().map(|file| fs::read_to_string(file).expect("it can be read")).collect();
    let model = read("SECURITY.md");
    let threats = model.split("\n## ").find(|part| part.starts_with("Threats")).expect("there are threats");
    let rows: Vec<Vec<&str>> = threats
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").collect())
        .filter(|cells: &Vec<&str>| !["threat", "---"].contains(&cells[0]))
        .collect();
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        let [threat, _, tests] = row[..] else { panic!("three cells: {row:?}") };
        for test in tests.split(", ") {
            let name = test.strip_prefix('`').and_then(|test| test.strip_suffix('`'));
            let name = name.unwrap_or_else(|| panic!("{threat} has no test: {tests:?}"));
            let is_there = match name.strip_prefix("scripts/") {
                Some(_) => root().join(name).exists(),
                None => code.contains(&format!("fn {name}(")),
            };
            assert!(is_there, "{threat}: there is no test {name}");
        }
    }
}

#[test]
fn what_the_operations_page_quotes_of_health_is_what_health_says() {
    let mut files = Vec::new();
    rust_files(&root().join("src/http"), &mut files);
    let code: String = files.iter().map(|file| fs::read_to_string(file).expect("it can be read")).collect();
    // A text that goes on in the next line of the code.
    let joined: Vec<&str> = code.split("\\\n").map(str::trim_start).collect();
    let code = joined.concat();
    let operations = read("docs/operations.md");
    let part = operations.split("\n## ").find(|part| part.starts_with("What `/health` says"));
    let rows = part.expect("there is that part").lines().filter(|line| line.starts_with('|'));
    let quotes: Vec<&str> = rows
        .filter_map(|row| row.split('|').nth(2)?.split_once(": ").map(|(_, quoted)| quoted))
        .flat_map(|quoted| quoted.split(['…', '(', ',']))
        .map(|words| words.trim_matches([' ', ')']))
        .filter(|words| words.len() > 5)
        .collect();
    assert!(quotes.len() > 12, "{quotes:?}");
    for words in quotes {
        assert!(code.contains(words), "health does not say: {words}");
    }
}

#[test]
fn each_dependency_has_its_reason() {
    let names = |manifest: &str| -> BTreeSet<String> {
        let manifest: toml::Table = read(manifest).parse().expect("it is TOML");
        let tables =
            ["dependencies", "dev-dependencies"].iter().filter_map(|table| manifest.get(*table)?.as_table());
        tables.flat_map(|table| table.keys().cloned()).collect()
    };
    let decisions = read("docs/decisions.md");
    let table = decisions.split("| crate | why |").nth(1).expect("there is a table of the dependencies");
    let told: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|crates| crates.rsplit(": ").next().expect("one at least").split(", "))
        .map(|name| name.trim_start_matches("with ").to_owned())
        .filter(|name| name != "---")
        .collect();
    let mut there = names("Cargo.toml");
    there.extend(names("actors/Cargo.toml"));
    there.extend(names("fuzz/Cargo.toml"));
    there.retain(|name| !name.starts_with("mailroom"));
    // Comes with ratatui.
    there.insert("crossterm".to_owned());
    assert_eq!(told, there);
}
