//! Looking: groups, ls, show, export; and what can be in the way.

use std::process::Command;

use serde_json::{Value, json};

use super::{Operator, put_letters};
use crate::harness::command_line::{stderr, stdout};
use crate::harness::kafka::Record;
use crate::harness::{Kafka, Queue, Settings, TestWorker, process, until};
use crate::replays::letters::Letters;

#[test]
fn letters_are_grouped_listed_and_shown_before_any_worker_has_run() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "smtp_unreachable", "Connection refused", 3);
    put_letters(&queue, "invalid_recipient", "550 5.1.1 <ada@example.com> no such user", 2);
    let operator = Operator::of(&queue);

    let groups = operator.json("groups --json");
    assert_eq!((&groups[0]["key"], &groups[0]["count"]), (&json!("smtp_unreachable"), &json!(3)));
    assert_eq!((&groups[0]["advice"], &groups[1]["advice"]), (&json!("replay"), &json!("no")));
    let table = operator.told("groups --by domain --tag team=red");
    assert!(table.starts_with("DOMAIN") && table.contains("example.com  5        5 waiting"), "{table}");
    assert!(!table.contains('\x1b'), "colours are for terminals: {table}");

    let page = operator.json("ls --json --limit 2");
    assert_eq!(page["letters"][0]["letter"], "0-2", "the newest comes first: {page}");
    assert_eq!(page["searched"]["complete"], true);
    let next = page["next"].as_str().expect("there are more");
    let rest = operator.json(&format!("ls --json --after {next}"));
    assert_eq!(rest["letters"].as_array().map(Vec::len), Some(3));
    let listed = operator.dlq("ls --limit 1");
    assert!(stderr(&listed).contains("there are more: --after "), "{listed:?}");
    let found =
        operator.told("ls --q NO --since 2026-09-21T00:00:00Z --code 550 --stage rcpt --state waiting");
    assert_eq!(found.lines().count(), 3, "{found}");
    assert_eq!(
        operator.json("ls --json --letter 0-1 --letter 0-3")["letters"].as_array().map(Vec::len),
        Some(2)
    );

    let nothing = operator.dlq("ls --domain nowhere.example");
    assert_eq!(nothing.status.code(), Some(0), "{nothing:?}");
    assert!(nothing.stdout.is_empty() && stderr(&nothing).contains("no letter matches"), "{nothing:?}");
}

#[test]
fn addresses_and_the_job_are_shown_only_when_they_are_to_be_revealed() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "invalid_recipient", "550 5.1.1 <invalid_recipient0@example.com> no", 1);
    queue.kafka.produce(&queue.dlq_topic, &[Record::of("no letter")], None);
    let operator = Operator::of(&queue);
    for line in [
        "show 0-0",
        "show 0-0 --json",
        "export --format ndjson",
        "export --format csv",
        "ls",
        "ls --json",
        "groups --by reason",
    ] {
        let told = operator.told(line);
        assert!(!told.contains("invalid_recipient0@") && !told.contains("493021"), "{line}: {told}");
    }
    for line in ["show 0-0 --reveal", "export --format ndjson --reveal", "export --format csv --reveal"] {
        let told = operator.told(line);
        assert!(told.contains("invalid_recipient0@example.com") && told.contains("493021"), "{line}: {told}");
    }
    let shown = operator.told("show 0-0");
    for part in ["waiting", "550", "i***@example.com", "0123456789abcdef", "ATTEMPT", "7 ms"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = operator.json("show 0-0 --reveal --json");
    let job: Value = serde_json::from_str(shown["original"]["text"].as_str().expect("text")).expect("JSON");
    assert_eq!(job["otp"], "493021");
    assert!(operator.told("show 0-1").contains("it is no JSON"));
    operator.refuses("show 0-99", 1, "there is no letter 0-99");
    operator.refuses("show 7-0", 1, "there is no letter 7-0");
}

#[test]
fn an_export_has_every_letter_whole_and_no_cell_that_a_spreadsheet_would_run() {
    let queue = Queue::with_letters(Kafka::shared(), 2);
    put_letters(&queue, "quota", "=cmd|' /C calc'!A0, \"full\"", 1_200);
    let operator = Operator::of(&queue);
    let ndjson = operator.told("export --format ndjson --cause quota");
    let letters: Vec<Value> =
        ndjson.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
    let names: Vec<String> = (0..1_200).map(|offset| format!("0-{offset}")).collect();
    assert_eq!(
        letters.iter().map(|letter| letter["letter"].as_str().expect("a name")).collect::<Vec<_>>(),
        names
    );
    assert_eq!(letters[0]["attempts"][0]["took_ms"], 7);
    let csv = operator.told("export --format csv --letter 0-7");
    let (head, row) = csv.split_once("\r\n").expect("CRLF");
    assert!(head.starts_with("letter,state,at,key,cause,"), "{csv}");
    assert!(row.starts_with("0-7,waiting,2026-09-21T14:13:20.007Z,,quota,rcpt,550,5.1.1,\"'=cmd|"), "{csv}");
    assert!(row.contains("\"\"full\"\"\"") && row.ends_with("\r\n"), "{csv}");
    operator.refuses(
        "export --format csv --letter 0-7 --letter 1-5",
        1,
        "1-5; 'mailroom dlq ls' lists letters",
    );
}

#[test]
fn a_reader_that_goes_away_early_is_no_failure() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "quota", &"full ".repeat(100), 2_000);
    let command = Operator::of(&queue).settings.command(&[]);
    let mut shell = Command::new("bash");
    let line = "set -o pipefail; \"$0\" dlq export --format ndjson | head -n 1; exit ${PIPESTATUS[0]}";
    shell.args(["-c", line]).arg(command.get_program());
    for (name, value) in command.get_envs() {
        shell.envs(value.map(|value| (name, value)));
    }
    let output = process::run(shell, b"");
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(0), 1), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn what_is_not_there_is_told_with_what_to_do() {
    let queue = Queue::new(Kafka::shared(), 1);
    let operator = Operator::of(&queue);
    let empty = operator.dlq("groups");
    assert_eq!((empty.status.code(), empty.stdout.len()), (Some(0), 0), "{empty:?}");
    assert!(stderr(&empty).contains("there are no dead letters"), "{empty:?}");
    let searched = json!({"from": null, "to": null, "complete": true});
    assert_eq!(operator.json("ls --json"), json!({"letters": [], "next": null, "searched": searched}));
    let runs = operator.dlq("runs");
    assert!(runs.stdout.is_empty() && stderr(&runs).contains("nothing was asked for yet"), "{runs:?}");
    operator.refuses("runs r1", 1, "there is no run r1");
    operator.refuses("cancel r1", 1, "there is no run r1");

    let nowhere = Operator::of(&queue).set("kafka.dlq_topic", "no-such-topic");
    nowhere.refuses("ls", 1, "topic no-such-topic is not there: a worker makes it when it starts");
    let nobody = format!("127.0.0.1:{}", process::free_port());
    let away = Operator::of(&queue).set("kafka.brokers", &nobody);
    away.refuses("groups", 1, "is kafka.brokers right");
    let off = Operator::of(&queue).set("dlq.index_letters", 0);
    off.refuses("ls", 1, "--set dlq.index_letters=1000000");
    let wrong = Operator::of(&queue).set("dlq.rate", "fast");
    wrong.refuses("ls", 78, "dlq.rate");
}

#[test]
fn more_letters_than_are_kept_are_told_of() {
    let queue = Queue::new(Kafka::shared(), 1);
    put_letters(&queue, "quota", "full", 50);
    let listed = Operator::of(&queue).set("dlq.index_letters", 10).dlq("ls --json");
    let page: Value = serde_json::from_str(&stdout(&listed)).expect("JSON");
    assert_eq!(page["letters"].as_array().map(Vec::len), Some(10));
    assert!(stderr(&listed).contains("only the newest 10 letters"), "{listed:?}");
}

#[test]
fn the_newest_are_kept_whatever_partitions_they_are_in() {
    let queue = Queue::with_letters(Kafka::shared(), 4);
    let count = Letters::put(&queue, 4, 50).count;
    let newest: Vec<String> = (count - 5..count).rev().map(|n| format!("{}-{}", n % 4, n / 4)).collect();
    let listed = Operator::of(&queue).set("dlq.index_letters", 5).dlq("ls --json");
    assert!(stderr(&listed).contains("only the newest 5 letters"), "{listed:?}");
    let worker = TestWorker::start(&Settings::new(&queue, 1).set("dlq.index_letters", 5));
    let by_http = until("all to be read", || {
        let page = worker.get("/dlq/letters").json();
        (page["searched"]["complete"] == true).then_some(page)
    });
    let by_command: Value = serde_json::from_str(&stdout(&listed)).expect("JSON");
    for page in [by_command, by_http] {
        let letters = page["letters"].as_array().expect("an array");
        let names: Vec<&str> = letters.iter().filter_map(|letter| letter["letter"].as_str()).collect();
        assert_eq!(names, newest);
        // From then on nothing is missing.
        assert_eq!(page["searched"]["from"], letters[4]["at"], "{page}");
    }
    worker.stop();
}
