//! How single values are read: properties of durations and sizes, and the forms of texts.

use std::time::Duration;

use proptest::prelude::*;

use super::Setup;
use crate::config::forms;
use crate::config::keys::{self, KEYS};
use crate::config::kind::{Kind, Raw, Value, WrittenAs};

const ANY_DURATION: Kind = Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(1 << 40) };
const ANY_SIZE: Kind = Kind::Size { min: 0, max: 1 << 50 };
const UNITS: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

proptest! {
    #[test]
    fn a_duration_that_is_written_out_is_read_back(milliseconds in 0_u64..1 << 40) {
        let duration = Duration::from_millis(milliseconds);
        let text = humantime::format_duration(duration).to_string();
        prop_assert_eq!(ANY_DURATION.read(&Raw::untyped(text)), Some(Value::Duration(duration)));
    }

    #[test]
    fn a_size_that_is_written_out_is_read_back(number in 0_u64..1024, unit in 0..UNITS.len()) {
        let (name, factor) = UNITS[unit];
        let read = ANY_SIZE.read(&Raw::untyped(format!("{number}{name}")));
        prop_assert_eq!(read, Some(Value::Whole(number * factor)));
    }

    #[test]
    fn what_is_read_is_within_bounds_whatever_the_text(
        text in "[-+0-9. eE]{0,25}[a-zA-Zµ]{0,4}([0-9]{1,25}(ns|ms|s|y|MiB|/s))?",
    ) {
        for key in KEYS {
            let within = match (key.kind, key.kind.read(&Raw::untyped(text.as_str()))) {
                (_, None) => true,
                (Kind::Duration { min, max }, Some(Value::Duration(read))) => min <= read && read <= max,
                (Kind::Size { min, max } | Kind::Whole { min, max }, Some(Value::Whole(read))) => {
                    min <= read && read <= max
                }
                (Kind::Real { min, max } | Kind::Rate { min, max }, Some(Value::Real(read))) => min <= read && read <= max,
                (Kind::List { .. }, Some(Value::List(items))) => items.len() <= text.split(',').count(),
                (_, Some(read)) => read == Value::Text(text.clone()),
            };
            prop_assert!(within, "{} {text:?}", key.name);
        }
    }

    #[test]
    fn no_text_at_all_makes_a_reader_panic(text in any::<String>()) {
        for key in KEYS {
            let _ = key.kind.read(&Raw::untyped(text.as_str()));
        }
        let _ = (keys::nearest(&text), keys::is_section(&text));
    }
}

#[test]
fn durations_that_are_negative_overflow_or_lack_a_unit_are_refused() {
    for text in [
        "-1s",
        "1",
        "",
        " ",
        "s",
        "1 fortnight",
        "99999999999999999999s",
        "18446744073709551615s1000ms",
        "584542046090y 20000000s 1000ms",
        "1e3s",
        "NaN",
        "inf",
    ] {
        assert_eq!(ANY_DURATION.read(&Raw::untyped(text)), None, "{text}");
    }
    for (text, milliseconds) in [("1s", 1000), ("500ms", 500), ("1.5s", 1500), ("1m 30s", 90_000), ("0s", 0)]
    {
        let expected = Value::Duration(Duration::from_millis(milliseconds));
        assert_eq!(ANY_DURATION.read(&Raw::untyped(text)), Some(expected), "{text}");
    }
}

#[test]
fn sizes_that_are_negative_or_overflow_are_refused() {
    for text in [
        "-1MiB",
        "",
        "MiB",
        "99999999999999999999",
        "16777216TiB",
        "1e999",
        "999999999999EiB",
        "1.5.5MiB",
        "1 acre",
    ] {
        assert_eq!(ANY_SIZE.read(&Raw::untyped(text)), None, "{text}");
    }
    for (text, bytes) in [("10MiB", 10 << 20), ("10 MB", 10_000_000), ("1.5KiB", 1536), ("4096", 4096)] {
        assert_eq!(ANY_SIZE.read(&Raw::untyped(text)), Some(Value::Whole(bytes)), "{text}");
    }
}

#[test]
fn rates_are_plain_numbers_over_zero_a_second() {
    let any_rate = Kind::Rate { min: 0.0001, max: 1e6 };
    for text in
        ["", "/s", "14", "14/m", "14 /s", "0/s", "-1/s", "+1/s", "1e3/s", "inf/s", "NaN/s", "./s", "1.2.3/s"]
    {
        assert_eq!(any_rate.read(&Raw::untyped(text)), None, "{text}");
    }
    for (text, rate) in [("14/s", 14.0), ("0.5/s", 0.5), ("1000000/s", 1e6)] {
        assert_eq!(any_rate.read(&Raw::untyped(text)), Some(Value::Real(rate)), "{text}");
    }
}

#[test]
fn toml_values_must_have_the_right_type() {
    let whole = Kind::Whole { min: 0, max: 10 };
    let real = Kind::Real { min: 0.0, max: 10.0 };
    let cases = [
        (whole, "8", WrittenAs::Whole, true),
        (whole, "8", WrittenAs::Quoted, false),
        (whole, "8.0", WrittenAs::Real, false),
        (whole, "+8", WrittenAs::Untyped, false),
        (real, "2", WrittenAs::Whole, true),
        (real, "2.5", WrittenAs::Real, true),
        (real, "2.5", WrittenAs::Quoted, false),
        (real, "nan", WrittenAs::Real, false),
        (Kind::Flag, "true", WrittenAs::Flag, true),
        (Kind::Flag, "true", WrittenAs::Quoted, false),
        (Kind::Flag, "yes", WrittenAs::Untyped, false),
        (ANY_DURATION, "1", WrittenAs::Whole, false),
        (ANY_SIZE, "1", WrittenAs::Whole, false),
        (Kind::OneOf(&["tls"]), "tls", WrittenAs::Quoted, true),
        (Kind::OneOf(&["tls"]), "TLS", WrittenAs::Quoted, false),
        (Kind::Bind, "localhost:80", WrittenAs::Quoted, false),
        (Kind::Bind, "[::1]:0", WrittenAs::Quoted, true),
        (Kind::Bind, "", WrittenAs::Other, false),
    ];
    for (kind, text, written_as, taken) in cases {
        let raw = Raw { text: text.into(), written_as };
        assert_eq!(kind.read(&raw).is_some(), taken, "{text} {written_as:?}");
    }
}

type Form = fn(&str) -> bool;

/// A form, texts that have it, and texts that do not.
const FORMS: [(Form, &[&str], &[&str]); 7] = [
    (forms::is_topic, &["email-queue", "a.b_c", "0"], &["", ".", "..", "a b", "ä", "a/b"]),
    (
        forms::are_brokers,
        &[
            "localhost:9092",
            "a:1,b:2",
            "a, b",
            "10.0.0.1:9092",
            "[::1]:9092",
            "SASL_SSL://a:9093",
            "broker_1:9092",
        ],
        &["", ",", "a:1,", "a:0", "a:99999", "a:b", "a b:1", ":9092"],
    ),
    (
        forms::is_host,
        &["localhost", "smtp.example.com", "192.0.2.1", "::1"],
        &["", "smtp://example.com", "smtp.example.com:25", "a b", "a..b", "ä.example"],
    ),
    (
        forms::is_mailbox,
        &[
            "a@example.com",
            "Ada <a@example.com>",
            "<a@example.com>",
            "\"Lovelace. Ada\" <a@example.com>",
            "ä@example.com",
        ],
        &[
            "",
            "ada",
            "a@",
            "@example.com",
            "a@b.example, c@d.example",
            "A\r\nBcc: x <a@example.com>",
            "<a@example.com> b",
        ],
    ),
    (
        forms::is_helo_name,
        &["worker", "worker-1.example.com", "123456789012", "[192.0.2.1]", "[IPv6:::1]"],
        &["", "a b", "a\r\nMAIL", "192.0.2.1", "a..b", ".a", "[a]"],
    ),
    (forms::is_token, &["s3cret!"], &["a b", "a\n", "ä"]),
    (forms::is_name, &["worker 1", "ä"], &["", "a\nb", "a\0"]),
];

#[test]
fn texts_have_their_forms() {
    for (index, (form, good, bad)) in FORMS.iter().enumerate() {
        for text in *good {
            assert!(form(text), "form {index}: {text:?} is good");
        }
        for text in *bad {
            assert!(!form(text), "form {index}: {text:?} is bad");
        }
    }
    assert!(forms::is_topic(&"t".repeat(249)) && !forms::is_topic(&"t".repeat(250)));
    assert!(forms::is_name(&"n".repeat(255)) && !forms::is_name(&"n".repeat(256)));
}

#[test]
fn a_list_is_an_array_of_strings_or_has_commas() {
    let domains = |setup: Setup| setup.good().email.allowed_from_domains;
    let from = |domain: &str| Setup::valid().set(&format!("smtp.from=a@{domain}"));
    let expected = ["example.com", "xn--bcher-kva.example", "c.d.example"];
    for setting in ["Example.COM,bücher.example,c.d.example", " example.com , BÜCHER.example,C.d.example "]
    {
        let key = "MAILROOM__EMAIL__ALLOWED_FROM_DOMAINS";
        assert_eq!(domains(from("EXAMPLE.com").environment(key, setting)), expected);
        assert_eq!(
            domains(from("bücher.example").set(&format!("email.allowed_from_domains={setting}"))),
            expected
        );
    }
    let file = "[email]\nallowed_from_domains = [\"Example.com\", \"bücher.example\",\n\"c.d.example\"]\n";
    assert_eq!(domains(from("xn--bcher-kva.EXAMPLE").file(file)), expected);
    for nothing in ["[]", "[ ]"] {
        assert!(
            domains(from("a.example").file(&format!("[email]\nallowed_from_domains = {nothing}\n")))
                .is_empty()
        );
    }
    assert!(domains(from("a.example").set("email.allowed_from_domains=")).is_empty());
    for wrong in [
        "\"example.com\"",
        "[\"\"]",
        "[\"example.com,b.example\"]",
        "[1]",
        "[[\"example.com\"]]",
        "{ a = 1 }",
    ] {
        let problems =
            from("example.com").file(&format!("[email]\nallowed_from_domains = {wrong}\n")).wrong();
        assert_eq!(problems.len(), 1, "{wrong}: {problems:?}");
        assert!(problems[0].starts_with("email.allowed_from_domains"), "{problems:?}");
    }
}
