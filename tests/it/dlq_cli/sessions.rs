//! The sessions of docs/dead-letters.md, line by line as they stand there.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Operator;
use crate::harness::command_line::{stderr, stdout};
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, process, until};
use crate::replays::Letters;

/// The blocks of the part of the document with that heading, each with its lines.
fn session(heading: &str) -> Vec<Vec<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dead-letters.md");
    let text = std::fs::read_to_string(file).expect("the document is there");
    let part = text.split("\n## ").find(|part| part.starts_with(heading)).expect("the part is there");
    let blocks = part.split("```sh\n").skip(1);
    let lines =
        |block: &str| block.split("```").next().unwrap_or_default().lines().map(str::to_owned).collect();
    blocks.map(lines).collect()
}

/// A shell that finds `mailroom`, in a folder of its own.
struct Shell {
    operator: Operator,
    folder: PathBuf,
}

impl Shell {
    fn of(operator: Operator) -> Shell {
        Shell { operator, folder: process::scratch("session") }
    }

    /// What each line writes to stdout.
    ///
    /// # Panics
    /// When one does not end with 0.
    fn types(&self, lines: &[String]) -> Vec<String> {
        assert!(!lines.is_empty());
        lines.iter().map(|line| self.line(line)).collect()
    }

    fn line(&self, line: &str) -> String {
        let mailroom = Path::new(env!("CARGO_BIN_EXE_mailroom")).parent().expect("a folder");
        let path = format!("{}:{}", mailroom.display(), std::env::var("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(&self.folder);
        for (name, value) in self.operator.settings.command(&[]).get_envs() {
            shell.envs(value.map(|value| (name, value)));
        }
        shell.env("PATH", path);
        let output = process::run(shell, b"");
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        stdout(&output) + &stderr(&output)
    }
}

#[test]
fn the_session_of_a_relay_that_was_down_sends_each_e_mail_once() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    Letters::put(&queue, 2, 12);
    let relay = RecordingSmtp::start();
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_assigned();
    let shell = Shell::of(Operator::of(&queue));
    let [look, act] = &session("The relay was down")[..] else { panic!("two blocks") };
    let told = shell.types(look);
    assert!(told[0].contains("smtp_unreachable  12") && told[0].contains("replay"), "{told:?}");
    assert_eq!(told[1].lines().filter(|line| line.contains("waiting")).count(), 5, "{told:?}");
    let told = shell.types(act);
    assert!(told[0].contains("replay: 12 letters of 12"), "{told:?}");
    assert!(told[1].contains("done: 12 letters replayed of 12"), "{told:?}");
    assert!(told[2].contains("relay was down"), "{told:?}");
    assert!(told[3].contains("no letter matches"), "{told:?}");
    queue.wait_until_settled();
    let copies = relay.copies();
    assert_eq!((copies.len(), copies.values().max()), (12, Some(&1)), "{copies:?}");
    worker.stop();
}

#[test]
fn the_session_of_a_template_that_was_wrong_sends_what_it_should_have_said() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let templates = process::scratch_with(
        "templates",
        &[("welcome.txt", "Hello {{ nmae }}"), ("welcome.subject.txt", "Hi")],
    );
    let relay = RecordingSmtp::start();
    let settings = Settings::new(&queue, relay.port()).set("templates.dir", templates.display());
    let worker = TestWorker::start(&settings);
    let job = |number| {
        format!(r#"{{"to": "a{number}@example.com", "template": "welcome", "variables": {{"name": "Ada"}}}}"#)
    };
    queue.put((0..5).map(job));
    queue.wait_until_settled();
    assert_eq!((queue.dead_letters().len(), relay.taken()), (5, 0));

    let shell = Shell::of(Operator::of(&queue).set("templates.dir", templates.display()));
    let [look, preview, act] = &session("A template was wrong")[..] else { panic!("three blocks") };
    let told = shell.types(look);
    assert!(told[0].contains("welcome   5") && told[0].contains("after-fix"), "{told:?}");
    assert!(told[1].contains("render"), "{told:?}");
    std::fs::write(templates.join("welcome.txt"), "Hello {{ name }}").expect("it is mended");
    worker.signal("HUP");
    until("the templates to be read", || {
        worker.log().iter().any(|line| line.contains("templates reloaded")).then_some(())
    });
    assert!(shell.types(preview)[0].contains("Hello Ada"));
    let told = shell.types(act);
    assert!(told[0].contains("done: 5 letters replayed of 5"), "{told:?}");
    queue.wait_until_settled();
    assert_eq!(relay.taken(), 5);
    worker.stop();
}

#[test]
fn the_session_of_bad_addresses_names_them_and_closes_the_letters() {
    let queue = Queue::with_letters(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient(address) if address.contains("gone") => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    let job = |name: &str| format!(r#"{{"to": "{name}@example.com", "otp": "493021"}}"#);
    queue.put(["ada", "gone1", "grace", "gone2"].map(job));
    queue.wait_until_settled();
    let operator = Operator::of(&queue);
    let shell = Shell::of(Operator::of(&queue));
    let [lines] = &session("Addresses are bad")[..] else { panic!("one block") };
    let told = shell.types(lines);
    assert!(told[0].contains("example.com  2") && told[0].contains("no"), "{told:?}");
    let csv = std::fs::read_to_string(shell.folder.join("bad-addresses.csv")).expect("it was written");
    assert!(csv.contains("gone1@example.com") && csv.contains("gone2@example.com"), "{csv}");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(told[2].contains("done: 2 letters discarded of 2"), "{told:?}");
    assert_eq!(operator.states(), [("discarded".to_owned(), 2)].into());
    worker.stop();
}
