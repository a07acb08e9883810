//! `mailroom send` as somebody at a shell has it: files, bad lines, Ctrl-C, a bar at a terminal.

use std::net::TcpListener;

use serde_json::Value;

use crate::harness::command_line::{at_a_terminal, run, run_with_input, stderr, stdout, valid};
use crate::harness::process::{self, Process};
use crate::harness::{Kafka, Queue, Settings, until};

const BAR: &str = "of 40 jobs";

fn settings(queue: &Queue<'_>) -> Settings {
    Settings::default().set("kafka.brokers", queue.kafka.address()).set("kafka.topic", &queue.topic)
}

fn values(queue: &Queue<'_>) -> Vec<Vec<u8>> {
    queue.kafka.read(&queue.topic).into_iter().filter_map(|record| record.value).collect()
}

fn job(to: &str) -> String {
    format!(r#"{{"to": "{to}", "text": "hunter2"}}"#)
}

#[test]
fn lines_that_are_no_jobs_are_told_by_their_number_and_left_out() {
    let queue = Queue::new(Kafka::shared(), 1);
    let (first, second) = (job("ada@example.com"), job("grace@example.com"));
    let text = format!("{first}\n\nhunter2\n{}\r\n{second}", job("nobody"));
    let folder = process::scratch_with("send", &[("jobs.ndjson", &text)]);
    let file = folder.join("jobs.ndjson").display().to_string();
    let output = run(&settings(&queue), &["send", "--file", &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(stdout(&output).lines().count(), 2, "{output:?}");
    let told = stderr(&output);
    assert!(told.contains(&format!("{file}:3: malformed: ")), "{told}");
    assert!(told.contains(&format!("{file}:4: invalid: to: ")), "{told}");
    assert!(told.ends_with("2 jobs were sent; lines that are no jobs, and were not sent: 2\n"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(values(&queue), [first.as_bytes(), second.as_bytes()]);

    // From stdin, with where each line has come to lie.
    let output = run_with_input(&settings(&queue), &["send", "--file", "-", "--json"], text.as_bytes());
    assert!(stderr(&output).contains("stdin:3: malformed: "), "{output:?}");
    let places: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let place = |line: u64, offset: i64| serde_json::json!({"line": line, "topic": queue.topic, "partition": 0, "offset": offset});
    assert_eq!(places, [place(1, 2), place(5, 3)]);

    // Who wants to see a dead letter may.
    let output = run_with_input(&settings(&queue), &["send", "--file", "-", "--as-is"], b"hunter2");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(values(&queue).last().map(Vec::as_slice), Some(b"hunter2".as_slice()));
}

#[test]
fn an_empty_file_is_no_mistake_and_is_told() {
    let queue = Queue::new(Kafka::shared(), 1);
    let output = run_with_input(&settings(&queue), &["send", "--file", "-"], b"\n");
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), String::new()), "{output:?}");
    assert!(stderr(&output).ends_with("0 jobs were sent: stdin holds none\n"), "{output:?}");
}

#[test]
fn options_that_make_no_job_are_wrong_usage_and_nobody_is_asked() {
    let nobody = valid().set("kafka.brokers", "127.0.0.1:1");
    let output = run(&nobody, &["send", "--to", "ada@example.com, grace@example.com", "--text", "x"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        stderr(&output).starts_with("invalid: to: ") && stderr(&output).contains("--as-is"),
        "{output:?}"
    );
}

#[test]
fn a_file_that_is_not_there_is_told_before_anybody_is_asked() {
    let nobody = valid().set("kafka.brokers", "127.0.0.1:1");
    for (file, why) in [("/no/such/jobs.ndjson", "No such file"), ("/", "Is a directory")] {
        let output = run(&nobody, &["send", "--file", file]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).starts_with(&format!("{file}: {why}")), "{output:?}");
    }
}

#[test]
fn brokers_that_take_the_connection_and_say_nothing_end_it_with_1() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = silent.local_addr().expect("it is bound").to_string();
    let output =
        run(&valid().set("kafka.brokers", &address), &["send", "--to", "ada@example.com", "--otp", "1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains(&format!("no broker answers at {address}")), "{output:?}");
}

#[test]
fn ctrl_c_stops_it_and_it_says_how_many_were_sent() {
    let queue = Queue::new(Kafka::shared(), 1);
    let arguments = ["send", "--to", "ada@example.com", "--otp", "1", "--count", "1000000", "--rate", "50"];
    let mut sending = Process::start("mailroom send", settings(&queue).command(&arguments));
    until("some jobs to be sent", || (sending.stdout().len() >= 3).then_some(()));
    sending.signal("INT");
    let status = sending.wait();
    assert_eq!(status.code(), Some(1), "{:?}", sending.stderr());
    let sent = sending.stdout().len();
    assert_eq!(sending.stderr(), [format!("stopped by Ctrl-C ({sent} jobs were sent)")]);
    assert_eq!(values(&queue).len(), sent);
}

#[test]
fn a_bar_is_shown_at_a_terminal_only_and_only_where_it_takes_its_time() {
    let queue = Queue::new(Kafka::shared(), 1);
    let job = "--to ada@example.com --otp 1";
    // The last of forty is sent 3.9 s after the first.
    let (code, long) = at_a_terminal(&settings(&queue), &format!("send {job} --count 40 --rate 10"));
    assert_eq!(code, Some(0), "{long:?}");
    assert!(long.contains(BAR), "{long:?}");
    let before_the_bar = long.split(BAR).next().expect("a split has a first part");
    let sent_before = before_the_bar.matches(&queue.topic).count();
    assert!(sent_before >= 5, "it is shown after 2 s, when some 20 were sent: {sent_before}");
    // No line is lost in the bar.
    for offset in 0..40 {
        assert!(long.contains(&format!("{}-0-{offset}\r\n", queue.topic)), "{offset}: {long:?}");
    }
    let piped = run(
        &settings(&queue),
        &["send", "--to", "a@example.com", "--otp", "1", "--count", "25", "--rate", "10"],
    );
    assert_eq!((piped.status.code(), stderr(&piped).as_str()), (Some(0), ""), "{piped:?}");
}
