//! At a terminal: it asks, tables fit, an editor opens.

use std::process::Command;

use serde_json::json;

use super::{Operator, make_decisions, put_letters};
use crate::harness::{Kafka, Queue, process};

/// What a terminal of 80 columns shows of the command when `keys` are typed, and its exit code.
fn at_a_terminal(operator: &Operator, line: &str, keys: &str) -> (String, Option<i32>) {
    let mut command = Command::new("script");
    let mailroom = operator.settings.command(&[]);
    let shown = format!("stty rows 24 cols 80; exec {} dlq {line}", env!("CARGO_BIN_EXE_mailroom"));
    command.args(["--quiet", "--flush", "--return", "--command", &shown, "/dev/null"]).env("TERM", "xterm");
    for (name, value) in mailroom.get_envs() {
        command.envs(value.map(|value| (name, value)));
    }
    command.env_remove("NO_COLOR").env_remove("VISUAL");
    let output = process::run(command, keys.as_bytes());
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn an_act_asks_first_and_only_yes_is_yes() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "quota", "full", 2);
    make_decisions(&queue, 1);
    let operator = Operator::of(&queue);
    for keys in ["n\n", "\n", "\x04"] {
        let (shown, code) = at_a_terminal(&operator, "discard --cause quota --reason why", keys);
        assert!(shown.contains("discard 2 letters? [y/N]") && shown.contains("nothing is done"), "{shown}");
        assert_eq!(code, Some(1), "{shown}");
    }
    assert_eq!(operator.json("runs --json"), json!([]));
    let (shown, code) = at_a_terminal(&operator, "discard --cause quota --reason why", "y\n");
    assert_eq!(code, Some(0), "{shown}");
    let runs = operator.json("runs --json");
    assert!(shown.contains(runs[0]["id"].as_str().expect("an id")), "{shown}");
}

#[test]
fn tables_fit_the_terminal_and_their_heads_stand_out() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "smtp_unreachable", &"a long reason in many words ".repeat(10), 2);
    let operator = Operator::of(&queue);
    for line in ["ls", "groups", "show 0-0"] {
        let (shown, code) = at_a_terminal(&operator, line, "");
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains("\x1b[1m"), "{line}: {shown}");
        let plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "");
        let widest = plain.lines().map(|line| line.trim_end().chars().count()).max();
        assert!(widest <= Some(80), "{line}: {widest:?}: {shown}");
    }
}

#[test]
fn an_editor_opens_on_the_job_and_a_mistake_can_be_mended_in_it() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "quota", "full", 1);
    make_decisions(&queue, 1);
    let editor = process::scratch_with("editor", &[("edit", "sed -i s/493021/7/ \"$1\"; cp \"$1\" seen\n")]);
    let operator = Operator::of(&queue).set("dlq.allow_edit", true);
    let with = |command: &str| {
        let settings = operator.settings.clone().environment("EDITOR", command);
        Operator { settings }
    };
    let (shown, code) = at_a_terminal(&with("true"), "edit 0-0 --reason why", "");
    assert!(shown.contains("unchanged: nothing is done"), "{shown}");
    assert_eq!(code, Some(0));
    let (shown, code) = at_a_terminal(&with("false"), "edit 0-0 --reason why", "");
    assert!(shown.contains("the editor ended with"), "{shown}");
    assert_eq!(code, Some(1));
    let (shown, code) = at_a_terminal(&with("echo x >>"), "edit 0-0 --reason why", "n\n");
    assert!(
        shown.contains("no e-mail can be made of it") && shown.contains("edit it again? [y/N]"),
        "{shown}"
    );
    assert_eq!(code, Some(1));
    assert_eq!(operator.json("runs --json"), json!([]));

    let script = format!("cd {0} && sh {0}/edit", editor.display());
    let (shown, code) = at_a_terminal(&with(&script), "edit 0-0 --reason why", "y\n");
    assert!(shown.contains("replay 1 letter? [y/N]"), "{shown}");
    assert_eq!(code, Some(0), "{shown}");
    let seen = std::fs::read_to_string(editor.join("seen")).expect("the editor had the job");
    assert_eq!(seen, r#"{"otp":"7","to":"quota0@example.com"}"#);
    assert_eq!(operator.json("runs --json")[0]["edited"], true);
}
