//! The schemas in the repository are those of the types, and say what the worker does.

mod properties;

use mailroom_actors::domain::failure::Failure;
use mailroom_actors::domain::job::Record;

use super::*;

#[test]
fn the_files_in_the_repository_are_current() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schemas");
    for (name, schema) in [("job", job()), ("dead-letter", dead_letter())] {
        let path = format!("{folder}/{name}.schema.json");
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(file == schema, "write it anew: mailroom schema {name} >{path}");
    }
}

/// Jobs as they are taken or not, where a schema can tell.
const JOBS: &[(&str, bool)] = &[
    (r#"{"to":"a@b.c","otp":"1"}"#, true),
    (r#"{"to":["a@b.c",{"email":"d@e.f","name":"D"}],"cc":null,"bcc":"g@h.i","text":""}"#, true),
    (
        r#"{"to":"a@b.c","html":"x","from":"F <f@b.c>","reply_to":{"email":"r@b.c","name":null},"unknown":[1]}"#,
        true,
    ),
    (r#"{"to":"a@b.c","template":"t","variables":{"x":[null]},"otp":null}"#, true),
    (
        r#"{"to":"a@b.c","text":"x","attachments":[{"filename":"a","content":"QQ==","content_type":null},
            {"filename":"b","content":"","content_id":"<x>"}],"headers":{"x-a":"b","LIST-Id":"<l.m>","X-N":null},
            "id":"1","expires_at":"2026-11-24T02:07:47Z","tags":{"a":"b","n":null}}"#,
        true,
    ),
    (r#"{"otp":"1"}"#, false),
    (r#"{"to":null,"otp":"1"}"#, false),
    (r#"{"to":7,"otp":"1"}"#, false),
    (r#"{"to":[null],"otp":"1"}"#, false),
    (r#"{"to":{"name":"A"},"otp":"1"}"#, false),
    (r#"{"to":"a@b.c"}"#, false),
    (r#"{"to":"a@b.c","text":null}"#, false),
    (r#"{"to":"a@b.c","otp":1}"#, false),
    (r#"{"to":"a@b.c","otp":"1","template":"t"}"#, false),
    (r#"{"to":"a@b.c","text":"x","subject":"a\nb"}"#, false),
    (r#"{"to":"a@b.c","text":"x","id":""}"#, false),
    (r#"{"to":"a@b.c","text":"x","variables":[]}"#, false),
    (r#"{"to":"a@b.c","text":"x","headers":{"Subject":"x"}}"#, false),
    (r#"{"to":"a@b.c","text":"x","headers":{"X-A":1}}"#, false),
    (r#"{"to":"a@b.c","text":"x","headers":{"X-A":"a\u2028b"}}"#, false),
    (r#"{"to":"a@b.c","text":"x","attachments":{}}"#, false),
    (r#"{"to":"a@b.c","text":"x","attachments":[{"filename":"a"}]}"#, false),
    (r#"{"to":"a@b.c","text":"x","attachments":[{"filename":"a","content":"QQ="}]}"#, false),
    (r#"{"to":"a@b.c","text":"x","expires_at":1}"#, false),
    (r#"{"to":"a@b.c","text":"x","tags":{"a":1}}"#, false),
];

/// What a program has that checks jobs before they are sent.
fn validator() -> jsonschema::Validator {
    let schema = serde_json::from_str(&job()).expect("it is JSON");
    jsonschema::validator_for(&schema).expect("it is a schema")
}

/// What the worker says of it.
fn decoded(text: &str) -> Result<(), Failure> {
    let record = Record {
        topic: "email-queue".into(),
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: None,
        value: Some(text.as_bytes().to_vec().into()),
        headers: Vec::new(),
    };
    crate::job::decode(&record, usize::MAX).map(|_| ())
}

#[test]
fn the_schema_takes_what_the_worker_takes() {
    let schema = validator();
    for (text, is_taken) in JOBS {
        let value: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
        assert_eq!(decoded(text).is_ok(), *is_taken, "the worker: {text}");
        assert_eq!(schema.is_valid(&value), *is_taken, "the schema: {text}");
    }
}
