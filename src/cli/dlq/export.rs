//! `mailroom dlq export`: every letter that matches, whole, for other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::Utc;
use clap::{Args, ValueEnum};
use mailroom_actors::domain::job::Record;

use super::desk::Desk;
use super::select::FilterArguments;
use super::{Outcome, csv, failed, told, words};
use crate::cli::output::Lines;
use crate::cli::{ConfigurationArguments, DONE};
use crate::dlq::archive::Whole;
use crate::dlq::full_view::FullView;
use crate::kafka::fetch::Fetcher;

pub(super) const EXAMPLE: &str = "Addresses are masked and the original message is left out, unless --reveal is given.\n\n\
Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.\n\n\
Example:\n  mailroom dlq export --format ndjson --cause invalid_recipient > letters.ndjson\n  \
mailroom dlq export --format csv --state parked --reveal > letters.csv";

/// So many letters are fetched at once, and so many bytes of them.
const AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 16 << 20;
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// One JSON object a line, or comma-separated values
    #[arg(long)]
    format: Format,

    /// With addresses, and the original message with whatever it holds: codes, passwords, bodies
    #[arg(long)]
    reveal: bool,

    #[command(flatten)]
    filter: FilterArguments,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Ndjson,
    Csv,
}

pub(super) fn run(Arguments { format, reveal, filter, configuration }: Arguments) -> Outcome {
    let filter = filter.read(Utc::now())?;
    let desk = Desk::open(configuration)?;
    desk.has_named(&filter)?;
    let letters = {
        let index = desk.archive.shelf.index.read();
        index.page(&filter, None, index.len()).letters
    };
    if letters.is_empty() {
        desk.tell_of_nothing();
    }
    // By partition: the offset of each letter, and that of its decision.
    let mut wanted: BTreeMap<i32, BTreeMap<i64, Option<i64>>> = BTreeMap::new();
    for (name, row) in letters {
        wanted.entry(name.partition).or_default().insert(name.offset, row.decided_at);
    }
    let fetcher = Fetcher::new(&desk.kafka);
    let mut export = Export { desk: &desk, fetcher, format, reveal, lines: Lines::stdout() };
    if format == Format::Csv {
        told(export.lines.write_bytes(csv::line(columns(reveal)).as_bytes()))?;
    }
    for (partition, letters) in wanted {
        export.partition(partition, letters)?;
    }
    Ok(DONE)
}

struct Export<'a> {
    desk: &'a Desk,
    fetcher: Fetcher,
    format: Format,
    reveal: bool,
    lines: Lines,
}

impl Export<'_> {
    fn partition(&mut self, partition: i32, mut letters: BTreeMap<i64, Option<i64>>) -> Outcome<()> {
        while !letters.is_empty() {
            let some: BTreeSet<i64> = letters.keys().copied().take(AT_ONCE).collect();
            let topic = &self.desk.kafka.dlq_topic;
            let fetched = self.fetcher.fetch_up_to(topic, partition, &some, BYTES_AT_ONCE, FETCH_TIMEOUT);
            let (records, below) = fetched.map_err(failed)?;
            let dealt_with: BTreeMap<i64, Option<i64>> =
                some.range(..below).filter_map(|offset| letters.remove_entry(offset)).collect();
            let decisions = self.decisions(partition, &dealt_with)?;
            for record in records {
                self.letter(record, &decisions)?;
            }
        }
        Ok(())
    }

    /// The decisions of those letters, by their own offsets.
    fn decisions(
        &self,
        partition: i32,
        letters: &BTreeMap<i64, Option<i64>>,
    ) -> Outcome<BTreeMap<i64, Record>> {
        let offsets: BTreeSet<i64> = letters.values().flatten().copied().collect();
        if offsets.is_empty() {
            return Ok(BTreeMap::new());
        }
        let topic = &self.desk.kafka.decisions_topic;
        let records = self.fetcher.fetch(topic, partition, &offsets, FETCH_TIMEOUT).map_err(failed)?;
        let by_offset: BTreeMap<i64, Record> =
            records.into_iter().map(|record| (record.offset, record)).collect();
        let of =
            |(letter, decision): (&i64, &Option<i64>)| Some((*letter, by_offset.get(&(*decision)?)?.clone()));
        Ok(letters.iter().filter_map(of).collect())
    }

    fn letter(&mut self, record: Record, decisions: &BTreeMap<i64, Record>) -> Outcome<()> {
        let decision = decisions.get(&record.offset);
        let whole = Whole::of(record, decision, &self.desk.archive.shelf);
        let view = FullView::of(&whole, self.reveal);
        told(match self.format {
            Format::Ndjson => {
                self.lines.write(serde_json::to_string(&view).expect("texts and numbers always make JSON"))
            }
            Format::Csv => {
                let cells = cells(&view, self.reveal);
                self.lines.write_bytes(csv::line(cells.iter().map(String::as_str)).as_bytes())
            }
        })
    }
}

/// Fields of the letter that have a column.
const FIELDS: [&str; 14] = [
    "cause",
    "stage",
    "smtp_code",
    "enhanced_code",
    "error_reason",
    "recipients",
    "failed_at",
    "retry_count",
    "replay_count",
    "idempotency_key",
    "message_id",
    "tags",
    "source",
    "worker_id",
];

fn columns(reveal: bool) -> impl Iterator<Item = &'static str> {
    let decided = ["decided_at", "decided_by", "decided_why", "run", "replayed_from", "replayed_as"];
    let before = ["letter", "state", "at", "key"].into_iter().chain(FIELDS).chain(decided);
    before.chain(reveal.then_some("job"))
}

fn cells(view: &FullView, reveal: bool) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let state = view.state.unwrap_or("unknown").to_owned();
    let mut cells = vec![view.letter.clone(), state, view.at.clone(), words::of(view.key.as_ref())];
    cells.extend(FIELDS.map(|name| words::of(view.fields.get(name))));
    // The latest comes first.
    cells.extend(match view.decisions.iter().flatten().next() {
        Some(step) => [step.at.clone(), step.by.clone(), step.reason.clone(), text(&step.run)],
        None => Default::default(),
    });
    cells.extend([text(&view.replayed_from), text(&view.replayed_as)]);
    if reveal {
        let shown = view.fields.get("original").or(view.fields.get("value"));
        cells.push(words::of(shown.map(|shown| shown.get("text").unwrap_or(shown))));
    }
    cells
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_a_cell_for_each_column() {
        let mut fields = json!({"cause": "quota", "recipients": ["a@b.c", "d@b.c"], "smtp_code": 552});
        fields["original"] = json!({"text": "{}"});
        let view = FullView {
            letter: "0-17".into(),
            state: Some("waiting"),
            at: "2026-11-24T02:07:47.123Z".into(),
            key: None,
            headers: Vec::new(),
            fields: fields.as_object().unwrap().clone(),
            unreadable: None,
            replayed_from: None,
            replayed_as: None,
            decisions: None,
        };
        for reveal in [false, true] {
            assert_eq!(cells(&view, reveal).len(), columns(reveal).count());
            let cell =
                |name: &str| cells(&view, reveal)[columns(reveal).position(|of| of == name).unwrap()].clone();
            assert_eq!((cell("smtp_code"), cell("recipients")), ("552".into(), "a@b.c d@b.c".into()));
        }
        assert_eq!(cells(&view, true).last().map(String::as_str), Some("{}"));
    }
}
