//! Jobs around the form, right and slightly wrong: the schema never refuses what the worker takes, and takes only what the
//! worker refuses for reasons that a schema can't say.

use std::sync::LazyLock;

use mailroom_actors::domain::failure::Cause;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(validator);

/// What only the worker finds: how its reason begins, and what it says then.
const BEYOND_A_SCHEMA: &[(&str, &str)] = &[
    // The grammar of addresses.
    ("", "is not an e-mail address"),
    ("", "holds several addresses"),
    ("", "has a quote that is never closed"),
    ("", "has a name that is quoted in part"),
    // What several members make together, those that are null not counted.
    ("", "more than 100 recipients in to, cc and bcc"),
    ("tags", "more than 10"),
    ("headers", "more than 50"),
    ("headers", "is there twice"),
    ("attachments", "is another attachment's already"),
    // The grammars of single headers, media types and times.
    ("headers", "is empty"),
    ("headers", "has a word too long for a line"),
    ("headers", "has something in angle brackets"),
    ("attachments", "is not a media type"),
    ("attachments", "has a parameter"),
    ("attachments", "has something behind a parameter"),
    ("attachments", "names no file"),
    ("attachments", "content_id: must"),
    ("expires_at", "is not an RFC 3339 time"),
];

/// A schema counts characters, the worker bytes: these count only where not all is ASCII.
const IN_BYTES: &[(&str, &str)] = &[
    ("subject", "is longer than 998 bytes"),
    ("id", "must have 1 to 256 bytes"),
    ("tags", "is longer than 64 bytes"),
    ("attachments", "is longer than 256 bytes"),
];

fn of_any_type() -> BoxedStrategy<Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(1),
        json!(-1.5),
        json!("x"),
        json!([]),
        json!({}),
        json!(["x"]),
        json!([null]),
        json!({"x": "x"}),
    ])
    .boxed()
}

fn mostly(
    right: impl Strategy<Value = Value> + 'static,
    wrong: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<Value> {
    prop_oneof![30 => right, 2 => wrong, 1 => of_any_type()].boxed()
}

fn one_of(values: Vec<Value>) -> BoxedStrategy<Value> {
    prop::sample::select(values).boxed()
}

/// Texts of about so many characters, in letters of one byte and of two.
fn about(length: usize) -> BoxedStrategy<Value> {
    let letters = prop::sample::select(vec!["x", "é"]);
    (letters, length.saturating_sub(1)..length + 2)
        .prop_map(|(letter, count)| letter.repeat(count).into())
        .boxed()
}

fn a_control() -> BoxedStrategy<Value> {
    prop::sample::select(vec!["\0", "\r\n", "\t", "\u{7f}", "\u{85}", "\u{2028}", "\u{2029}"])
        .prop_map(|control| format!("a{control}b@c.d").into())
        .boxed()
}

/// An object of some of these members.
fn object(members: Vec<(&'static str, f64, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = members
        .into_iter()
        .map(|(name, chance, value)| (name, prop::option::weighted(chance, value)))
        .unzip();
    values
        .prop_map(move |values| {
            let members = names.iter().zip(values);
            let given = members.filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
            Value::Object(given.collect())
        })
        .boxed()
}

/// An object with names of its own.
fn mapped(
    name: impl Strategy<Value = Value> + 'static,
    value: BoxedStrategy<Value>,
    count: std::ops::Range<usize>,
) -> BoxedStrategy<Value> {
    let name = name.prop_map(|name| name.as_str().unwrap_or_default().to_owned());
    prop::collection::vec((name, value), count)
        .prop_map(|entries| Value::Object(entries.into_iter().collect::<Map<_, _>>()))
        .boxed()
}

fn an_address() -> BoxedStrategy<Value> {
    let bare = prop_oneof![
        "[a-z]{1,5}@[a-z]{1,5}\\.[a-z]{2}".prop_map(Value::from),
        one_of(vec![
            json!("é@bücher.example"),
            json!("\"a b\"@x.y"),
            json!("a@[192.0.2.1]"),
            // Soft hyphens are no part of a domain.
            json!(format!("a@ü{}.example", "\u{ad}".repeat(300))),
        ]),
    ];
    let bad = || {
        prop_oneof![
            a_control(),
            about(255),
            one_of(vec![
                json!("ada"),
                json!(""),
                json!("a@b.c, d@e.f"),
                json!("a \"b\" <a@b.c>"),
                json!("\"a@b.c")
            ]),
        ]
    };
    let name = mostly(one_of(vec![json!("Ada"), json!(""), json!(null), json!("é \"x\", y")]), a_control());
    let parts = object(vec![
        ("email", 0.98, mostly(bare.clone(), bad())),
        ("name", 0.7, name),
        ("x", 0.1, of_any_type()),
    ]);
    prop_oneof![20 => bare, 3 => Just(json!("Ada <a@b.c>")), 15 => parts, 1 => bad(), 1 => of_any_type()]
        .boxed()
}

fn addresses() -> BoxedStrategy<Value> {
    let many = (98..103_usize)
        .prop_map(|count| (0..count).map(|n| Value::from(format!("r{n}@x.y"))).collect::<Vec<_>>().into());
    prop_oneof![
        15 => an_address(),
        15 => prop::collection::vec(an_address(), 0..4).prop_map(Value::from),
        1 => many,
        1 => of_any_type(),
    ]
    .boxed()
}

fn an_attachment() -> BoxedStrategy<Value> {
    let content = prop_oneof![
        8 => one_of(vec![json!(""), json!("QQ=="), json!("QUI="), json!("QUJD+/+/")]),
        1 => "[A-Dghw048+/=]{1,8}".prop_map(Value::from),
        1 => one_of(vec![json!("QQ"), json!("QR=="), json!("QQ==QQ=="), json!("QU\nI="), json!("-_-_")]),
    ];
    let filename = one_of(vec![json!("a.txt"), json!("../ü"), json!("a\"b")]);
    let content_type = one_of(vec![json!("image/png"), json!("a/b; c=\"d;e\""), json!(null)]);
    let content_id =
        one_of(vec![json!("x"), json!("<x@y>"), json!(null), json!(format!("<{}>", "x".repeat(256)))]);
    object(vec![
        (
            "filename",
            0.98,
            mostly(filename, prop_oneof![a_control(), one_of(vec![json!(""), json!("a/..")])]),
        ),
        ("content", 0.98, mostly(content.clone(), content)),
        (
            "content_type",
            0.5,
            mostly(
                content_type,
                prop_oneof![a_control(), about(256), one_of(vec![json!("png"), json!("a/b;"), json!("")])],
            ),
        ),
        (
            "content_id",
            0.3,
            mostly(
                content_id,
                prop_oneof![a_control(), about(257), one_of(vec![json!(""), json!("<>"), json!("é")])],
            ),
        ),
    ])
}

fn headers() -> BoxedStrategy<Value> {
    let known = ["X-A", "x-b", "LIST-Id", "References", "in-reply-to", "Precedence", "Feedback-ID"];
    let name = prop_oneof![
        20 => one_of(known.map(Value::from).to_vec()),
        4 => "[Xx]-[!-9;-~]{70,76}".prop_map(Value::from),
        2 => "[Ll]ist-[!-9;-~]{68,73}".prop_map(Value::from),
        1 => one_of(vec![json!("Subject"), json!("X-"), json!("List-"), json!(""), json!("X-A:"), json!("X-é"), json!("X-A\n")]),
    ];
    let value = mostly(
        one_of(vec![json!("x"), json!("<a@b> <c@d>"), json!(null), json!("é")]),
        prop_oneof![a_control(), one_of(vec![json!(""), json!("<é>"), json!("y".repeat(999))])],
    );
    let numbered = (0..100_000_usize).prop_map(|n| Value::from(format!("X-{n}")));
    prop_oneof![20 => mapped(name, value.clone(), 0..5), 1 => mapped(numbered, value, 48..54)].boxed()
}

fn tags() -> BoxedStrategy<Value> {
    let name = prop_oneof![8 => "[a-z\n]{1,5}".prop_map(Value::from), 1 => about(64)];
    let value = mostly(one_of(vec![json!("v"), json!(""), json!("a\nb"), json!(null)]), about(64));
    mapped(name, value, 0..13)
}

fn a_job() -> BoxedStrategy<Value> {
    let text =
        || mostly(one_of(vec![json!("x"), json!(""), json!("a\r\n\0"), json!(null)]), Just(json!("é")));
    let subject =
        mostly(one_of(vec![json!("s"), json!(""), json!(null)]), prop_oneof![a_control(), about(998)]);
    let id = mostly(
        one_of(vec![json!("1"), json!("a\nb"), json!(null)]),
        prop_oneof![Just(json!("")), about(256)],
    );
    let times = ["2026-11-24T02:07:47Z", "2026-11-24t02:07:47.5+01:00", "tomorrow", ""];
    let expires_at = one_of(times.map(Value::from).to_vec());
    object(vec![
        ("to", 0.98, addresses()),
        ("cc", 0.2, addresses()),
        ("bcc", 0.2, addresses()),
        ("from", 0.2, an_address()),
        ("reply_to", 0.2, an_address()),
        ("subject", 0.4, subject),
        ("text", 0.8, text()),
        ("html", 0.3, text()),
        ("template", 0.1, text()),
        ("otp", 0.1, text()),
        ("variables", 0.2, mostly(one_of(vec![json!({}), json!({"a": [null]}), json!(null)]), of_any_type())),
        (
            "attachments",
            0.3,
            mostly(prop::collection::vec(an_attachment(), 0..3).prop_map(Value::from), of_any_type()),
        ),
        ("headers", 0.3, mostly(headers(), of_any_type())),
        ("id", 0.3, id),
        ("expires_at", 0.2, mostly(expires_at, of_any_type())),
        ("tags", 0.3, mostly(tags(), of_any_type())),
        ("unknown", 0.1, of_any_type()),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_schema_and_the_worker_agree_but_for_what_only_the_worker_can_find(job in a_job()) {
        let text = job.to_string();
        let wrong: Vec<_> = SCHEMA.iter_errors(&job).map(|error| error.to_string()).collect();
        match decoded(&text) {
            Ok(()) => prop_assert!(wrong.is_empty(), "the worker takes it, the schema says {:?}", wrong),
            Err(failure) => {
                prop_assert!(matches!(failure.cause, Cause::Malformed | Cause::Invalid));
                let is_in = |list: &[(&str, &str)]| {
                    list.iter().any(|(start, says)| {
                        failure.reason.starts_with(start) && failure.reason.contains(says)
                    })
                };
                let is_beyond = is_in(BEYOND_A_SCHEMA) || !text.is_ascii() && is_in(IN_BYTES);
                prop_assert!(!wrong.is_empty() || is_beyond, "the schema takes it: {}", failure.reason);
                prop_assert!(failure.cause == Cause::Invalid || !wrong.is_empty(), "{}", failure.reason);
            }
        }
    }
}
