//! Every key, from each source: its value and origin, and what is said where it is wrong. A key without a row fails.

use super::*;
use crate::config::keys::{self, Default, KEYS};
use crate::config::kind::Kind;
use crate::config::{Origin, ShownValue, show};

/// Stand for a certificate, a folder and a secret that are there.
const CA: &str = "@CA@";
const FOLDER: &str = "@FOLDER@";

struct Row {
    key: &'static str,
    /// A value other than the default, as TOML has it; elsewhere it stands without quotes and brackets.
    good: &'static str,
    /// Of a type that the key does not take, as TOML has it.
    wrong_type: &'static str,
    /// Out of range, or of no form that is allowed, as text.
    bad: &'static str,
    /// What has to be set beside it.
    beside: &'static [(&'static str, &'static str)],
}

const fn row(key: &'static str, good: &'static str, wrong_type: &'static str, bad: &'static str) -> Row {
    Row { key, good, wrong_type, bad, beside: &[] }
}

const ROWS: &[Row] = &[
    row("worker.id", "\"w 1\"", "1", "a\tb"),
    row("worker.drain_timeout", "\"7s\"", "7", "0s"),
    row("kafka.brokers", "\"a:1,b:2\"", "[\"a:1\"]", "a:0"),
    row("kafka.group", "\"g\"", "true", ""),
    row("kafka.topic", "\"jobs\"", "1", ".."),
    row("kafka.dlq_topic", "\"dead\"", "1", "a/b"),
    row("kafka.decisions_topic", "\"decided\"", "1", "a/b"),
    row("kafka.create_topics", "false", "\"false\"", "no"),
    row("kafka.dlq_retention", "\"1d\"", "86400", "999ms"),
    row("kafka.commit_interval", "\"1s\"", "1.5", "2h"),
    row("smtp.host", "\"relay.example\"", "1", "relay.example:25"),
    row("smtp.security", "\"starttls\"", "true", "ssl"),
    row("smtp.port", "2525", "\"2525\"", "65536"),
    row("smtp.from", "\"Ada <ada@example.com>\"", "[]", "ada"),
    Row { beside: &[("smtp.password", "p")], ..row("smtp.username", "\"ada\"", "1", "") },
    Row { beside: &[("smtp.username", "ada")], ..row("smtp.password", "\"hunter2\"", "1", "") },
    row("smtp.auth", "\"login\"", "true", "cram-md5"),
    row("smtp.allow_plaintext_auth", "true", "1", "1"),
    row("smtp.helo_name", "\"w.example.com\"", "1", "a b"),
    row("smtp.ca_file", "\"@CA@\"", "1", ""),
    row("smtp.pipelining", "\"off\"", "false", "on"),
    row("smtp.max_rate", "\"14/s\"", "14", "14/m"),
    row("smtp.max_emails_per_connection", "7", "7.0", "0"),
    row("smtp.idle_timeout", "\"5s\"", "5", "61m"),
    row("smtp.timeouts.connect", "\"5s\"", "5", "0s"),
    row("smtp.timeouts.greeting", "\"5s\"", "5", "0s"),
    row("smtp.timeouts.command", "\"5s\"", "5", "0s"),
    row("smtp.timeouts.data", "\"5s\"", "5", "0s"),
    row("smtp.timeouts.final_dot", "\"5s\"", "5", "0s"),
    row("email.allowed_from_domains", "[\"example.com\", \"b.example\"]", "\"example.com\"", "a@b.example"),
    row("email.max_age", "\"24h\"", "24", "999ms"),
    row("templates.dir", "\"@FOLDER@\"", "1", ""),
    row("mailers.size", "3", "\"3\"", "0"),
    row("mailers.max", "99", "99.0", "65537"),
    row("retry.max_attempts", "5", "\"5\"", "0"),
    row("retry.base", "\"2s\"", "2", "-1s"),
    row("retry.factor", "1.5", "\"1.5\"", "0.9"),
    row("retry.max_delay", "\"5m\"", "300", "8d"),
    row("retry.jitter", "0.5", "\"0.5\"", "1.1"),
    row("retry.permanent", "\"retry\"", "true", "never"),
    row("retry.ambiguous", "\"dead-letter\"", "true", "wait"),
    row("retry.limited", "\"retry\"", "true", "dead-letter"),
    row("breaker.failures", "0", "false", "-1"),
    row("breaker.probe_interval", "\"1s\"", "1", "0s"),
    row("limits.in_flight", "5", "\"5\"", "0"),
    row("limits.in_flight_bytes", "\"1MiB\"", "1048576", "0B"),
    row("limits.message_bytes", "\"1MiB\"", "1048576", "1GB"),
    row("limits.crashes", "1", "true", "0"),
    row("http.bind", "\"[::1]:0\"", "8080", "localhost:8080"),
    row("http.admin_token", "\"hunter2\"", "1", "a b"),
    row("dlq.index_letters", "0", "\"0\"", "-1"),
    row("dlq.rate", "\"2.5/s\"", "10", "10/m"),
    row("dlq.max_replays", "1", "\"1\"", "256"),
    row("dlq.allow_edit", "true", "1", "yes"),
    row("dlq.transactions", "\"off\"", "false", "sometimes"),
    row("dlq.replay_topic", "\"again\"", "1", "a b"),
    row("redrive.enabled", "true", "1", "on"),
    row("redrive.waits", "[\"5m\", \"2h\"]", "\"5m\"", "0s"),
    row("redrive.causes", "[\"quota\"]", "\"quota\"", "quotas"),
    row("redrive.notify", "\"ada@example.com\"", "[]", "ada"),
    row("log.format", "\"json\"", "true", "yaml"),
    row("log.level", "\"debug\"", "1", "verbose"),
];

#[derive(Clone, Copy, Debug)]
enum From {
    File,
    Environment,
    Flag,
}

fn variable(key: &str) -> String {
    format!("MAILROOM__{}", key.to_ascii_uppercase().replace('.', "__"))
}

impl Row {
    fn untyped(&self) -> String {
        let inside = self.good.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(self.good);
        inside.replace('"', "")
    }

    /// Nothing but what every configuration needs, and this key does.
    fn base(&self) -> Setup {
        let required = [("smtp.host", "a.example"), ("smtp.from", "a@example.com")];
        let others = required.iter().chain(self.beside).filter(|(key, _)| *key != self.key);
        others.fold(Setup::default(), |setup, (key, value)| setup.environment(&variable(key), value))
    }

    fn set(&self, from: From, literal: &str, untyped: &str) -> Setup {
        let mut setup = self.base();
        let folder = setup.write("a.txt", b"fine").parent().expect("a folder").to_owned();
        let authority = rcgen::generate_simple_self_signed(["relay.example".into()]).expect("a certificate");
        let ca = setup.write("ca.pem", authority.cert.pem().as_bytes());
        let there = |text: &str| {
            text.replace(CA, &ca.display().to_string()).replace(FOLDER, &folder.display().to_string())
        };
        match from {
            From::File => setup.file(&format!("{} = {}\n", self.key, there(literal))),
            From::Environment => setup.environment(&variable(self.key), &there(untyped)),
            From::Flag => setup.set(&format!("{}={}", self.key, there(untyped))),
        }
    }

    /// As a mistake tells it.
    fn origin(&self, from: From) -> String {
        match from {
            From::File => "file:config.toml:1".into(),
            From::Environment => format!("env:{}", variable(self.key)),
            From::Flag => "flag:--set".into(),
        }
    }

    fn shown(&self, setup: &Setup) -> (ShownValue, Origin) {
        let rows = show(&setup.sources).unwrap_or_else(|problems| panic!("{}: {problems}", self.key));
        let row = rows.into_iter().find(|row| row.key == self.key).expect("every key is shown");
        (row.value, row.origin)
    }
}

fn in_words(value: ShownValue) -> String {
    match value {
        ShownValue::Unset => "unset".into(),
        ShownValue::Secret => "***".into(),
        ShownValue::Flag(flag) => flag.to_string(),
        ShownValue::Text(text) | ShownValue::Number(text) => text,
        ShownValue::List(items) => items.join(", "),
    }
}

#[test]
fn every_key_has_a_row() {
    let (rows, keys): (Vec<_>, Vec<_>) =
        (ROWS.iter().map(|row| row.key).collect(), KEYS.iter().map(|key| key.name).collect());
    assert_eq!(rows, keys);
}

#[test]
fn each_key_is_taken_from_each_source_and_shown_with_it() {
    for row in ROWS {
        let entry = keys::find(row.key).expect("it is a key");
        // Where it can't be left out alone there is no default to show.
        let is_required = matches!(entry.default, Default::Required { .. }) || !row.beside.is_empty();
        let at_first = if is_required {
            ShownValue::Unset
        } else {
            let (value, origin) = row.shown(&row.base());
            assert_eq!(origin, Origin::Default, "{}", row.key);
            value
        };
        for from in [From::File, From::Environment, From::Flag] {
            let setup = row.set(from, row.good, &row.untyped());
            let (value, origin) = row.shown(&setup);
            let folder = setup.folder.as_ref().expect("it has files").path().display().to_string();
            assert_eq!(
                origin.to_string().replace(&format!("{folder}/"), ""),
                row.origin(from),
                "{} {from:?}",
                row.key
            );
            let told =
                in_words(value.clone()).replace(&format!("{folder}/ca.pem"), CA).replace(&folder, FOLDER);
            let expected =
                if matches!(entry.kind, Kind::Secret { .. }) { "***".to_owned() } else { row.untyped() };
            assert_eq!(told, expected, "{} {from:?}", row.key);
            assert_ne!(value, at_first, "{}: it is to be another than the default", row.key);
        }
    }
}

#[test]
fn each_key_that_is_wrong_is_told_once_with_its_origin_and_what_is_allowed_and_never_its_value() {
    for row in ROWS {
        let kind = keys::find(row.key).expect("it is a key").kind;
        let quoted = format!("\"{}\"", row.bad.escape_default());
        let cases = [
            (From::File, row.wrong_type, ""),
            (From::File, "2026-11-29T12:00:00Z", ""),
            (From::File, "{ a = 1 }", ""),
            (From::Environment, "", row.bad),
            (From::Flag, "", row.bad),
        ];
        let of_text = matches!(kind, Kind::Text { .. } | Kind::Secret { .. } | Kind::OneOf(_) | Kind::Bind)
            .then_some((From::File, quoted.as_str(), ""));
        for (from, literal, untyped) in cases.into_iter().chain(of_text) {
            let expected = match literal {
                // Within a key there is none.
                "{ a = 1 }" => format!("{}.a ({}): there is no such key", row.key, row.origin(from)),
                _ => format!("{} ({}): {}", row.key, row.origin(from), kind.allowed()),
            };
            let problems = row.set(from, literal, untyped).wrong();
            // A table in its place sets nothing: what must be set, or goes with something else, is missing then.
            let follows =
                |problem: &&String| problem.contains("must be set") || problem.contains("go together");
            let others: Vec<_> = problems.iter().filter(|problem| !follows(problem)).collect();
            assert!(
                others.len() == 1 && others[0].starts_with(&expected),
                "{literal} {untyped:?}: {problems:?}"
            );
        }
    }
}
