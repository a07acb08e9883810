//! What people do with the dead letter queue, by HTTP or on the command line: look, ask for a run, end it. The workers that
//! own its partitions carry runs out; nothing is acted on here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::letters::decision::{Decision, State};
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::group::By;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::run::{Cancelled, Standing, Tracked};
use mailroom_actors::domain::letters::search::{Cursor, Selection};
use parking_lot::Mutex;

use super::letter::{self, Letter};
use super::original::{self, Job};
use super::records::Said;
use super::request::{Request, run_id};
use super::shelf::Shelf;
use super::view::{self, GroupView, PageView, PreviewView, RunView, SearchedView};
use crate::config;
use crate::kafka::fetch::Fetcher;
use crate::kafka::note::Notes;

/// For a letter and its decision, and the wait for others who look at theirs.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// A decision that was replaced while it was fetched is looked for again.
const LOOKS: usize = 3;
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
    submitting: Submitting,
}

/// The runs that are being written now.
type Submitting = Arc<Mutex<BTreeSet<String>>>;

/// A letter and all that is known of it.
pub struct Whole {
    pub name: LetterName,
    pub record: Record,
    /// None where it is not known: the letter is older than those in the index, or the queue is still being read.
    pub state: Option<State>,
    pub decision: Option<Decision>,
    pub replayed_from: Option<LetterName>,
    pub replayed_as: Option<LetterName>,
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
    pub fn new(kafka: &config::Kafka, dlq: &config::Dlq, shelf: &Arc<Shelf>) -> Archive {
        Archive {
            shelf: Arc::clone(shelf),
            notes: Notes::new(kafka, &kafka.decisions_topic),
            fetcher: Arc::new(Mutex::new(Fetcher::new(kafka))),
            submitting: Submitting::default(),
            kafka: kafka.clone(),
            dlq: dlq.clone(),
        }
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

    /// What [`Archive::groups`] and [`Archive::page`] look through.
    pub fn searched(&self) -> SearchedView {
        view::searched(&self.shelf.index.read(), self.shelf.is_complete())
    }

    /// The letter, whole, with its decisions. Also one that is not in the index.
    ///
    /// # Errors
    /// [`Refused::Missing`] where it is not on the queue, [`Refused::Failed`] where brokers do not answer.
    pub async fn show(&self, name: LetterName) -> Result<Whole, Refused> {
        let of = self.clone();
        let deadline = Instant::now() + FETCH_TIMEOUT;
        match tokio::task::spawn_blocking(move || of.look(name, deadline)).await {
            Ok(found) => found,
            Err(error) => Err(Refused::Failed(format!("looking for the letter failed: {error}"))),
        }
    }

    fn look(&self, name: LetterName, deadline: Instant) -> Result<Whole, Refused> {
        let Some(fetcher) = self.fetcher.try_lock_until(deadline) else {
            return Err(Refused::Failed("others look at letters, and brokers are slow to answer".into()));
        };
        let fetch = |topic: &str, offset: i64| {
            let left = deadline.saturating_duration_since(Instant::now());
            let found = fetcher.fetch(topic, name.partition, &BTreeSet::from([offset]), left);
            found.map(|mut found| found.pop()).map_err(Refused::Failed)
        };
        let missing = || Refused::Missing(format!("there is no letter {name} on {}", self.kafka.dlq_topic));
        // Brokers are not asked for a partition that is none: they would be asked again and again.
        if !self.shelf.index.read().has_partition(name.partition) && self.shelf.is_complete() {
            return Err(missing());
        }
        let record = fetch(&self.kafka.dlq_topic, name.offset)?.ok_or_else(missing)?;
        let row = || self.shelf.index.read().find(name);
        let mut decision = None;
        for _ in 0..LOOKS {
            let Some(offset) = row().and_then(|row| row.decided_at) else { break };
            let found = fetch(&self.kafka.decisions_topic, offset)?;
            decision = found.filter(|of| decision_on(name, record.timestamp_ms, of).is_some());
            if decision.is_some() {
                break;
            }
        }
        Ok(Whole::of(record, decision.as_ref(), &self.shelf))
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
        let index = self.shelf.index.read();
        let preview = PreviewView::of(&index, &selection, self.shelf.is_complete(), self.dlq.transactions);
        drop(index);
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
        // Of two at once the second one waits for what becomes of the first.
        let turn = self.heard(|shelf| match shelf.run(&id) {
            Some(run) => Some(Err(run)),
            None => Turn::take(&self.submitting, &id).map(Ok),
        });
        let _turn = match turn.await {
            Some(Ok(turn)) => turn,
            Some(Err(run)) => return Ok(run),
            None => {
                return Err(Refused::Failed("the same run is being written: try again in a moment".into()));
            }
        };
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
        let heard = self.heard(|shelf| shelf.run(&id)).await;
        if let Some(heard) = heard.as_ref().filter(|heard| heard.run != tracked.run) {
            // Another worker was first, and the first counts; but the topic's compaction will keep the last.
            self.write(Said::Asked(Box::new((*heard.run).clone()))).await?;
        } else {
            tracing::info!(
                run = id,
                by = request.by,
                action = request.action.as_str(),
                letters = tracked.total(),
                edited = request.value.is_some(),
                reason = crate::mask::mask_text(request.reason.trim()).as_ref(),
                "a run over dead letters was asked for"
            );
        }
        Ok(heard.unwrap_or(tracked))
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

    /// `dlq.transactions`; without them a crash may replay a letter twice.
    pub fn is_transactional(&self) -> bool {
        self.dlq.transactions
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

impl Whole {
    /// The letter of that record with what is known beside it; `decision` is the record of its decision.
    pub fn of(record: Record, decision: Option<&Record>, shelf: &Shelf) -> Whole {
        let name = LetterName { partition: record.partition, offset: record.offset };
        let decision = decision.and_then(|of| decision_on(name, record.timestamp_ms, of));
        let index = shelf.index.read();
        let known = index.find(name).filter(|_| shelf.is_complete()).map(|row| row.state);
        let state = decision.as_ref().map(|decision| decision.latest.state).or(known);
        let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let (replayed_from, replayed_as) = (letter::replayed_from(headers), index.came_back_as(name));
        Whole { name, record, state, decision, replayed_from, replayed_as }
    }

    /// The job's bytes; none where it was null, [`Job::Omitted`] where the letter does not hold it or is none.
    pub fn job(&self) -> Job {
        let letter = Letter::read(self.record.value.as_deref().unwrap_or_default());
        letter.map_or(Job::Omitted, |letter| original::job(letter.original_message, Some(letter.cause())))
    }
}

/// That a run is being written by this one and nobody else.
struct Turn {
    submitting: Submitting,
    id: String,
}

impl Turn {
    /// None while another has it.
    fn take(submitting: &Submitting, id: &str) -> Option<Turn> {
        let is_new = submitting.lock().insert(id.to_owned());
        is_new.then(|| Turn { submitting: Arc::clone(submitting), id: id.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.submitting.lock().remove(&self.id);
    }
}

fn decision_on(name: LetterName, timestamp_ms: Option<i64>, record: &Record) -> Option<Decision> {
    match Said::read(record.key.as_deref()?, record.value.as_deref())? {
        Said::Decided(letter, decision) if letter == name => {
            Some(decision).filter(|decision| timestamp_ms.unwrap_or(-1) == decision.letter_timestamp_ms)
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "archive_tests.rs"]
pub(crate) mod tests;
