//! What a log line looks like, and which lines there are.

use std::io::Write;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, level: &str, terminal: bool, act: impl FnOnce()) -> Vec<String> {
    let captured = Captured::default();
    let queue = LineQueue::start(captured.clone()).expect("a thread");
    let log = Log { format, level: level.into() };
    tracing::dispatcher::with_default(&dispatch(&log, terminal, false, queue.clone()), act);
    queue.flush(PATIENCE);
    let text = String::from_utf8(captured.0.lock().clone()).expect("lines are UTF-8");
    text.lines().map(str::to_owned).collect()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))
}

#[test]
fn a_json_line_has_its_fields_at_the_top_and_no_span() {
    let lines = logged(LogFormat::Json, "info", true, || {
        let _span = tracing::info_span!("outer", hidden = 1).entered();
        tracing::info!(offset = 7, outcome = "sent", "job settled");
    });
    assert_eq!(lines.len(), 1);
    let line = json(&lines[0]);
    let mut names: Vec<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["level", "message", "offset", "outcome", "target", "timestamp"]);
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"job settled".into()));
    assert_eq!((&line["offset"], &line["outcome"]), (&7.into(), &"sent".into()));
    assert_eq!(line["target"], module_path!());
    let time = line["timestamp"].as_str().expect("a text");
    assert!(time.ends_with('Z') && time.parse::<chrono::DateTime<chrono::Utc>>().is_ok(), "{time}");
}

#[test]
fn auto_is_text_at_a_terminal_and_json_elsewhere() {
    for (format, terminal, is_json) in [
        (LogFormat::Auto, true, false),
        (LogFormat::Auto, false, true),
        (LogFormat::Json, true, true),
        (LogFormat::Text, false, false),
    ] {
        let lines = logged(format, "info", terminal, || tracing::info!(partition = 3, "assigned"));
        assert_eq!(lines[0].starts_with('{'), is_json, "{format:?} {terminal}: {lines:?}");
        assert!(lines[0].contains("assigned") && lines[0].contains("partition"), "{lines:?}");
        assert!(!lines[0].contains('\u{1b}'), "no colours: {lines:?}");
    }
}

#[test]
fn the_level_is_for_our_own_events_and_others_are_heard_from_warn_on() {
    let events = || {
        tracing::trace!("our trace");
        tracing::debug!("our debug");
        tracing::info!("our info");
        tracing::info!(target: "mailroom_actors::mailer", "actors info");
        tracing::warn!("our warn");
        tracing::error!("our error");
        tracing::info!(target: "actix_server::worker", "their info");
        tracing::warn!(target: "actix_server::worker", "their warn");
        tracing::error!(target: "librdkafka", "told by our own clients");
    };
    for (level, expected) in [
        ("error", &["our error"][..]),
        ("warn", &["our warn", "our error", "their warn"]),
        ("info", &["our info", "actors info", "our warn", "our error", "their warn"]),
        ("debug", &["our debug", "our info", "actors info", "our warn", "our error", "their warn"]),
        (
            "trace",
            &["our trace", "our debug", "our info", "actors info", "our warn", "our error", "their warn"],
        ),
    ] {
        let lines = logged(LogFormat::Json, level, false, events);
        let messages: Vec<_> = lines.iter().map(|line| json(line)["message"].clone()).collect();
        assert_eq!(messages, expected, "{level}");
    }
}

#[test]
fn a_line_feed_in_a_value_does_not_make_two_lines() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let lines = logged(format, "info", false, || tracing::info!(reply = "a\nb", "answered"));
        assert_eq!(lines.len(), 1, "{format:?}: {lines:?}");
    }
}

#[test]
fn a_panic_is_one_error_line_and_only_a_constant_text_is_told() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(log_panic));
    let lines = logged(LogFormat::Json, "error", false, || {
        for with_data in [false, true] {
            let caught = std::panic::catch_unwind(|| {
                if with_data {
                    let address = String::from("ada@example.com");
                    panic!("no mailbox {address}");
                }
                panic!("a constant reason");
            });
            assert!(caught.is_err());
        }
    });
    std::panic::set_hook(before);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let (constant, withheld) = (json(&lines[0]), json(&lines[1]));
    assert_eq!((&constant["level"], &constant["message"]), (&"ERROR".into(), &"panicked".into()));
    assert_eq!(constant["reason"], "a constant reason");
    assert_eq!(withheld["reason"], "withheld: it may hold data");
    assert!(!lines[1].contains("ada"), "{lines:?}");
    for line in [constant, withheld] {
        assert!(line["location"].as_str().is_some_and(|at| at.contains(file!())), "{line}");
        assert_eq!(line["thread"], std::thread::current().name().unwrap_or_default(), "{line}");
    }
}
