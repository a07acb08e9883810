//! The binary run to its end, with a configuration in its environment, and what it wrote.

use std::process::{Command, Output};

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

/// Runs it at a terminal of 100 columns: its exit code, and all that was written there.
pub fn at_a_terminal(settings: &Settings, arguments: &str) -> (Option<i32>, String) {
    let mut terminal = Command::new("script");
    let line = format!("stty cols 100; exec {} {arguments}", env!("CARGO_BIN_EXE_mailroom"));
    terminal.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
    for (name, value) in settings.command(&[]).get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let output = process::run(terminal, b"");
    (output.status.code(), stdout(&output))
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
