//! `--variables` and `--var`: the variables of a template.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::value::RawValue;

#[derive(Args, Debug)]
pub(super) struct VariableArguments {
    /// The template's variables: a JSON object in the file; on stdin, where it is "-"
    #[arg(long, value_name = "FILE")]
    variables: Option<PathBuf>,

    /// One variable, a text, over those of the file; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    single: Vec<(String, String)>,
}

impl VariableArguments {
    /// The variables as a JSON object, values as they were written; none when none were given. Reads the file.
    ///
    /// # Errors
    /// When the file can't be read, or holds no object; the text names it.
    pub fn read(&self) -> Result<Option<Box<RawValue>>, String> {
        let mut variables = match &self.variables {
            None if self.single.is_empty() => return Ok(None),
            None => BTreeMap::new(),
            Some(path) => read_object(path).map_err(|error| format!("{}: {error}", path.display()))?,
        };
        for (name, value) in &self.single {
            let value = serde_json::value::to_raw_value(value).expect("a text is JSON");
            variables.insert(name.clone(), value);
        }
        Ok(Some(serde_json::value::to_raw_value(&variables).expect("what was JSON still is")))
    }
}

fn read_object(path: &Path) -> Result<BTreeMap<String, Box<RawValue>>, String> {
    let mut text = Vec::new();
    let read = match path == Path::new("-") {
        true => io::stdin().lock().read_to_end(&mut text).map(drop),
        false => fs::read(path).map(|read| text = read),
    };
    read.map_err(|error| format!("can't be read: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("is no JSON object: {error}"))
}

/// Reads `NAME=VALUE`; the value may be empty and hold further `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must be NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(file: Option<&str>, single: &[&str]) -> (tempfile::TempDir, VariableArguments) {
        let folder = tempfile::tempdir().expect("a folder");
        let variables = file.map(|text| {
            let path = folder.path().join("variables.json");
            fs::write(&path, text).expect("written");
            path
        });
        let single = single.iter().map(|text| pair(text).expect("a pair")).collect();
        (folder, VariableArguments { variables, single })
    }

    #[test]
    fn values_stay_as_they_were_written_and_single_ones_win() {
        let (_folder, given) =
            arguments(Some("{\"n\": 1.50, \"b\": [ 1e2 ], \"a\": null}\n"), &["a=x=\"y\"", "c="]);
        let read = given.read().expect("all is well").expect("some are given");
        assert_eq!(read.get(), r#"{"a":"x=\"y\"","b":[ 1e2 ],"c":"","n":1.50}"#);
        assert!(arguments(None, &[]).1.read().expect("all is well").is_none());
    }

    #[test]
    fn a_file_without_an_object_is_named() {
        for text in ["", "[1]", "\"a\"", "{\"a\": 1", "{\"a\": 1} x"] {
            let (_folder, given) = arguments(Some(text), &[]);
            let error = given.read().expect_err(text);
            assert!(error.contains("variables.json: is no JSON object: "), "{error}");
        }
        let lost = VariableArguments { variables: Some("/nowhere/v.json".into()), single: Vec::new() };
        assert!(lost.read().expect_err("it is not there").starts_with("/nowhere/v.json: can't be read: "));
        assert!(pair("a").is_err() && pair("=a").is_err());
    }
}
