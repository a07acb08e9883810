//! What can be found wrong in a template without rendering it: files, filters, tests and functions that are not there.

use std::collections::HashSet;

use minijinja::{Environment, Template};

use super::mistake::Mistake;
use super::tokens::{self, Tag, Token, TokenKind};

/// What the files of `environment` refer to and is not there, each with its line; and warnings. `broken` are files
/// that do not compile: they are there, and may define anything.
pub(super) fn check(environment: &Environment<'_>, broken: &HashSet<String>) -> (Vec<Mistake>, Vec<String>) {
    let templates: Vec<_> = environment.templates().collect();
    let files: Vec<_> =
        templates.iter().map(|(file, template)| (*file, tokens::tags(template.source()), template)).collect();
    let globals: HashSet<&str> = environment.globals().map(|(name, _)| name).collect();
    // An included file sees what the file around it has defined: a name that any of them defines may be there.
    let defined: HashSet<&str> =
        files.iter().flat_map(|(_, tags, _)| tags.iter().flat_map(definitions)).collect();
    let mut found = Found { environment, broken, mistakes: Vec::new(), warnings: Vec::new() };
    for (file, tags, template) in &files {
        let called = match broken.is_empty() {
            true => unknown_functions(template, &globals, &defined),
            false => HashSet::new(),
        };
        for tag in tags {
            found.check_files(file, tag);
            found.check_names(file, tag, &called);
        }
    }
    found.warnings.sort();
    (found.mistakes, found.warnings)
}

struct Found<'e> {
    environment: &'e Environment<'e>,
    broken: &'e HashSet<String>,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

impl Found<'_> {
    /// A file that is named by a literal, where it is not allowed to be missing.
    fn check_files(&mut self, file: &str, tag: &Tag<'_>) {
        let kinds: Vec<_> = tag.tokens.iter().map(|token| token.kind).collect();
        let [
            TokenKind::Word(statement @ ("include" | "extends" | "import" | "from")),
            TokenKind::Text(named),
            rest @ ..,
        ] = &kinds[..]
        else {
            return;
        };
        let is_whole = matches!(rest.first(), None | Some(TokenKind::Word(_)));
        if !tag.is_block || !is_whole {
            return;
        }
        let line = tag.tokens[1].line;
        let may_be_missing = rest.contains(&TokenKind::Word("missing"));
        let is_there = self.environment.get_template(named).is_ok() || self.broken.contains(*named);
        if !is_there && !may_be_missing {
            let what = format!("there is no file {}", named.escape_debug());
            self.mistakes.push(Mistake::in_file(file, Some(line), what));
        } else if file.ends_with(".html")
            && !named.ends_with(".html")
            && matches!(*statement, "include" | "extends")
        {
            let named = named.escape_debug();
            let text = format!("{file}:{line}: what {named} writes is not escaped for HTML: name it .html");
            self.warnings.push(text);
        }
    }

    fn check_names(&mut self, file: &str, tag: &Tag<'_>, unknown_functions: &HashSet<String>) {
        let tokens = &tag.tokens;
        for (index, Token { line, kind }) in tokens.iter().enumerate() {
            let next = |by: usize| tokens.get(index + by).map(|token| token.kind);
            let before = index.checked_sub(1).map(|index| tokens[index].kind);
            let (what, name) = match (kind, next(1)) {
                (TokenKind::Sign(b'|'), Some(TokenKind::Word(name))) => ("filter", name),
                (TokenKind::Word("filter"), Some(TokenKind::Word(name))) if tag.is_block && index == 0 => {
                    ("filter", name)
                }
                (TokenKind::Word("is"), Some(TokenKind::Word(word)))
                    if before != Some(TokenKind::Sign(b'.')) =>
                {
                    match (word, next(2)) {
                        ("not", Some(TokenKind::Word(name))) => ("test", name),
                        _ => ("test", word),
                    }
                }
                (TokenKind::Word(name), Some(TokenKind::Sign(b'('))) => {
                    if before != Some(TokenKind::Sign(b'.')) && unknown_functions.contains(*name) {
                        let what = format!("there is no function {name}");
                        self.mistakes.push(Mistake::in_file(file, Some(*line), what));
                    }
                    continue;
                }
                _ => continue,
            };
            if !self.knows(what, name) {
                let what = format!("there is no {what} {name}");
                self.mistakes.push(Mistake::in_file(file, Some(*line), what));
            }
        }
    }

    /// Whether there is a filter, or a test, of this name: the engine has a test for that.
    fn knows(&self, what: &str, name: &str) -> bool {
        let expression = format!("{name:?} is {what}");
        let known = self.environment.compile_expression(&expression).and_then(|asked| asked.eval(()));
        // A form that is not understood here is left to the engine.
        known.is_ok_and(|known| known.is_true()) || !name.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// What the template takes for a variable and nobody defines: no variable can be called, since they are JSON.
fn unknown_functions(
    template: &Template<'_, '_>,
    globals: &HashSet<&str>,
    defined: &HashSet<&str>,
) -> HashSet<String> {
    let mut undeclared = template.undeclared_variables(false);
    undeclared.retain(|name| !globals.contains(&**name) && !defined.contains(&**name));
    undeclared
}

/// The names that a tag defines, and perhaps some more.
fn definitions<'a>(tag: &Tag<'a>) -> Vec<&'a str> {
    let kinds: Vec<_> = tag.tokens.iter().map(|token| token.kind).collect();
    let until = |end: TokenKind<'a>| kinds.split(|kind| *kind == end).next().unwrap_or_default();
    let defining = match kinds.first() {
        _ if !tag.is_block => &[],
        Some(TokenKind::Word("macro")) => until(TokenKind::Sign(b'(')),
        Some(TokenKind::Word("set" | "with")) => until(TokenKind::Sign(b'=')),
        Some(TokenKind::Word("for")) => until(TokenKind::Word("in")),
        Some(TokenKind::Word("import" | "from")) => &kinds[..],
        _ => &[],
    };
    let words = defining.iter().filter_map(|kind| match kind {
        TokenKind::Word(word) => Some(*word),
        _ => None,
    });
    words.collect()
}
