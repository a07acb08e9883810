//! The engine's errors in words: file, line and what is wrong, and never the value of a variable.

use std::error::Error as _;

use minijinja::{Environment, Error, ErrorKind, Template};

use super::engine::FUEL;

/// `order.txt:3: missing variable order.id`, for an error that `template` met while rendering.
///
/// The error's own texts may show values, an OTP among them: nothing of them is taken but its kind, its place, and
/// the name of a missing variable, where that name stands so in the template.
pub(super) fn in_words(error: &Error, template: &Template<'_, '_>, environment: &Environment<'_>) -> String {
    // An error in an included file is the source of the one at the include.
    let mut innermost = error;
    while let Some(source) = innermost.source().and_then(|source| source.downcast_ref::<Error>()) {
        innermost = source;
    }
    let file = innermost.name().unwrap_or(template.name());
    let place = match innermost.line() {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    };
    let missing = missing_variable(innermost).filter(|name| {
        let included = environment.get_template(file).ok();
        stands_in(name, template) || included.is_some_and(|included| stands_in(name, &included))
    });
    let what = match (missing, innermost.kind()) {
        (Some(name), _) => format!("missing variable {name}"),
        (None, kind) => of_kind(kind, innermost.detail() == Some("recursion limit exceeded")),
    };
    format!("{place}: {what}")
}

fn of_kind(kind: ErrorKind, is_recursion: bool) -> String {
    let words = match kind {
        _ if is_recursion => "files, macros or loops call each other too deep",
        ErrorKind::UndefinedError => "a missing variable",
        ErrorKind::InvalidOperation => "an operation, a filter or an argument that its values do not allow",
        ErrorKind::TemplateNotFound => "names a file that does not exist",
        ErrorKind::NonPrimitive => "a list or an object where a text or a number is needed",
        ErrorKind::CannotUnpack => "a value that can't be taken apart",
        ErrorKind::OutOfFuel => return format!("takes more than the {FUEL} steps that are allowed"),
        // Fixed words of the engine: "unknown filter".
        kind => return kind.to_string(),
    };
    words.to_owned()
}

/// The engine puts it as "`order.id` is undefined" (from the template's own text), alone or in brackets at the end.
fn missing_variable(error: &Error) -> Option<String> {
    let detail = error.detail()?;
    let (before, _) = detail.rsplit_once("` is undefined")?;
    let name = match error.kind() {
        ErrorKind::UndefinedError => before.strip_prefix('`')?,
        _ => before.rsplit_once("(`")?.1,
    };
    Some(name.to_owned())
}

fn stands_in(name: &str, template: &Template<'_, '_>) -> bool {
    // The engine has put double quotes around keys, whichever were there.
    template.source().contains(name) || template.source().replace('\'', "\"").contains(name)
}
