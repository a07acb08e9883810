//! Data to stdout, everything else to stderr; a closed pipe never panics.

use std::io::{self, Write};

/// A line on stdout. False when nobody reads it any more.
pub fn data(line: &str) -> bool {
    writeln!(io::stdout().lock(), "{line}").is_ok()
}

/// A line on stderr, for people.
pub fn say(line: &str) {
    // Nobody is left to be told when stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
