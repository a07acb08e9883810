//! What is wrong with a template, in words that never hold a variable's value: an error's own text may.

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};

/// Of a file that does not compile: `welcome.html: line 3: …`. Nothing but the file's own text can be in it.
pub fn of_source(error: &Error, file: &str) -> String {
    let line = error.line().unwrap_or(1);
    format!("{file}: line {line}: {}", error.detail().unwrap_or("it can't be compiled"))
}

/// What a rendering without variables shows of files that compile: those that they include and are not there, filters, tests
/// and functions that do not exist. Whatever else goes wrong then is for want of variables.
pub fn found_without_variables(environment: &Environment<'_>) -> Vec<String> {
    let mut lenient = environment.clone();
    lenient.set_undefined_behavior(UndefinedBehavior::Chainable);
    let mut mistakes = Vec::new();
    for (name, template) in lenient.templates() {
        let Err(error) = template.render(context! {}) else { continue };
        let mut error = &error;
        // An included file's error lies within that of the file that includes it, and is told of itself, too.
        while let Some(inner) = std::error::Error::source(error).and_then(|inner| inner.downcast_ref()) {
            error = inner;
        }
        let is_the_templates = matches!(
            error.kind(),
            ErrorKind::TemplateNotFound
                | ErrorKind::UnknownFilter
                | ErrorKind::UnknownTest
                | ErrorKind::UnknownFunction
        );
        if is_the_templates {
            let mistake = of_source(error, error.name().unwrap_or(name));
            if !mistakes.contains(&mistake) {
                mistakes.push(mistake);
            }
        }
    }
    mistakes.sort();
    mistakes
}

/// Of a rendering that failed: `missing variable order.id (welcome.html, line 3)`.
pub fn of_rendering(environment: &Environment<'_>, error: &Error, variables: &Value, limit: usize) -> String {
    let mut innermost = error;
    while let Some(inner) = std::error::Error::source(innermost).and_then(|inner| inner.downcast_ref()) {
        innermost = inner;
    }
    let place = match (innermost.name(), innermost.line()) {
        (Some(name), Some(line)) => format!(" ({name}, line {line})"),
        (Some(name), None) => format!(" ({name})"),
        (None, _) => String::new(),
    };
    let what = match innermost.kind() {
        ErrorKind::UndefinedError => match missing(environment, innermost, variables) {
            names if names.is_empty() => "a variable is missing".to_owned(),
            names => format!("missing variable {}", names.join(" or ")),
        },
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        ErrorKind::WriteFailure => format!("it makes more than {limit} bytes (limits.message_bytes)"),
        // The detail may repeat a value; the kind does not.
        kind => kind.to_string(),
    };
    what + &place
}

/// The variables that the line at fault may have missed.
fn missing(environment: &Environment<'_>, error: &Error, variables: &Value) -> Vec<String> {
    let Some(template) = error.name().and_then(|name| environment.get_template(name).ok()) else {
        return Vec::new();
    };
    let is_global = |path: &str| {
        let first = path.split('.').next().unwrap_or_default();
        environment.globals().any(|(name, _)| name == first)
    };
    let is_given = |path: &str| {
        let value = path.split('.').try_fold(variables.clone(), |value, name| value.get_attr(name).ok());
        value.is_some_and(|value| !value.is_undefined())
    };
    let mut names: Vec<String> = template
        .undeclared_variables(true)
        .into_iter()
        .filter(|path| !is_global(path) && !is_given(path))
        .collect();
    names.sort();
    let line = error.line().and_then(|line| template.source().lines().nth(line.checked_sub(1)?));
    let in_line: Vec<String> =
        names.iter().filter(|path| line.is_some_and(|line| line.contains(path.as_str()))).cloned().collect();
    if in_line.is_empty() { names } else { in_line }
}
