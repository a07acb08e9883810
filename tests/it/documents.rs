//! What the documents say of the repository is so.

use std::fs;
use std::path::{Path, PathBuf};

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
fn each_test_that_the_threat_model_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "actors", "tests"] {
        rust_files(&root.join(folder), &mut files);
    }
    let code: String = files.iter().map(|file| fs::read_to_string(file).expect("it can be read")).collect();
    let threats = fs::read_to_string(root.join("SECURITY.md")).expect("it can be read");
    // The last cell of a table's row holds names of tests only.
    let cells = threats.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit_once("| "));
    let named: Vec<&str> = cells
        .flat_map(|(_, tests)| tests.split(", "))
        .filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'))
        .filter(|name| name.matches('_').count() > 2)
        .collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}()")), "there is no test {name}");
    }
}
