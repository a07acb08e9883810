//! `mailroom dlq show`: one letter, with all that is known of it.

use clap::Args;
use mailroom_actors::domain::letters::name::LetterName;
use serde_json::{Value, json};

use super::desk::Desk;
use super::{Outcome, refused, words};
use crate::cli::output::{Lines, written};
use crate::cli::{ConfigurationArguments, table};
use crate::dlq::whole::LetterView;

pub(super) const EXAMPLE: &str =
    "Example:\n  mailroom dlq show 0-17\n  mailroom dlq show 0-17 --reveal --json";

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
    let view = LetterView::of(&whole, &desk.archive.shelf.index.read(), reveal);
    let shown = match json {
        // By way of a `Value` the original's members would come in another order.
        true => serde_json::to_string_pretty(&view).expect("texts and numbers always make JSON"),
        false => in_words(&view),
    };
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

fn in_words(view: &LetterView) -> String {
    let mut rows =
        vec![["letter".to_owned(), view.letter.clone()], ["state".to_owned(), view.state.to_owned()]];
    if !view.readable {
        rows.push(["".to_owned(), "this record is no dead letter that can be read".to_owned()]);
    }
    let rest =
        view.members.keys().map(String::as_str).filter(|name| !FIRST.contains(name) && *name != "attempts");
    for name in FIRST.into_iter().chain(rest) {
        let told = view.words(name);
        if !told.is_empty() && told != "{}" {
            rows.push([name.to_owned(), told]);
        }
    }
    for (name, told) in
        [("key", &view.key), ("replayed_from", &view.replayed_from), ("replayed_as", &view.replayed_as)]
    {
        rows.extend(told.iter().map(|told| [name.to_owned(), told.clone()]));
    }
    let rows = rows.into_iter().map(|row| row.map(|cell| words::plain(&cell)));
    let mut parts = vec![table::lines(None, rows)];
    if let Some(Value::Array(attempts)) = view.members.get("attempts").filter(|all| *all != &json!([])) {
        let rows = attempts.iter().map(attempt);
        parts.push(words::table(["ATTEMPT", "AT", "STAGE", "TOOK", "ERROR"], rows));
    }
    if !view.decisions.is_empty() {
        let rows = view.decisions.iter().map(|step| {
            let run = step.run.clone().unwrap_or_default();
            [step.state.to_owned(), words::to_the_second(&step.at), step.by.clone(), run, step.reason.clone()]
        });
        parts.push(words::table(["DECIDED", "AT", "BY", "RUN", "REASON"], rows));
    }
    if let Some(original) = &view.original_message {
        parts.push(format!("original message:\n{}", words::plain(original.get())));
    }
    parts.join("\n\n")
}

fn attempt(attempt: &Value) -> [String; 5] {
    let told = |name: &str| match attempt.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let took = told("took_ms");
    let took = if took.is_empty() { took } else { format!("{took} ms") };
    [told("number"), words::to_the_second(&told("at")), told("stage"), took, told("error")]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dlq::whole::StepView;

    fn view(members: &Value) -> LetterView {
        let step = StepView {
            state: "parked",
            at: "2026-11-24T02:07:47.123Z".into(),
            by: "redriver".into(),
            reason: "after 3 rounds".into(),
            run: None,
            round: 1,
        };
        LetterView {
            letter: "0-17".into(),
            state: "parked",
            at: "2026-11-24T02:07:47.123Z".into(),
            key: Some("k\x1b".into()),
            members: members.as_object().unwrap().clone().into_iter().collect(),
            readable: true,
            replayed_from: Some("0-1".into()),
            replayed_as: None,
            decisions: vec![step],
            original_message: None,
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
}
