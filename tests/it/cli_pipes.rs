//! What is written where: nothing but data on stdout, no colours in a pipe, no complaint when its reader has gone.

use std::io;
use std::process::Stdio;

use crate::harness::command_line::{at_a_terminal, run, valid};

/// Commands that write data and ask nobody.
const WRITING: &[&[&str]] = &[
    &["--help"],
    &["--version"],
    &["help", "send"],
    &["send", "--help"],
    &["check"],
    &["check", "--json"],
    &["config", "show"],
    &["config", "show", "--origin"],
    &["config", "show", "--json"],
    &["template", "ls"],
    &["template", "ls", "--json"],
    &["template", "preview", "otp", "--var", "otp=1"],
    &["template", "preview", "otp", "--var", "otp=1", "--eml"],
    &["schema", "job"],
    &["completions", "bash"],
];

#[test]
fn a_reader_that_has_gone_away_is_no_failure() {
    for arguments in WRITING {
        let (reader, writer) = io::pipe().expect("a pipe can be had");
        drop(reader);
        let mut command = valid().set("smtp.helo_name", "a.example").command(arguments);
        command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().and_then(|child| child.wait_with_output()).expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), told.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn what_goes_into_a_pipe_has_no_colours_and_stderr_nothing_where_all_is_well() {
    for arguments in WRITING {
        let output = run(&valid().set("smtp.helo_name", "a.example"), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(!output.stdout.is_empty() && !output.stdout.contains(&0x1b), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
    for arguments in [&["deliver"][..], &["send", "--bogus"]] {
        let output = run(&valid(), arguments);
        assert!(!output.stderr.contains(&0x1b) && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn at_a_terminal_no_color_is_heeded() {
    for (no_color, coloured) in [("", true), ("1", false)] {
        let settings = valid().environment("NO_COLOR", no_color).environment("CLICOLOR_FORCE", "0");
        let (code, told) = at_a_terminal(&settings, "deliver");
        assert_eq!(code, Some(2), "{told}");
        assert_eq!(told.contains('\x1b'), coloured, "NO_COLOR={no_color:?}: {told:?}");
    }
}
