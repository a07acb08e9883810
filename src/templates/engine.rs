//! The template engine, set up so that no template can run or grow without bound.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::reason;

/// How many steps one file may take: an instruction is one, and so are 64 bytes that are made or read. A loop over
/// a thousand lines of an order takes some ten thousand; all of them take well under a second.
pub(super) const FUEL: u64 = 1_000_000;

/// Functions of the engine that templates do not have: `debug` would put all variables into an e-mail, and with
/// `namespace` a loop can nest a value so deep that freeing it overflows the stack, which ends the process.
const LEFT_OUT: [&str; 2] = ["debug", "namespace"];

/// An engine without templates.
pub(super) fn new() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|name| match name.ends_with(".html") {
        true => AutoEscape::Html,
        false => AutoEscape::None,
    });
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
    for function in LEFT_OUT {
        environment.remove_global(function);
    }
    // Errors know the name of a missing variable. They know values then, too: see `reason`.
    environment.set_debug(true);
    environment
}

/// What the file `name` makes of these variables, at most `limit` bytes.
///
/// # Errors
/// In words, with file and line, and without any value.
pub(super) fn render(
    environment: &Environment<'_>,
    name: &str,
    variables: Value,
    limit: usize,
) -> Result<String, String> {
    let mut out = Bounded { bytes: Vec::new(), limit, is_over: false };
    let template = environment.get_template(name).map_err(|_| format!("{name}: there is no such file"))?;
    match template.render_captured_to(variables, &mut out) {
        Ok(_) => Ok(String::from_utf8(out.bytes).expect("templates write text")),
        Err(_) if out.is_over => Err(format!("{name}: makes more than {limit} bytes, which is the limit")),
        Err(error) => Err(reason::in_words(&error, &template, environment)),
    }
}

/// Takes at most `limit` bytes.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_over: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            self.is_over = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
