//! `mailroom dlq edit`: one job changed, and put back on the queue.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::rules::Action;

use super::act::{self, Consent};
use super::desk::{self, Desk};
use super::{Outcome, editor, failed, person, refused, wrong_usage};
use crate::cli::output;
use crate::cli::{ConfigurationArguments, DONE};
use crate::dlq::archive::Whole;
use crate::dlq::original::Job;
use crate::dlq::request::Request;
use crate::job;

pub(super) const EXAMPLE: &str = "Without --value $VISUAL or $EDITOR opens on the job. Unchanged, nothing is done; changed, it is read as the worker\n\
reads it before it is asked for.\n\n\
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\n\
Example:\n  mailroom dlq edit 0-17 --reason 'wrong address'\n  \
mailroom dlq edit 0-17 --reason 'wrong address' --value job.json --yes --wait";

#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// Its name, such as 0-17
    letter: LetterName,

    /// The changed job; from stdin, where it is "-"
    #[arg(long, value_name = "FILE")]
    value: Option<PathBuf>,

    #[command(flatten)]
    consent: Consent,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) fn run(arguments: Arguments) -> Outcome {
    let Arguments { letter, value, consent, configuration } = arguments;
    if value.is_none() && !person::is_there() {
        return Err(wrong_usage(
            "there is no terminal for an editor: give --value FILE, or --value - for stdin",
        ));
    }
    consent.can_be_given()?;
    let work = desk::load(configuration)?;
    if !work.dlq.allow_edit {
        return Err(failed(
            "jobs may not be changed here: dlq.allow_edit = true (or --set dlq.allow_edit=true) allows it",
        ));
    }
    let given = value.as_deref().map(read).transpose()?;
    let desk = Desk::open_with(work)?;
    let whole = desk.runtime.block_on(desk.archive.show(letter)).map_err(refused)?;
    let original = match whole.job() {
        Job::Whole(original) => original.unwrap_or_default(),
        Job::Omitted => {
            return Err(failed(
                "this letter does not hold its job, so it can't be sent again: send a new one",
            ));
        }
    };
    let changed = match given {
        Some(given) => given,
        None => editor::edit(&original).map_err(failed)?,
    };
    if changed == original {
        output::tell("unchanged: nothing is done");
        return Ok(DONE);
    }
    let changed = checked(changed, &whole, desk.message_bytes)?;
    let request = Request {
        action: Action::Replay,
        filter: Filter { letters: [letter].into(), ..Filter::default() },
        reason: consent.reason(),
        rate: None,
        canary: 0,
        max: None,
        // Whoever changes a job has looked at it.
        include_permanent: true,
        include_parked: true,
        value: Some(changed),
        by: person::login(),
    };
    act::carry_out(&desk, &request, &consent)
}

fn read(file: &Path) -> Outcome<Vec<u8>> {
    let read = if file == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text).map(|_| text)
    } else {
        fs::read(file)
    };
    read.map_err(|error| failed(format_args!("{}: {error}", file.display())))
}

/// The job, where it is one that the worker takes; a mistake is told, and may be mended at a terminal.
fn checked(mut changed: Vec<u8>, whole: &Whole, message_bytes: usize) -> Outcome<Vec<u8>> {
    while let Some(mistake) = mistake(&changed, whole, message_bytes) {
        output::tell(format_args!("no e-mail can be made of it: {mistake}"));
        if !person::is_there() || !person::agrees("edit it again?") {
            return Err(failed("nothing is done: put the job right"));
        }
        changed = editor::edit(&changed).map_err(failed)?;
    }
    Ok(changed)
}

fn mistake(changed: &[u8], whole: &Whole, message_bytes: usize) -> Option<String> {
    let mut record = whole.record.clone();
    record.value = Some(Bytes::copy_from_slice(changed));
    job::decode(&record, message_bytes).err().map(|failure| failure.reason)
}

#[cfg(test)]
mod tests {
    use mailroom_actors::domain::job::Record;

    use super::*;
    use crate::dlq::shelf::Shelf;

    #[test]
    fn a_job_is_read_as_the_worker_reads_it() {
        let record = Record {
            topic: "email-dlq".into(),
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        let whole = Whole::of(record, None, &Shelf::new(1));
        assert_eq!(mistake(br#"{"to": "ada@example.com", "otp": "1"}"#, &whole, 1000), None);
        for (job, says) in [
            (&b"{"[..], "JSON"),
            (br#"{"to": "ada", "otp": "1"}"#, "to"),
            (br#"{"to": "ada@example.com"}"#, "nothing to say"),
            (&[b' '; 1001], "limits.message_bytes"),
        ] {
            let told = mistake(job, &whole, 1000).unwrap_or_default();
            assert!(told.contains(says), "{told}");
        }
    }
}
