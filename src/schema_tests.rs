//! The schemas in the repository are those of the types, and say what the worker does.

use super::*;

#[test]
fn the_files_in_the_repository_are_current() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schemas");
    for (name, schema) in [("job", job()), ("dead-letter", dead_letter())] {
        let path = format!("{folder}/{name}.schema.json");
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(file == schema, "write it anew: mailroom schema {name} >{path}");
    }
}
