//! Any job, good or bad: sent as it was meant, by the reading of two parsers that are not ours, or explained in the dead
//! letter queue, and nothing blocked.
//!
//! `ANY_JOBS=100000` makes so many; `ANY_SEED` begins elsewhere.

mod job;
mod mail;

use std::collections::{BTreeMap, HashMap};

use job::{Expected, FROM, Generator, Job, Offers, TEMPLATES};
use mail::{Attachment, Mail, Mailbox};

use crate::harness::kafka::Record;
use crate::harness::process::scratch_with;
use crate::harness::queue::DeadLetter;
use crate::harness::recording_smtp::Attempt;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, TestWorker};

/// Over it a job is `too_large`.
const MESSAGE_BYTES: &str = "400KiB";
/// So many jobs are waited for at a time, and so many e-mails are read by Python at a time.
const PART: usize = 1000;

#[test]
fn any_job_is_sent_as_it_was_meant_or_explained() {
    let extensions = ["PIPELINING", "SIZE 10485760", "8BITMIME", "SMTPUTF8"];
    let count = from_environment("ANY_JOBS").unwrap_or(1200);
    let taken = send_any(count, &extensions, Offers { smtputf8: true });
    let with = |parameter: &str| taken.iter().filter(|attempt| attempt.mail.contains(parameter)).count();
    assert!(with("BODY=8BITMIME") > 0 && with("SMTPUTF8") > 0, "the relay's extensions are used");
    assert!(with("SMTPUTF8") < taken.len() / 2, "only where an address needs it");
}

#[test]
fn a_relay_without_extensions_gets_any_job_in_seven_bits() {
    let taken = send_any(600, &[], Offers { smtputf8: false });
    for attempt in &taken {
        assert!(attempt.taken.as_ref().is_some_and(|raw| raw.is_ascii()), "{}", attempt.mail);
        assert!(attempt.mail.ends_with('>'), "no parameters: {}", attempt.mail);
    }
}

fn from_environment(name: &str) -> Option<usize> {
    std::env::var(name).ok().map(|text| text.parse().expect("it is a number"))
}

/// Sends so many jobs; returns the transactions in which e-mails were taken.
#[allow(clippy::print_stdout, reason = "the figures of a run with --nocapture")]
fn send_any(count: usize, extensions: &[&str], offers: Offers) -> Vec<Attempt> {
    let seed = from_environment("ANY_SEED").unwrap_or(9);
    println!("{count} jobs from seed {seed}");
    let mut generator = Generator::new(seed as u64, offers);
    let jobs: Vec<Job> = (0..count).map(|number| generator.job(number)).collect();

    let relay = RecordingSmtp::offering(extensions, |_| Answer::Accept);
    let queue = Queue::new(Kafka::shared(), 1);
    let settings = Settings::new(&queue, relay.port())
        .set("smtp.from", format!("{} <{}>", FROM.0, FROM.1))
        .set("limits.message_bytes", MESSAGE_BYTES)
        .set("templates.dir", scratch_with("templates", TEMPLATES).display());
    let worker = TestWorker::start(&settings);
    for part in jobs.chunks(PART) {
        let records: Vec<Record> = part.iter().map(|job| Record::of(job.value.clone())).collect();
        queue.put_records(&records);
        // Not one of them keeps the others waiting.
        queue.wait_until_settled();
    }
    let metrics = worker.metrics();
    assert_eq!(metrics.sum("mailroom_actor_restarts_total"), 0.0, "no actor died");
    assert_eq!(metrics.get("mailroom_dead_letters_total", &[("cause", "crash")]), 0.0, "nothing panicked");
    worker.stop();

    assert_eq!(relay.out_of_place(), Vec::<String>::new(), "no e-mail ended before its end");
    let taken: Vec<Attempt> = relay.attempts().into_iter().filter(|a| a.taken.is_some()).collect();
    let letters = queue.dead_letters();
    assert_eq!(taken.len() + letters.len(), jobs.len(), "each job has one end");
    check(&jobs, &taken, &letters);
    taken
}

#[allow(clippy::print_stdout, reason = "as above")]
fn check(jobs: &[Job], taken: &[Attempt], letters: &[DeadLetter]) {
    let by_offset: HashMap<u64, &DeadLetter> = letters
        .iter()
        .map(|letter| (letter.value["source"]["offset"].as_u64().expect("a number"), letter))
        .collect();
    let by_recipient: HashMap<&str, &Attempt> =
        taken.iter().map(|attempt| (attempt.accepted[0].as_str(), attempt)).collect();
    let mut sent: Vec<(usize, &Mail, &[u8])> = Vec::new();
    let mut counts = [0usize; 3];
    for (number, job) in jobs.iter().enumerate() {
        let letter = by_offset.get(&(number as u64)).copied();
        let told =
            || format!("job {number}: {}", String::from_utf8_lossy(&job.value[..job.value.len().min(2000)]));
        match &job.expected {
            Expected::Sent { envelope, mail } => {
                assert!(letter.is_none(), "{}\n{:?}", told(), letter.map(|letter| &letter.value));
                let attempt =
                    by_recipient.get(envelope[0].as_str()).unwrap_or_else(|| panic!("not sent: {}", told()));
                assert_eq!(&attempt.accepted, envelope, "{}", told());
                let raw = attempt.taken.as_deref().expect("it was taken");
                assert_eq!(mail::flaw(raw), None, "{}", told());
                sent.push((number, mail, raw));
                counts[0] += 1;
            }
            Expected::DeadLettered { cause, reason } => {
                let letter = letter.unwrap_or_else(|| panic!("no dead letter: {}", told()));
                check_letter(letter, job);
                let text = letter.text("error_reason");
                assert_eq!(letter.text("cause"), *cause, "{text}: {}", told());
                assert!(text.contains(reason), "{text:?} should hold {reason:?}: {}", told());
                counts[1] += 1;
            }
            Expected::Either => {
                if let Some(letter) = letter {
                    check_letter(letter, job);
                }
                counts[2] += 1;
            }
        }
    }
    println!("{} sent, {} dead-lettered, {} damaged at random", counts[0], counts[1], counts[2]);
    let mut causes: BTreeMap<&str, usize> = BTreeMap::new();
    letters.iter().for_each(|letter| *causes.entry(letter.text("cause")).or_default() += 1);
    println!("dead letters, those of damaged jobs too: {causes:?}");
    assert!(counts.iter().all(|count| *count > jobs.len() / 100), "some of each: {counts:?}");
    for (number, expected, raw) in &sent {
        compare("mail-parser", *number, expected, Mail::parsed(raw), raw);
    }
    for part in sent.chunks(PART) {
        let raw: Vec<&[u8]> = part.iter().map(|(.., raw)| *raw).collect();
        let read = Mail::read_by_python(&raw);
        assert_eq!(read.len(), part.len());
        for ((number, expected, raw), read) in part.iter().zip(read) {
            assert_eq!(read.defects, Vec::<String>::new(), "job {number}: {}", String::from_utf8_lossy(raw));
            compare("Python", *number, expected, read, raw);
        }
    }
}

/// What every dead letter of a job that was never tried says.
fn check_letter(letter: &DeadLetter, job: &Job) {
    assert_eq!(letter.value["retry_count"], 0, "{}", letter.value);
    assert_eq!(letter.value["attempts"], serde_json::json!([]), "{}", letter.value);
    let stage = letter.text("stage");
    assert!(stage == "decode" || stage == "render", "{}", letter.value);
    assert!(!letter.text("error_reason").is_empty());
    let original = letter.original_message();
    let trimmed = job.value.trim_ascii();
    if letter.text("cause") != "malformed" {
        assert_eq!(original.as_bytes(), trimmed, "byte for byte");
        return;
    }
    let restored = match serde_json::from_str::<serde_json::Value>(&original).expect("it is JSON") {
        serde_json::Value::String(text) if original.as_bytes() != trimmed => text.into_bytes(),
        serde_json::Value::Object(object) if object.len() == 1 && object.contains_key("base64") => {
            use base64::Engine;
            let text = object["base64"].as_str().expect("it is text");
            base64::engine::general_purpose::STANDARD.decode(text).expect("it is base64")
        }
        _ => return assert_eq!(original.as_bytes(), trimmed, "byte for byte"),
    };
    assert_eq!(restored, job.value, "byte for byte");
}

fn compare(reader: &str, number: usize, expected: &Mail, mut seen: Mail, raw: &[u8]) {
    let told = format!(
        "job {number} as {reader} reads it:\n{}",
        String::from_utf8_lossy(&raw[..raw.len().min(6000)])
    );
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    assert_eq!(some(&seen.subject), some(&expected.subject), "{told}");
    // Python 3.11 puts a space between the encoded words of one name.
    let bare = |list: &[Mailbox]| -> Vec<Mailbox> {
        let is_python = reader == "Python";
        list.iter()
            .map(|(name, of)| (if is_python { name.replace(' ', "") } else { name.clone() }, of.clone()))
            .collect()
    };
    assert_eq!(bare(&seen.from), bare(&expected.from), "{told}");
    assert_eq!(bare(&seen.reply_to), bare(&expected.reply_to), "{told}");
    assert_eq!(bare(&seen.to), bare(&expected.to), "{told}");
    assert_eq!(bare(&seen.cc), bare(&expected.cc), "{told}");
    // A part that stands alone always ends with a line end.
    let is_lone = expected.attachments.is_empty() && (expected.text.is_none() || expected.html.is_none());
    for (seen, expected) in [(&seen.text, &expected.text), (&seen.html, &expected.html)] {
        let end = |text: &String| match is_lone {
            true => text.strip_suffix("\r\n").unwrap_or(text).to_owned(),
            false => text.clone(),
        };
        match (seen, expected) {
            (Some(seen), Some(expected)) if expected == "493021" => {
                assert_eq!(seen.matches("493021").count(), 1, "{told}");
            }
            (seen, expected) => assert_eq!(seen.as_ref().map(end), expected.as_ref().map(end), "{told}"),
        }
    }
    let sorted = |attachments: &[Attachment]| {
        let mut sorted = attachments.to_vec();
        sorted.sort_by(|a, b| (&a.content, &a.filename).cmp(&(&b.content, &b.filename)));
        sorted
    };
    assert_eq!(sorted(&seen.attachments), sorted(&expected.attachments), "{told}");
    compare_headers(reader, expected, &mut seen.headers, &told);
}

/// The expected header lines, and no others.
fn compare_headers(reader: &str, expected: &Mail, seen: &mut Vec<(String, String)>, told: &str) {
    for (name, value) in &expected.headers {
        let at = seen
            .iter()
            .position(|(of, _)| of.eq_ignore_ascii_case(name))
            .unwrap_or_else(|| panic!("no {name}: {told}"));
        let (_, found) = seen.remove(at);
        // mail-parser decodes only the headers that it knows.
        if !found.contains("=?") || reader != "mail-parser" {
            assert_eq!(&found, value, "{name}: {told}");
        }
    }
    let mut names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let mut usual = vec!["Content-Type", "Date", "From", "MIME-Version", "Message-ID", "To"];
    let lines = [
        ("Reply-To", !expected.reply_to.is_empty()),
        ("Cc", !expected.cc.is_empty()),
        ("Subject", expected.subject.is_some()),
        ("Content-Transfer-Encoding", names.contains(&"Content-Transfer-Encoding")),
    ];
    usual.extend(lines.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name));
    usual.sort_unstable();
    assert_eq!(names, usual, "{told}");
}
