//! The binary run to its end, with a configuration in its environment, and what it wrote.

use std::process::Output;

use super::{Settings, process};

/// A configuration without a mistake, for commands that ask no server.
pub fn valid() -> Settings {
    Settings::default()
        .set("smtp.host", "relay.example.com")
        .set("smtp.security", "plain")
        .set("smtp.from", "noreply@mailroom.example")
        .set("http.bind", "127.0.0.1:0")
}

pub fn run(settings: &Settings, arguments: &[&str]) -> Output {
    run_with_input(settings, arguments, b"")
}

pub fn run_with_input(settings: &Settings, arguments: &[&str], input: &[u8]) -> Output {
    process::run(settings.command(arguments), input)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
