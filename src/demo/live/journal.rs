//! What happened lately, for the live view: the log's lines and what was broken, in the order in which it came.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many entries are kept.
const MOST_ENTRIES: usize = 100;

/// What kind of entry it is, for its colour and the word before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something that the demo did.
    Deed,
    Warning,
    Error,
    /// Any other line of the log.
    Line,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Since the journal was begun.
    pub at: Duration,
    pub kind: Kind,
    pub text: String,
}

/// The journal, and a place for the log to write to. A copy is the same journal.
#[derive(Clone, Debug)]
pub struct Journal {
    began: Instant,
    entries: Arc<Mutex<VecDeque<Entry>>>,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal { began: Instant::now(), entries: Arc::default() }
    }
}

impl Journal {
    /// Enters what was done now.
    pub fn note(&self, kind: Kind, text: String) {
        let mut entries = self.entries.lock();
        if entries.len() == MOST_ENTRIES {
            entries.pop_front();
        }
        entries.push_back(Entry { at: self.began.elapsed(), kind, text });
    }

    /// All that is kept, the oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().iter().cloned().collect()
    }
}

impl Write for Journal {
    /// Takes whole lines of the log as text, as its queue hands them over.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(bytes).lines() {
            let (kind, text) = shorten(line);
            self.note(kind, text.to_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `TIME LEVEL TARGET: what happened` without the time and the target, which nobody has room for.
fn shorten(line: &str) -> (Kind, &str) {
    let line = line.trim();
    let Some((_, after_time)) = line.split_once(' ') else { return (Kind::Line, line) };
    let Some((level, after_level)) = after_time.trim_start().split_once(' ') else {
        return (Kind::Line, line);
    };
    let kind = match level {
        "ERROR" => Kind::Error,
        "WARN" => Kind::Warning,
        "INFO" | "DEBUG" | "TRACE" => Kind::Line,
        _ => return (Kind::Line, line),
    };
    (kind, after_level.split_once(": ").map_or(after_level, |(_, text)| text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_of_the_log_is_kept_without_its_time_and_target() {
        let mut journal = Journal::default();
        let log = "2026-11-24T20:55:08.123456Z ERROR mailroom_actors::supervisor: actor died: why slot=3\n\
                   2026-11-24T20:55:08.123456Z  WARN mailroom::kafka: kafka does not answer\n\
                   something else\n";
        journal.write_all(log.as_bytes()).unwrap();
        let entries: Vec<(Kind, String)> =
            journal.entries().into_iter().map(|entry| (entry.kind, entry.text)).collect();
        let expected = [
            (Kind::Error, "actor died: why slot=3"),
            (Kind::Warning, "kafka does not answer"),
            (Kind::Line, "something else"),
        ];
        assert_eq!(entries, expected.map(|(kind, text)| (kind, text.to_owned())));
    }

    #[test]
    fn the_oldest_entries_go_first() {
        let journal = Journal::default();
        (0..300).for_each(|number| journal.note(Kind::Deed, number.to_string()));
        let entries = journal.entries();
        assert_eq!((entries.len(), entries[0].text.as_str()), (MOST_ENTRIES, "200"));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "(ERROR|[A-Z: ]|.){0,40}") {
            let _ = shorten(&line);
        }
    }
}
