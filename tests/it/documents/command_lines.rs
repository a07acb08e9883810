//! Every `mailroom …` that a document tells somebody to type is one that the binary takes.

use super::{documents, inline_code, lines_of_code};
use crate::harness::command_line::{run, stderr, valid};

/// The words of each command of a shell's line, quotes taken off; what stands behind `#` is a comment.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![vec![]];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut before = ' ';
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, '#') if before == ' ' => break,
            (None, ' ' | '\n' | ';' | '|' | '&' | '>' | '<') => {
                let last = commands.last_mut().expect("one at least");
                last.extend(word.take());
                if c != ' ' && c != '\n' {
                    commands.push(vec![]);
                }
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
        before = c;
    }
    commands
}

/// What is given to `mailroom`, where the command is one: with a path before it, or variables.
fn arguments(words: Vec<String>) -> Option<Vec<String>> {
    let mut words = words.into_iter().skip_while(|word| {
        word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    });
    let program = words.next()?;
    match program.as_str() {
        "mailroom" | "target/release/mailroom" | "target/debug/mailroom" => Some(words.collect()),
        // It hands on what it is given. Without an option the line is a list of what there is.
        "scripts/demo" => {
            let options: Vec<String> = words.collect();
            let is_one = options.first().is_some_and(|first| first.starts_with("--"));
            is_one.then(|| ["demo".to_owned()].into_iter().chain(options).collect())
        }
        _ => None,
    }
}

/// The command lines of a document: whole lines in its blocks, and what stands in backticks.
fn told(text: &str) -> Vec<Vec<String>> {
    let lines = lines_of_code(text).into_iter().chain(inline_code(text));
    lines.flat_map(commands).filter_map(arguments).filter(|arguments| !arguments.is_empty()).collect()
}

/// With `--help` behind it nothing is done, but all that stands before it is read: names, values, places.
fn refusal(arguments: &[String]) -> Option<String> {
    // `…`: and so on.
    let words = arguments.iter().map(String::as_str).filter(|word| *word != "…" && *word != "...");
    let words: Vec<&str> = words.chain(["--help"]).collect();
    let output = run(&valid(), &words);
    (output.status.code() != Some(0)).then(|| stderr(&output))
}

#[test]
fn each_command_line_of_the_documents_is_taken() {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for (file, text) in documents() {
        for arguments in told(&text) {
            if !all.iter().any(|(_, known)| *known == arguments) {
                all.push((file.display().to_string(), arguments));
            }
        }
    }
    assert!(all.len() > 15, "only {}: {all:?}", all.len());
    for (file, arguments) in all {
        if let Some(why) = refusal(&arguments) {
            panic!("{file}: mailroom {}: {why}", arguments.join(" "));
        }
    }
}

#[test]
fn a_command_line_that_is_wrong_is_seen() {
    let text = "Try `mailroom health redy` or\n\n    A=1 target/release/mailroom send --to 'a b' --bogus  # why\n    docker run mailroom x\n";
    assert_eq!(told(text), [vec!["send", "--to", "a b", "--bogus"], vec!["health", "redy"]]);
    for arguments in told(text) {
        assert!(refusal(&arguments).is_some(), "{arguments:?}");
    }
    assert!(refusal(&["health".to_owned(), "ready".to_owned()]).is_none());
}
