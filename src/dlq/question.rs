//! Which letters are meant, in the words of people: the names and values that a request or the command line gives.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mailroom_actors::domain::failure::{Cause, Stage};
use mailroom_actors::domain::letters::decision::State;
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::name::LetterName;

use super::view::UNREADABLE;
use crate::config::kind::{Kind, Raw, TEN_YEARS, Value};

/// What may be asked for, as it is told to who asks for something else.
pub const NAMES: &str = "cause, code, stage, state, domain, template, tag.NAME, since, until, q";

/// So many letters can be named one by one.
pub const MAX_LETTERS: usize = 10_000;

/// The part of a filter that `name` (one of [`NAMES`]) with `value` is, put into `filter`. `now` is what a duration before
/// now counts from.
///
/// # Errors
/// In words: what is wrong, and what is allowed.
pub fn add(filter: &mut Filter, name: &str, value: &str, now: DateTime<Utc>) -> Result<(), String> {
    // Those without one are a group too.
    if value.is_empty() && !["code", "domain", "template"].contains(&name) {
        return Err(format!("{name} is empty: leave it out, or give it a value"));
    }
    match name {
        "cause" if value == UNREADABLE => filter.is_unreadable = true,
        "cause" => filter.cause = Some(one_of(name, value, &Cause::ALL, Cause::as_str)?),
        "stage" => filter.stage = Some(one_of(name, value, &Stage::ALL, Stage::as_str)?),
        "state" => filter.state = Some(one_of(name, value, &State::ALL, State::as_str)?),
        "code" if value.is_empty() => filter.code = Some(0),
        "code" => {
            let code = value.parse().ok().filter(|code| (200..=599).contains(code));
            let wrong = || format!("code is an SMTP reply code, 200 to 599, not '{}'", shortened(value));
            filter.code = Some(code.ok_or_else(wrong)?);
        }
        "domain" => filter.domain = Some(value.to_owned()),
        "template" => filter.template = Some(value.to_owned()),
        "since" => filter.since_ms = Some(time(name, value, now)?),
        "until" => filter.until_ms = Some(time(name, value, now)?),
        "q" => filter.q = Some(value.to_owned()),
        _ => match name.strip_prefix("tag.").filter(|tag| !tag.is_empty()) {
            Some(tag) => filter.tags.push((tag.to_owned(), value.to_owned())),
            None => return Err(format!("there is no filter '{}': there are {NAMES}", shortened(name))),
        },
    }
    Ok(())
}

/// Letters by their names.
///
/// # Errors
/// The first that is none; more than [`MAX_LETTERS`].
pub fn letters<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<LetterName>, String> {
    let letters = names.into_iter().map(|name| name.parse().map_err(|error| format!("{error}")));
    let letters: BTreeSet<LetterName> = letters.collect::<Result<_, String>>()?;
    if letters.len() > MAX_LETTERS {
        return Err(format!("at most {MAX_LETTERS} letters can be named: use a filter"));
    }
    Ok(letters)
}

fn one_of<T: Copy>(name: &str, value: &str, all: &[T], text: fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|each| text(*each) == value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|each| text(*each)).collect();
        format!("{name} is one of {}, not '{}'", names.join(", "), shortened(value))
    })
}

/// An RFC 3339 time, or a duration before now (`2h`, `30m`). Milliseconds since the epoch.
fn time(name: &str, value: &str, now: DateTime<Utc>) -> Result<i64, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(value) {
        return Ok(time.timestamp_millis());
    }
    let kind = Kind::Duration { min: Duration::ZERO, max: TEN_YEARS };
    match kind.read(&Raw::untyped(value)) {
        Some(Value::Duration(ago)) => {
            Ok(now.timestamp_millis() - i64::try_from(ago.as_millis()).unwrap_or(i64::MAX))
        }
        _ => Err(format!(
            "{name} is a time such as 2026-11-24T02:00:00Z, or how long ago, such as 2h; not '{}'",
            shortened(value)
        )),
    }
}

fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(10_000_000_000).unwrap()
    }

    #[test]
    fn what_is_asked_for_in_words_is_a_filter() {
        let mut filter = Filter::default();
        for (name, value) in [
            ("cause", "quota"),
            ("code", "452"),
            ("state", "parked"),
            ("stage", "rcpt"),
            ("domain", "b.c"),
            ("template", "otp"),
            ("tag.team", "red"),
            ("since", "1h"),
            ("until", "1970-01-01T00:00:01+00:00"),
            ("q", "x y"),
        ] {
            add(&mut filter, name, value, now()).unwrap();
        }
        let expected = Filter {
            cause: Some(Cause::Quota),
            is_unreadable: false,
            code: Some(452),
            stage: Some(Stage::Rcpt),
            state: Some(State::Parked),
            domain: Some("b.c".into()),
            template: Some("otp".into()),
            tags: vec![("team".into(), "red".into())],
            since_ms: Some(10_000_000_000 - 3_600_000),
            until_ms: Some(1_000),
            q: Some("x y".into()),
            letters: BTreeSet::new(),
        };
        assert_eq!(filter, expected);
    }

    #[test]
    fn what_groups_call_letters_without_something_is_a_filter_too() {
        let mut filter = Filter::default();
        for (name, value) in [("cause", "unreadable"), ("code", ""), ("domain", ""), ("template", "")] {
            add(&mut filter, name, value, now()).unwrap();
        }
        let none = || Some(String::new());
        let expected = Filter {
            is_unreadable: true,
            code: Some(0),
            domain: none(),
            template: none(),
            ..Filter::default()
        };
        assert_eq!(filter, expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_allowed() {
        for (name, value, says) in [
            ("cause", "quotas", "quota,"),
            ("code", "99", "200 to 599"),
            ("code", "x", "200 to 599"),
            ("state", "", "leave it out"),
            ("since", "yesterday", "such as 2h"),
            ("tag.", "x", "there are cause"),
            ("size", "1", "there are cause"),
        ] {
            let error = add(&mut Filter::default(), name, value, now()).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(letters(["0-1", "x"]).unwrap_err().contains("such as 0-17"));
        assert_eq!(letters(["0-1", "0-1"]).unwrap().len(), 1);
    }
}
