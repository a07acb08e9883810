//! The dead letter queue laid out to be worked with: both its topics are read into memory, once, for one command.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use mailroom_actors::domain::letters::filter::Filter;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::{Ended, Outcome, failed};
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::spinner::PATIENCE;
use crate::cli::{ConfigurationArguments, WRONG_CONFIGURATION, wrong_configuration};
use crate::config::{self, Kafka, LetterWork, Log, LogFormat};
use crate::dlq::archive::Archive;
use crate::dlq::reader::{self, Reader};
use crate::dlq::shelf::Shelf;
use crate::dlq::view::AT_LEAST_ONCE;
use crate::kafka::ends::Ends;
use crate::kafka::{StartProblem, topics};
use crate::telemetry::Telemetry;

/// So long nothing may come of what is still to be read.
const SILENCE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// See the module's text.
pub(super) struct Desk {
    pub kafka: Kafka,
    pub message_bytes: usize,
    pub archive: Archive,
    pub runtime: Runtime,
    has_decisions: bool,
    _reader: Reader,
    _telemetry: Telemetry,
}

impl Desk {
    /// Reads the configuration, then both topics to their ends.
    pub fn open(configuration: ConfigurationArguments) -> Outcome<Desk> {
        Desk::open_with(load(configuration)?)
    }

    /// The same, where the configuration was read before.
    pub fn open_with(LetterWork { kafka, dlq, message_bytes }: LetterWork) -> Outcome<Desk> {
        // What is asked for is told in the log too; somebody at a terminal sees it anyway.
        let level = if io::stderr().is_terminal() { "error" } else { "info" };
        let log = Log { format: LogFormat::Auto, level: level.into() };
        let runtime = Telemetry::start(&log)
            .and_then(|log| Ok((log, tokio::runtime::Builder::new_current_thread().enable_all().build()?)));
        let (telemetry, runtime) =
            runtime.map_err(|error| failed(format_args!("the process can't be set up: {error}")))?;
        if dlq.index_letters == 0 {
            return Err(failed(
                "dlq.index_letters is 0, so no letters are read: give this command --set dlq.index_letters=1000000",
            ));
        }
        let wanted = vec![kafka.dlq_topic.clone(), kafka.decisions_topic.clone()];
        let missing = runtime.block_on(topics::missing(&kafka, wanted)).map_err(|error| told(&error))?;
        if missing.contains(&kafka.dlq_topic) {
            return Err(failed(format_args!(
                "topic {} is not there: a worker makes it when it starts; kafka.dlq_topic says which it is",
                kafka.dlq_topic
            )));
        }
        let has_decisions = missing.is_empty();
        let shelf = Arc::new(Shelf::new(dlq.index_letters));
        if !has_decisions {
            shelf.decisions_are_read();
        }
        let reader = reader::start(&kafka, dlq.index_letters, &shelf).map_err(|error| told(&error))?;
        let archive = Archive::new(&kafka, &dlq, &shelf);
        runtime.block_on(read(&kafka, &shelf))?;
        if shelf.index.read().is_cut() {
            output::tell(format_args!(
                "only the newest {} letters were looked through: dlq.index_letters",
                dlq.index_letters
            ));
        }
        Ok(Desk {
            kafka,
            message_bytes,
            archive,
            runtime,
            has_decisions,
            _reader: reader,
            _telemetry: telemetry,
        })
    }

    /// Nothing can be decided where decisions have no topic.
    pub fn needs_decisions(&self) -> Outcome<()> {
        if self.has_decisions {
            return Ok(());
        }
        Err(failed(format_args!(
            "topic {} is not there, so nothing can be decided: a worker makes it when it starts, or create it, compacted, \
             with as many partitions as {}",
            self.kafka.decisions_topic, self.kafka.dlq_topic
        )))
    }

    /// Each letter that is named must be there: else a slip of the pen would look like work done.
    pub fn has_named(&self, filter: &Filter) -> Outcome<()> {
        let index = self.archive.shelf.index.read();
        let missing: Vec<String> = filter
            .letters
            .iter()
            .filter(|name| index.find(**name).is_none())
            .map(ToString::to_string)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let shown = missing.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more =
            if missing.len() > 10 { format!(" and {} more", missing.len() - 10) } else { String::new() };
        Err(failed(format_args!(
            "not on {}: {shown}{more}; 'mailroom dlq ls' lists letters",
            self.kafka.dlq_topic
        )))
    }

    /// Whoever acts without transactions, or has acted, is told what that means.
    pub fn tell_of_the_guarantee<'a>(&self, guarantees: impl IntoIterator<Item = &'a str>) {
        if guarantees.into_iter().any(|guarantee| guarantee == AT_LEAST_ONCE) {
            output::tell(
                "without transactions (dlq.transactions): a crash of a worker may replay a letter twice",
            );
        }
    }

    /// What is said where there is nothing to print.
    pub fn tell_of_nothing(&self) {
        let is_empty = self.archive.shelf.index.read().is_empty();
        output::tell(if is_empty { "there are no dead letters" } else { "no letter matches" });
    }
}

/// The configuration alone.
pub(super) fn load(configuration: ConfigurationArguments) -> Outcome<LetterWork> {
    config::load_letter_work(&configuration.sources())
        .map_err(|problems| Ended(wrong_configuration(&problems)))
}

fn told(problem: &StartProblem) -> Ended {
    match problem {
        StartProblem::Away(text) => {
            failed(format_args!("{text}: is kafka.brokers right, and can they be reached from here?"))
        }
        StartProblem::Misconfigured(text) => {
            output::tell(text);
            Ended(WRONG_CONFIGURATION)
        }
    }
}

/// Waits until all is read.
async fn read(kafka: &Kafka, shelf: &Shelf) -> Outcome<()> {
    let mut bar = ReadingBar::new(kafka);
    let (mut read, mut heard_at) = (0, Instant::now());
    while !shelf.is_complete() {
        let now_read = shelf.index.read().len();
        if now_read != read {
            (read, heard_at) = (now_read, Instant::now());
        }
        if heard_at.elapsed() >= SILENCE {
            bar.end();
            return Err(failed(format_args!(
                "brokers do not give all of {} and {}: nothing came for {} s; 'mailroom check --online' looks at them",
                kafka.dlq_topic,
                kafka.decisions_topic,
                SILENCE.as_secs()
            )));
        }
        bar.at(read as u64);
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    bar.end();
    Ok(())
}

/// The bar of reading: it comes late, so only then it is asked how much there is to read.
struct ReadingBar<'a> {
    kafka: &'a Kafka,
    begun: Instant,
    bar: Option<Progress>,
}

impl ReadingBar<'_> {
    fn new(kafka: &Kafka) -> ReadingBar<'_> {
        ReadingBar { kafka, begun: Instant::now(), bar: None }
    }

    fn at(&mut self, read: u64) {
        if self.bar.is_none() && self.begun.elapsed() >= PATIENCE && io::stderr().is_terminal() {
            // Reading goes on in its own threads while this is asked.
            let ends = Ends::new(self.kafka).ok().and_then(|ends| ends.of(&self.kafka.dlq_topic).ok());
            let total = ends.map(|ends| ends.iter().map(|end| end.high.abs_diff(end.low)).sum());
            let mut bar = Progress::of(total, "letters");
            bar.show();
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.at(read);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.end();
        }
    }
}
