//! What people do with the dead letter queue, by HTTP or on the command line: look, ask for a run, end it. The workers that
//! own its partitions carry runs out; nothing is acted on here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::letters::decision::Decision;
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::group::By;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::run::{Cancelled, Standing, Tracked};
use mailroom_actors::domain::letters::search::{Cursor, Selection};
use parking_lot::Mutex;

use super::letter::Letter;
use super::original::{self, Job};
use super::records::Said;
use super::request::{Request, run_id};
use super::shelf::Shelf;
use super::view::{GroupView, PageView, PreviewView, RunView};
use crate::config;
use crate::kafka::StartProblem;
use crate::kafka::fetch::Fetcher;
use crate::kafka::note::Notes;

const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after a run was written it may take to be read again.
const HEARD_WITHIN: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// See the module's text. A copy is the same one.
#[derive(Clone)]
pub struct Archive {
    pub shelf: Arc<Shelf>,
    kafka: config::Kafka,
    dlq: config::Dlq,
    notes: Notes,
    fetcher: Arc<Mutex<Fetcher>>,
}

/// A letter and all that is known of it.
pub struct Whole {
    pub record: Record,
    pub decision: Option<Decision>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What was asked for is wrong, in words, all of it.
    Wrong(Vec<String>),
    /// There is no such letter or run.
    Missing(String),
    /// Brokers do not answer, or do not allow it, in words.
    Failed(String),
}

impl Archive {
    /// Shows what is on `shelf`, which somebody keeps up to date.
    ///
    /// # Errors
    /// `Misconfigured`, when librdkafka does not take the properties.
    pub fn new(
        kafka: &config::Kafka,
        dlq: &config::Dlq,
        shelf: &Arc<Shelf>,
    ) -> Result<Archive, StartProblem> {
        Ok(Archive {
            shelf: Arc::clone(shelf),
            notes: Notes::new(kafka, &kafka.decisions_topic)?,
            fetcher: Arc::new(Mutex::new(Fetcher::new(kafka)?)),
            kafka: kafka.clone(),
            dlq: dlq.clone(),
        })
    }

    /// The largest group first.
    pub fn groups(&self, by: By, filter: &Filter) -> Vec<GroupView> {
        self.shelf.index.read().groups(by, filter).into_iter().map(GroupView::of).collect()
    }

    /// At most `limit` letters, the newest first, behind `after`.
    pub fn page(&self, filter: &Filter, after: Option<Cursor>, limit: usize) -> PageView {
        let index = self.shelf.index.read();
        let page = index.page(filter, after, limit);
        PageView::of(&index, &page, self.shelf.is_complete())
    }

    /// The letter, whole, with its decisions. Also one that is not in the index.
    ///
    /// # Errors
    /// [`Refused::Missing`] where it is not on the queue, [`Refused::Failed`] where brokers do not answer.
    pub async fn show(&self, name: LetterName) -> Result<Whole, Refused> {
        let decided_at = self.shelf.index.read().find(name).and_then(|row| row.decided_at);
        let of = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let fetcher = of.fetcher.lock();
            let fetch = |topic: &str, offset: i64| {
                fetcher
                    .fetch(topic, name.partition, &BTreeSet::from([offset]), FETCH_TIMEOUT)
                    .map(|mut found| found.pop())
            };
            let record = fetch(&of.kafka.dlq_topic, name.offset)?;
            let decision = match decided_at {
                Some(offset) => fetch(&of.kafka.decisions_topic, offset)?,
                None => None,
            };
            Ok::<_, String>((record, decision))
        });
        let (record, decision) = match looked.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(Refused::Failed(error)),
            Err(error) => return Err(Refused::Failed(format!("looking for the letter failed: {error}"))),
        };
        let missing = || Refused::Missing(format!("there is no letter {name} on {}", self.kafka.dlq_topic));
        let decision = decision.and_then(|record| decided(&record, name));
        Ok(Whole { record: record.ok_or_else(missing)?, decision })
    }

    /// What a run would do.
    ///
    /// # Errors
    /// [`Refused::Wrong`].
    pub fn preview(&self, request: &Request, now: DateTime<Utc>) -> Result<PreviewView, Refused> {
        self.select(request, now).map(|(_, preview)| preview)
    }

    /// What matches now, to be looked at and then handed to [`Archive::submit_selected`].
    ///
    /// # Errors
    /// [`Refused::Wrong`].
    pub fn select(&self, request: &Request, now: DateTime<Utc>) -> Result<(Selection, PreviewView), Refused> {
        self.check(request)?;
        let selection = request.select(&self.shelf, &self.dlq, now);
        let preview = PreviewView::of(&self.shelf.index.read(), &selection, self.shelf.is_complete());
        Ok((selection, preview))
    }

    /// Freezes what matches, writes the run for the owners to read, and returns it. The same `key` is the same run: then it
    /// is returned as it stands, and nothing is written.
    ///
    /// # Errors
    /// [`Refused::Wrong`]; [`Refused::Failed`] when the run could not be written, or the queue is not read to its end yet.
    pub async fn submit(
        &self,
        request: &Request,
        key: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Tracked, Refused> {
        self.check(request)?;
        if !self.shelf.is_complete() {
            return Err(Refused::Failed("the queue is still being read: try again in a moment".into()));
        }
        let id = run_id(key, now);
        if let Some(run) = self.shelf.run(&id) {
            return Ok(run);
        }
        self.write_run(request, request.select(&self.shelf, &self.dlq, now), id, now).await
    }

    /// The same over what was selected before: what has come in since is not meant.
    ///
    /// # Errors
    /// [`Refused::Failed`] when the run could not be written.
    pub async fn submit_selected(
        &self,
        request: &Request,
        selection: Selection,
        now: DateTime<Utc>,
    ) -> Result<Tracked, Refused> {
        self.write_run(request, selection, run_id(None, now), now).await
    }

    async fn write_run(
        &self,
        request: &Request,
        selection: Selection,
        id: String,
        now: DateTime<Utc>,
    ) -> Result<Tracked, Refused> {
        let run = request.run(selection, id.clone(), &self.dlq, now);
        let tracked = Tracked::new(Arc::new(run.clone()));
        self.write(Said::Asked(Box::new(run))).await?;
        tracing::info!(
            run = id,
            by = request.by,
            action = request.action.as_str(),
            letters = tracked.total(),
            reason = crate::mask::mask_text(&request.reason).as_ref(),
            "a run over dead letters was asked for"
        );
        // Of two requests with the same key the first to be written counts.
        Ok(self.heard(|shelf| shelf.run(&id)).await.unwrap_or(tracked))
    }

    /// Ends a run: what it has not acted on stays as it is.
    ///
    /// # Errors
    /// [`Refused::Missing`]; [`Refused::Failed`] when that could not be written.
    pub async fn cancel(&self, id: &str, by: &str, now: DateTime<Utc>) -> Result<Tracked, Refused> {
        let run = self.run(id)?;
        if run.standing() != Standing::Running {
            return Ok(run);
        }
        let cancelled = Cancelled { by: by.to_owned(), at_ms: now.timestamp_millis() };
        self.write(Said::Cancelled(id.to_owned(), cancelled)).await?;
        tracing::info!(run = id, by, left = run.left(), "a run over dead letters was cancelled");
        let ended = |shelf: &Shelf| shelf.run(id).filter(|run| run.standing() != Standing::Running);
        Ok(self.heard(ended).await.unwrap_or(run))
    }

    /// # Errors
    /// [`Refused::Missing`].
    pub fn run(&self, id: &str) -> Result<Tracked, Refused> {
        self.shelf.run(id).ok_or_else(|| Refused::Missing(format!("there is no run {id}")))
    }

    pub fn show_run(&self, run: &Tracked) -> RunView {
        RunView::of(run, self.shelf.failed_again(run), self.dlq.transactions)
    }

    fn check(&self, request: &Request) -> Result<(), Refused> {
        let mistakes = request.mistakes(&self.dlq);
        if mistakes.is_empty() { Ok(()) } else { Err(Refused::Wrong(mistakes)) }
    }

    async fn write(&self, said: Said) -> Result<(), Refused> {
        let written = said.write();
        let put = self.notes.put(written.partition, &written.key, written.value.as_deref()).await;
        put.map(drop).map_err(Refused::Failed)
    }

    /// What was just written comes back by the reader; none where that takes too long.
    async fn heard<T>(&self, look: impl Fn(&Shelf) -> Option<T>) -> Option<T> {
        let deadline = tokio::time::Instant::now() + HEARD_WITHIN;
        loop {
            if let Some(heard) = look(&self.shelf) {
                return Some(heard);
            }
            if tokio::time::Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}

/// What a record of the decisions topic says of that letter; none where it is about something else.
pub fn decided(record: &Record, name: LetterName) -> Option<Decision> {
    match Said::read(record.key.as_deref()?, record.value.as_deref())? {
        Said::Decided(letter, decision) if letter == name => Some(decision),
        _ => None,
    }
}

impl Whole {
    /// The job's bytes; none where it was null, [`Job::Omitted`] where the letter does not hold it or is none.
    pub fn job(&self) -> Job {
        let value = self.record.value.as_deref().unwrap_or_default();
        let letter = Letter::read(value);
        letter.map_or(Job::Omitted, |letter| original::job(letter.original_message, Some(letter.cause())))
    }

    pub fn value(&self) -> Bytes {
        self.record.value.clone().unwrap_or_default()
    }
}
