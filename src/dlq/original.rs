//! The job's bytes, out of a letter's `original_message`: the reverse of what `dead_letter` writes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailroom_actors::domain::failure::Cause;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a letter holds of its job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// The record's value; none where it was null.
    Whole(Option<Vec<u8>>),
    /// It was larger than the queue took: only its size and its hash are there.
    Omitted,
}

/// The job that `original` stands for in a letter of that cause.
///
/// An object is the job itself, but `{"base64": …}` where no job could be read and `{"omitted": true, …}`; a string is the
/// text of what was no JSON.
pub fn job(original: &RawValue, cause: Option<Cause>) -> Job {
    let json = original.get();
    match json.as_bytes().first() {
        Some(b'n') => Job::Whole(None),
        Some(b'"') => {
            Job::Whole(Some(serde_json::from_str(json).map_or_else(|_| json.into(), String::into_bytes)))
        }
        _ if is_stub(json) => Job::Omitted,
        _ => Job::Whole(Some(decoded(json, cause).unwrap_or_else(|| json.into()))),
    }
}

/// Whether a letter with this `original_message` can't give its job back.
pub fn is_stub(json: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Stub {
        omitted: bool,
        #[serde(rename = "bytes")]
        _bytes: u64,
        #[serde(rename = "sha256")]
        _sha256: String,
    }
    // Nothing else is worth a try.
    json.starts_with("{\"omitted\"") && serde_json::from_str::<Stub>(json).is_ok_and(|stub| stub.omitted)
}

fn decoded(json: &str, cause: Option<Cause>) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Encoded<'a> {
        #[serde(borrow)]
        base64: &'a str,
    }
    // A job that can be read as one is no such object.
    let unread = matches!(cause, Some(Cause::Malformed | Cause::TooLarge | Cause::Crash) | None);
    let encoded: Encoded<'_> = serde_json::from_str(json).ok().filter(|_| unread)?;
    STANDARD.decode(encoded.base64).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(json: &str, cause: Cause) -> Job {
        job(&RawValue::from_string(json.into()).unwrap(), Some(cause))
    }

    #[test]
    fn a_job_comes_back_byte_for_byte() {
        let whole = |bytes: &[u8]| Job::Whole(Some(bytes.to_vec()));
        let job = r#"{"to": "ada@example.com",  "otp": "1"}"#;
        assert_eq!(of(job, Cause::Quota), whole(job.as_bytes()));
        assert_eq!(of("null", Cause::Malformed), Job::Whole(None));
        assert_eq!(of("\"\"", Cause::Malformed), whole(b""));
        assert_eq!(of(r#""not \"json\"""#, Cause::Malformed), whole(b"not \"json\""));
        assert_eq!(of(r#"{"base64":"/wA="}"#, Cause::Malformed), whole(b"\xff\0"));
        assert_eq!(of("[1]", Cause::Malformed), whole(b"[1]"));
    }

    #[test]
    fn an_object_of_the_job_s_own_is_not_taken_for_ours() {
        let whole = |text: &str| Job::Whole(Some(text.into()));
        for json in [r#"{"base64":"/wA="}"#, r#"{"omitted":true}"#] {
            assert_eq!(of(json, Cause::Invalid), whole(json));
        }
        let json = r#"{"base64":"/wA=","to":"a@b.c"}"#;
        assert_eq!(of(json, Cause::Crash), whole(json));
    }

    #[test]
    fn a_stub_holds_no_job() {
        assert_eq!(of(r#"{"omitted":true,"bytes":9,"sha256":"00"}"#, Cause::Quota), Job::Omitted);
    }
}
