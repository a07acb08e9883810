//! The e-mail that calls a human: letters were parked.

use mailroom_actors::domain::job::Record;
use serde_json::json;

use super::records::written_time;

/// A day.
const EXPIRES_AFTER_MS: i64 = 86_400_000;

/// The job for `topic` that tells `to` of so many newly parked letters, of so many in all.
pub fn job(to: &str, parked: u64, in_all: u64, now_ms: i64, topic: &str) -> Record {
    let letters = if parked == 1 { "1 dead letter needs" } else { &format!("{parked} dead letters need") };
    let text = format!(
        "{letters} a human: what failed was tried again as often as it may be, and failed each time.\n\
         In all, {in_all} are parked.\n\n\
         What failed, and why:       mailroom dlq groups --state parked\n\
         One by one:                 mailroom dlq ls --state parked\n\
         Once it is put right:       mailroom dlq replay --state parked --include parked --reason \"...\"\n\
         What is not to be sent:     mailroom dlq discard --state parked --reason \"...\"\n\n\
         There is at most one such e-mail an hour.\n"
    );
    let job = json!({
        "to": to,
        "subject": format!("Mailroom: {letters} a human"),
        "text": text,
        "id": format!("mailroom-parked-{now_ms}"),
        // Then nobody needs it any more, and it is not parked itself, which would call for another one.
        "expires_at": written_time(now_ms + EXPIRES_AFTER_MS),
    });
    Record {
        topic: topic.into(),
        partition: -1,
        offset: -1,
        timestamp_ms: None,
        key: None,
        value: Some(job.to_string().into()),
        headers: Vec::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::job;

    #[test]
    fn the_notice_is_a_job_that_the_worker_takes() {
        for (parked, subject) in
            [(1, "Mailroom: 1 dead letter needs a human"), (7, "Mailroom: 7 dead letters need a human")]
        {
            let record = super::job("Ada <ada@example.com>", parked, 9, 5, "email-queue");
            let read = job::decode(&record, usize::MAX).unwrap();
            assert_eq!(read.recipients().count(), 1);
            let value: serde_json::Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            assert_eq!(value["subject"], subject);
            assert_eq!(read.expires_at.unwrap().timestamp_millis(), 86_400_005);
        }
    }
}
