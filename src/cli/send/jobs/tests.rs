//! The jobs that options and files make.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn source(arguments: &[&str]) -> Source {
    let line = Line::parse_from(std::iter::once("send").chain(arguments.iter().copied()));
    Source::new(&line.arguments).expect("its files can be read")
}

fn all(mut source: Source) -> Vec<Job> {
    std::iter::from_fn(|| source.next().expect("readable")).collect()
}

fn of_lines(text: &[u8]) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.ndjson");
    std::fs::write(&path, text).expect("written");
    let jobs = all(source(&["--file", &path.display().to_string()]));
    jobs.into_iter().map(|job| job.value).collect()
}

#[test]
fn the_guides_job_is_made_of_two_options() {
    let jobs = all(source(&["--to", "ada@example.com", "--otp", "493021"]));
    let expected =
        Job { key: None, line: None, value: br#"{"to":"ada@example.com","otp":"493021"}"#.to_vec() };
    let [job] = jobs.as_slice() else { panic!("one job: {jobs:?}") };
    let (job, expected): (Value, Value) = (
        serde_json::from_slice(&job.value).expect("JSON"),
        serde_json::from_slice(&expected.value).expect("JSON"),
    );
    assert_eq!(job, expected);
}

#[test]
fn every_option_is_in_the_job() {
    let jobs = all(source(&[
        "--to",
        "a@example.com",
        "--to",
        "b@example.com",
        "--cc",
        "c@example.com",
        "--bcc",
        "d@example.com",
        "--from",
        "Me <e@example.com>",
        "--subject",
        "S",
        "--text",
        "T",
        "--html",
        "<p>",
        "--id",
        "i",
        "--key",
        "k",
    ]));
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].key.as_deref(), Some(b"k".as_slice()));
    let job: Value = serde_json::from_slice(&jobs[0].value).expect("JSON");
    assert_eq!(
        job,
        serde_json::json!({
            "to": ["a@example.com", "b@example.com"], "cc": "c@example.com", "bcc": "d@example.com",
            "from": "Me <e@example.com>", "subject": "S", "text": "T", "html": "<p>", "id": "i",
        })
    );
}

#[test]
fn a_count_repeats_the_job() {
    let jobs = all(source(&["--to", "a@example.com", "--text", "T", "--count", "3"]));
    assert!(jobs.len() == 3 && jobs.iter().all(|job| *job == jobs[0]), "{jobs:?}");
    assert!(all(source(&["--to", "a@example.com", "--text", "T", "--count", "0"])).is_empty());
}

#[test]
fn the_lines_of_a_file_are_jobs_as_they_are() {
    let expected: [&[u8]; 4] = [b"{\"a\": 1}", b" not json", b"\xff", b"last"];
    assert_eq!(of_lines(b"{\"a\": 1}\r\n\n  \n not json\n\xff\nlast"), expected);
    assert_eq!(of_lines(b""), Vec::<Vec<u8>>::new());
}

#[test]
fn a_line_that_is_no_job_is_told_by_its_number_and_without_its_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.ndjson");
    let text =
        "\n{\"to\": \"ada@example.com\", \"otp\": \"1\"}\n\nhunter2\n{\"to\": \"hunter2\", \"otp\": \"1\"}\n";
    std::fs::write(&path, text).expect("written");
    let source = source(&["--file", &path.display().to_string()]);
    assert_eq!(source.name(), path.display().to_string());
    let checked = all(source).into_iter().map(|job| (job.line, job.check())).collect::<Vec<_>>();
    assert_eq!(checked[0], (Some(2), Ok(())));
    for ((line, result), (expected, cause)) in
        checked[1..].iter().zip([(4, "malformed: "), (5, "invalid: to: ")])
    {
        let why = result.as_ref().expect_err("no job");
        assert!(
            *line == Some(expected) && why.starts_with(cause) && !why.contains("hunter2"),
            "{line:?} {why}"
        );
    }
    assert_eq!(checked.len(), 3);
}

#[test]
fn a_job_of_options_is_checked_too() {
    assert_eq!(source(&["--to", "ada@example.com", "--otp", "1"]).check(), Ok(()));
    let why =
        source(&["--to", "ada@example.com, bob@example.com", "--text", "x"]).check().expect_err("two in one");
    assert!(why.starts_with("invalid: to: "), "{why}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let line = Line::parse_from(["send", "--file", "/no/such/jobs"]);
    let error = Source::new(&line.arguments).err().expect("there is none");
    assert!(error.starts_with("/no/such/jobs: "), "{error}");
}

#[test]
fn every_option_has_its_place_in_the_job() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let (pdf, other) = (path("Invoice.PDF", "%PDF"), path("data", "?"));
    let variables = path("variables.json", "{\"order\": {\"id\": 7}, \"name\": \"Bob\"}");
    let jobs = all(source(&[
        "--to",
        "a@example.com",
        "--to",
        "b@example.com",
        "--reply-to",
        "help@example.com",
        "--template",
        "order",
        "--variables",
        &variables,
        "--var",
        "name=Ada",
        "--attach",
        &pdf,
        "--attach",
        &other,
        "--header",
        "X-Campaign: spring: 1",
        "--header",
        "List-Id:<a>",
        "--tag",
        "tenant=shop",
        "--expires-at",
        "2026-11-24T12:00:00Z",
        "--subject",
        "Own",
    ]));
    let job: Value = serde_json::from_slice(&jobs[0].value).expect("JSON");
    let expected = json!({
        "to": ["a@example.com", "b@example.com"],
        "reply_to": "help@example.com",
        "template": "order",
        "subject": "Own",
        "variables": {"order": {"id": 7}, "name": "Ada"},
        "attachments": [
            {"filename": "Invoice.PDF", "content_type": "application/pdf", "content": "JVBERg=="},
            {"filename": "data", "content_type": "application/octet-stream", "content": "Pw=="},
        ],
        "headers": {"X-Campaign": "spring: 1", "List-Id": "<a>"},
        "tags": {"tenant": "shop"},
        "expires_at": "2026-11-24T12:00:00Z",
    });
    assert_eq!(job, expected);
}

#[test]
fn expires_in_counts_from_now() {
    let before = Utc::now();
    let jobs = all(source(&["--to", "a@example.com", "--text", "", "--expires-in", "15m"]));
    let job: Value = serde_json::from_slice(&jobs[0].value).expect("JSON");
    let at =
        chrono::DateTime::parse_from_rfc3339(job["expires_at"].as_str().expect("a text")).expect("a time");
    let left = at.signed_duration_since(before).num_milliseconds();
    assert!((899_999..960_000).contains(&left), "{left} ms");
}

#[test]
fn a_file_that_can_not_be_attached_is_named() {
    let line =
        Line::parse_from(["send", "--to", "a@example.com", "--text", "x", "--attach", "/nowhere/a.pdf"]);
    let error = Source::new(&line.arguments).err().expect("it is not there");
    assert!(error.starts_with("/nowhere/a.pdf: "), "{error}");
}
