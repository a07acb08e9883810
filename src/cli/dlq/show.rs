//! `mailroom dlq show`: one letter, with all that is known of it.

use clap::Args;
use mailroom_actors::domain::letters::name::LetterName;
use serde_json::{Value, json};

use super::desk::Desk;
use super::{Outcome, refused, words};
use crate::cli::output::{Lines, written};
use crate::cli::{ConfigurationArguments, table};
use crate::dlq::full_view::{FullView, Unreadable};

pub(super) const EXAMPLE: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\nExample:\n  mailroom dlq show 0-17\n  mailroom dlq show 0-17 --reveal --json";

#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// Its name, such as 0-17
    letter: LetterName,

    /// Shows addresses, and the original message with whatever it holds: codes, passwords, bodies
    #[arg(long)]
    reveal: bool,

    /// As a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) fn run(Arguments { letter, reveal, json, configuration }: Arguments) -> Outcome {
    let desk = Desk::open(configuration)?;
    let whole = desk.runtime.block_on(desk.archive.show(letter)).map_err(refused)?;
    let view = FullView::of(&whole, reveal);
    let shown = if json { words::json(&view) } else { in_words(&view) };
    Ok(written(Lines::stdout().write(shown)))
}

/// What a letter says, in this order; the rest behind it.
const FIRST: [&str; 9] = [
    "cause",
    "stage",
    "smtp_code",
    "enhanced_code",
    "error_reason",
    "recipients",
    "failed_at",
    "retry_count",
    "replay_count",
];

/// These have a place of their own.
const LAST: [&str; 3] = ["attempts", "original", "value"];

fn in_words(view: &FullView) -> String {
    let mut rows = vec![
        ["letter".to_owned(), view.letter.clone()],
        ["state".to_owned(), view.state.unwrap_or("unknown").to_owned()],
    ];
    if let Some(Unreadable { bytes, error }) = &view.unreadable {
        rows.push(["unreadable".to_owned(), format!("{error} ({bytes} bytes)")]);
    }
    let rest =
        view.fields.keys().map(String::as_str).filter(|name| !FIRST.contains(name) && !LAST.contains(name));
    for name in FIRST.into_iter().chain(rest) {
        let told = words::of(view.fields.get(name));
        if !told.is_empty() && told != "{}" {
            rows.push([name.to_owned(), told]);
        }
    }
    let key = view.key.as_ref().map(|key| words::of(Some(key)));
    for (name, told) in
        [("key", &key), ("replayed_from", &view.replayed_from), ("replayed_as", &view.replayed_as)]
    {
        rows.extend(told.iter().map(|told| [name.to_owned(), told.clone()]));
    }
    let rows = rows.into_iter().map(|row| row.map(|cell| words::plain(&cell)));
    let mut parts = vec![table::lines(None, rows)];
    if let Some(Value::Array(attempts)) = view.fields.get("attempts").filter(|all| *all != &json!([])) {
        let rows = attempts.iter().map(attempt);
        parts.push(words::table(["ATTEMPT", "AT", "STAGE", "TOOK", "ERROR"], rows));
    }
    if let Some(decisions) = view.decisions.as_ref().filter(|all| !all.is_empty()) {
        let rows = decisions.iter().map(|step| {
            let run = step.run.clone().unwrap_or_default();
            [step.state.to_owned(), words::to_the_second(&step.at), step.by.clone(), run, step.reason.clone()]
        });
        parts.push(words::table(["DECIDED", "AT", "BY", "RUN", "REASON"], rows));
    }
    for (name, title) in [("original", "the job"), ("value", "the record's value")] {
        parts.extend(view.fields.get(name).map(|shown| format!("{title}:\n{}", content(shown))));
    }
    parts.join("\n\n")
}

/// Text line by line; what is none as it is in JSON.
fn content(shown: &Value) -> String {
    match shown.get("text").and_then(Value::as_str) {
        Some(text) => text.lines().map(words::plain).collect::<Vec<_>>().join("\n"),
        None => shown.to_string(),
    }
}

fn attempt(attempt: &Value) -> [String; 5] {
    let told = |name: &str| words::of(attempt.get(name));
    let took = told("took_ms");
    let took = if took.is_empty() { took } else { format!("{took} ms") };
    [told("number"), words::to_the_second(&told("at")), told("stage"), took, told("error")]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dlq::full_view::StepView;

    fn view(fields: &Value) -> FullView {
        let step = StepView {
            state: "parked",
            at: "2026-11-24T02:07:47.123Z".into(),
            by: "redriver".into(),
            reason: "after 3 rounds".into(),
            run: None,
            round: 1,
        };
        FullView {
            letter: "0-17".into(),
            state: Some("parked"),
            at: "2026-11-24T02:07:47.123Z".into(),
            key: Some(json!("k\u{1b}")),
            headers: Vec::new(),
            fields: fields.as_object().unwrap().clone(),
            unreadable: None,
            replayed_from: Some("0-1".into()),
            replayed_as: None,
            decisions: Some(vec![step]),
        }
    }

    #[test]
    fn a_letter_is_told_from_its_cause_to_its_decisions() {
        let told = in_words(&view(&json!({
            "worker_id": "w", "cause": "quota", "smtp_code": 552, "tags": {}, "recipients": ["a***@b.c", "d***@b.c"],
            "attempts": [{"number": 1, "at": "2026-11-24T02:07:47.1Z", "stage": "rcpt", "error": "552 full", "took_ms": 7}],
        })));
        let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
        let at = |line: &[&str]| {
            lines.iter().position(|each| each == line).unwrap_or_else(|| panic!("{line:?}: {told}"))
        };
        let order = [
            at(&["letter", "0-17"]),
            at(&["cause", "quota"]),
            at(&["smtp_code", "552"]),
            at(&["recipients", "a***@b.c", "d***@b.c"]),
            at(&["worker_id", "w"]),
            at(&["key", "k\\u{1b}"]),
            at(&["replayed_from", "0-1"]),
            at(&["1", "2026-11-24T02:07:47Z", "rcpt", "7", "ms", "552", "full"]),
            at(&["parked", "2026-11-24T02:07:47Z", "redriver", "after", "3", "rounds"]),
        ];
        assert!(order.is_sorted(), "{told}");
        assert!(!told.contains("tags"), "{told}");
    }

    #[test]
    fn the_job_comes_last_and_can_t_steer_a_terminal() {
        let told = in_words(&view(&json!({"original": {"text": "{\n \"to\": \"\u{1b}[2J\"}"}})));
        assert!(told.ends_with("the job:\n{\n \"to\": \"\\u{1b}[2J\"}"), "{told}");
    }
}
