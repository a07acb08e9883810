//! One letter as answers show it, whole: what is in it, what it came of and what came of it, what was decided. Addresses are
//! masked and the job is left out, unless it is to be revealed.

use std::collections::BTreeMap;

use mailroom_actors::domain::letters::decision::{Decision, State, Step};
use mailroom_actors::domain::letters::index::Index;
use mailroom_actors::domain::letters::name::LetterName;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::archive::Whole;
use super::letter;
use super::records::written_time;
use crate::mask::mask_text;

/// The member that holds the job.
const ORIGINAL: &str = "original_message";
/// Looks like an address and is none.
const MESSAGE_ID: &str = "message_id";

#[derive(Clone, Debug, Serialize)]
pub struct LetterView {
    pub letter: String,
    pub state: &'static str,
    /// The record's time stamp.
    pub at: String,
    /// The record's key, where it is text.
    pub key: Option<String>,
    /// All of the letter's own members but the job.
    #[serde(flatten)]
    pub members: BTreeMap<String, Value>,
    /// False where the record is no dead letter.
    pub readable: bool,
    pub replayed_from: Option<String>,
    pub replayed_as: Option<String>,
    /// The oldest first.
    pub decisions: Vec<StepView>,
    /// Only where it was to be revealed; of what is no dead letter its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_message: Option<Box<RawValue>>,
}

/// One decision.
#[derive(Clone, Debug, Serialize)]
pub struct StepView {
    pub state: &'static str,
    pub at: String,
    pub by: String,
    pub reason: String,
    pub run: Option<String>,
    pub round: u32,
}

impl LetterView {
    pub fn of(whole: &Whole, index: &Index, reveal: bool) -> LetterView {
        let record = &whole.record;
        let name = LetterName { partition: record.partition, offset: record.offset };
        let value = record.value.as_deref().unwrap_or_default();
        let masked = |text: &str| if reveal { text.to_owned() } else { mask_text(text).into_owned() };
        let (members, original) = match serde_json::from_slice::<BTreeMap<String, &RawValue>>(value) {
            Ok(mut members) => {
                let original = members.remove(ORIGINAL).map(ToOwned::to_owned);
                let members = members.into_iter().filter(|(name, _)| !OURS.contains(&name.as_str()));
                let read = |(name, json): (String, &RawValue)| {
                    let mut value = serde_json::from_str(json.get()).unwrap_or_default();
                    if name != MESSAGE_ID {
                        change_texts(&mut value, &masked);
                    }
                    (name, value)
                };
                (members.map(read).collect(), original)
            }
            Err(_) => {
                (BTreeMap::new(), serde_json::value::to_raw_value(&String::from_utf8_lossy(value)).ok())
            }
        };
        let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let replayed_from = index.replayed_from(name).or_else(|| letter::replayed_from(headers));
        LetterView {
            letter: name.to_string(),
            state: whole.decision.as_ref().map_or(State::Waiting, |decision| decision.latest.state).as_str(),
            at: written_time(record.timestamp_ms.unwrap_or_default()),
            key: record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).map(masked),
            readable: letter::Letter::read(value).is_some(),
            members,
            replayed_from: replayed_from.map(|from| from.to_string()),
            replayed_as: index.came_back_as(name).map(|back| back.to_string()),
            decisions: whole.decision.as_ref().map_or_else(Vec::new, steps),
            original_message: original.filter(|_| reveal),
        }
    }

    /// A member of the letter in words: texts as they are, lists of texts with blanks between, nothing for null.
    pub fn words(&self, member: &str) -> String {
        match self.members.get(member) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
                items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
            }
            Some(other) => other.to_string(),
        }
    }
}

/// What stands beside the members: a letter's own of that name would come twice.
const OURS: [&str; 8] =
    ["letter", "state", "at", "key", "readable", "replayed_from", "replayed_as", "decisions"];

fn steps(decision: &Decision) -> Vec<StepView> {
    decision.history.iter().chain([&decision.latest]).map(StepView::of).collect()
}

impl StepView {
    fn of(step: &Step) -> StepView {
        StepView {
            state: step.state.as_str(),
            at: written_time(step.at_ms),
            by: step.by.clone(),
            reason: step.reason.clone(),
            run: step.run.clone(),
            round: step.round,
        }
    }
}

fn change_texts(value: &mut Value, change: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = change(text),
        Value::Array(items) => items.iter_mut().for_each(|item| change_texts(item, change)),
        Value::Object(members) => members.values_mut().for_each(|member| change_texts(member, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use mailroom_actors::domain::job::Record;

    use super::*;

    fn whole(value: &'static str) -> Whole {
        let headers = vec![("mailroom-replay-id".to_owned(), Some(Bytes::from_static(b"1-2")))];
        let value = Some(Bytes::from_static(value.as_bytes()));
        let (topic, timestamp_ms) = ("email-dlq".into(), Some(5));
        let key = Some(Bytes::from_static(b"ada@example.com"));
        let record = Record { topic, partition: 0, offset: 7, timestamp_ms, key, value, headers };
        let step = |state, at_ms| Step {
            state,
            run: Some("r1".into()),
            by: "ada".into(),
            reason: "why".into(),
            at_ms,
            round: 1,
        };
        let (latest, history) = (step(State::Replayed, 2), vec![step(State::Parked, 1)]);
        Whole { record, decision: Some(Decision { letter_timestamp_ms: 5, latest, history }) }
    }

    const LETTER: &str = r#"{"original_message":{"to":"ada@example.com",  "otp":"493021"},"error_reason":"<ada@example.com> no","recipients":["ada@example.com"],"message_id":"<abc@example.com>","attempts":[{"error":"ada@example.com"}],"letter":"mine"}"#;

    #[test]
    fn nothing_of_the_job_and_no_address_is_shown_unless_it_is_to_be_revealed() {
        let view = LetterView::of(&whole(LETTER), &Index::new(1), false);
        let json = serde_json::to_string(&view).unwrap();
        assert!(!json.contains("ada@") && !json.contains("493021"), "{json}");
        assert_eq!(view.words("message_id"), "<abc@example.com>");
        assert_eq!(view.words("recipients"), "a***@example.com");
        let json = serde_json::to_string(&LetterView::of(&whole(LETTER), &Index::new(1), true)).unwrap();
        assert!(json.contains(r#""original_message":{"to":"ada@example.com",  "otp":"493021"}"#), "{json}");
        assert!(json.contains(r#""recipients":["ada@example.com"]"#), "{json}");
        assert_eq!(json.matches("\"letter\"").count(), 1, "{json}");
    }

    #[test]
    fn what_was_decided_comes_the_oldest_first_and_a_replayed_job_names_its_letter() {
        let view = LetterView::of(&whole(LETTER), &Index::new(1), false);
        assert_eq!(
            (view.state, view.replayed_from.as_deref(), view.readable),
            ("replayed", Some("1-2"), true)
        );
        let states: Vec<_> = view.decisions.iter().map(|step| step.state).collect();
        assert_eq!(states, ["parked", "replayed"]);
    }

    #[test]
    fn what_is_no_letter_is_shown_as_text_when_it_is_to_be_revealed() {
        let view = LetterView::of(&whole("x ada@example.com"), &Index::new(1), true);
        assert_eq!(view.original_message.unwrap().get(), "\"x ada@example.com\"");
        let view = LetterView::of(&whole("x"), &Index::new(1), false);
        assert!(view.original_message.is_none() && !view.readable);
    }
}
