//! The demo's replays: which dead letters are put back on the queue, and what is told of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::Utc;
use mailroom_actors::domain::letters::decision::State;
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::group::Advice;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::rules::Action;
use mailroom_actors::domain::letters::run::Standing;

use super::accounts::{Replays as Books, SharedAccounts};
use super::worker::Worker;
use crate::dlq::archive::{Archive, Refused};
use crate::dlq::request::{Request, run_id};

/// Letters a second.
const RATE: f64 = 20.0;
/// What is kept with every letter.
const REASON: &str = "the demo's key";
/// A run that was cancelled may still have a batch in hand, for a turn of the owner's.
const LAST_BATCH: Duration = Duration::from_secs(1);
/// A run that nothing is known of after this time was never written: writing it and hearing of it take 10 s each at most.
const UNHEARD: Duration = Duration::from_secs(30);

/// Replays every waiting letter whose cause may pass, by the index's advice, as the run of this key, and returns how many
/// they are. Where there is none nothing is begun.
///
/// # Errors
/// When the run can't be written, in words.
pub(super) async fn begin(archive: &Archive, key: &str) -> Result<u64, String> {
    let waiting = Filter { state: Some(State::Waiting), ..Filter::default() };
    let letters: BTreeSet<LetterName> = {
        let index = archive.shelf.index.read();
        let page = index.page(&waiting, None, index.len());
        let may_pass = page.letters.iter().filter(|(_, row)| Advice::of(row.cause) == Advice::Replay);
        may_pass.map(|(name, _)| *name).collect()
    };
    if letters.is_empty() {
        return Ok(0);
    }
    let request = Request {
        action: Action::Replay,
        filter: Filter { state: Some(State::Waiting), letters, ..Filter::default() },
        reason: REASON.into(),
        rate: Some(RATE),
        canary: 0,
        max: None,
        include_permanent: false,
        include_parked: false,
        value: None,
        by: "demo".into(),
    };
    let now = Utc::now();
    if archive.preview(&request, now).map_err(in_words)?.will == 0 {
        return Ok(0);
    }
    archive.submit(&request, Some(key), now).await.map(|run| run.total()).map_err(in_words)
}

/// Ends the run of this id: what it has not replayed stays as it is.
///
/// # Errors
/// When that can't be written, or there is no such run, in words.
pub(super) async fn cancel(archive: &Archive, id: &str) -> Result<(), String> {
    archive.cancel(id, "demo", Utc::now()).await.map(drop).map_err(in_words)
}

fn in_words(refused: Refused) -> String {
    match refused {
        Refused::Wrong(mistakes) => mistakes.join("; "),
        Refused::Missing(text) | Refused::Failed(text) => text,
    }
}

/// The replay that is under way, one at a time: it is over once every job of it is settled.
#[derive(Debug, Default)]
pub(super) struct Replays {
    current: RefCell<Option<Current>>,
    asked: Cell<u64>,
}

#[derive(Clone, Debug)]
struct Current {
    id: String,
    began: Instant,
    /// Letters that waited then.
    waiting: u64,
    /// Whether it is told that it has begun.
    is_told: bool,
    cancelled: Option<Instant>,
    /// What had come of replays before.
    before: Books,
}

impl Replays {
    /// Begins one, and returns why there is none, in words: what begins is told by [`Replays::look`], as who asks for
    /// it may be gone before the answer comes.
    pub(super) async fn begin(&self, worker: &dyn Worker, accounts: &SharedAccounts) -> Option<String> {
        if let Some(current) = self.current() {
            return Some(match worker.run(&current.id).map_or(0, |run| run.left()) {
                0 => "no second replay yet: jobs of the one under way are not settled".into(),
                left => format!("no second replay yet: {left} letters of the one under way are to come"),
            });
        }
        self.asked.set(self.asked.get() + 1);
        let key = format!("demo-{}", self.asked.get());
        let (id, began, before) = (run_id(Some(&key), Utc::now()), Instant::now(), accounts.lock().replays());
        let waiting = worker.waiting();
        self.current.replace(Some(Current {
            id: id.clone(),
            began,
            waiting,
            is_told: false,
            cancelled: None,
            before,
        }));
        let begun = worker.replay(&key).await;
        let current = self.current()?;
        // It is under way in spite of an error, or another is meanwhile.
        if current.is_told || current.id != id {
            return None;
        }
        let why_not = match begun {
            Ok(0) if waiting == 0 => "nothing to replay: no dead letter waits".into(),
            Ok(0) => {
                format!("nothing to replay: none of {waiting} waiting letters has a cause that may pass")
            }
            Ok(_) => return None,
            Err(error) => format!("nothing is replayed: {error}"),
        };
        self.current.replace(None);
        Some(why_not)
    }

    /// What is new of the replay under way, in words: that it has begun, then what has come of it.
    pub(super) fn look(&self, worker: &dyn Worker, accounts: &SharedAccounts) -> Option<String> {
        let current = self.current()?;
        let Some(run) = worker.run(&current.id) else {
            return (current.began.elapsed() > UNHEARD).then(|| {
                self.current.replace(None);
                "nothing is heard of the replay".into()
            });
        };
        if !current.is_told {
            self.change(|current| current.is_told = true);
            return Some(format!(
                "{} of {} waiting letters are replayed, {RATE} a second: their causes may pass",
                run.total(),
                current.waiting
            ));
        }
        let was_cut = run.standing() == Standing::Cancelled;
        if run.standing() == Standing::Running
            || was_cut && current.cancelled.is_some_and(|at| at.elapsed() < LAST_BATCH)
        {
            return None;
        }
        let books = accounts.lock().replays();
        let replayed = run.acted();
        if books.replayed - current.before.replayed < replayed || books.open > 0 {
            return None;
        }
        self.current.replace(None);
        let failed_again = books.failed_again - current.before.failed_again;
        Some(match (was_cut, run.skipped()) {
            (true, _) => format!(
                "the replay is cut short: of {replayed} replayed {failed_again} failed again, {} letters wait as before",
                run.left()
            ),
            (false, 0) => format!("the replay is done: of {replayed} replayed {failed_again} failed again"),
            (false, skipped) => {
                format!(
                    "the replay is done: of {replayed} replayed {failed_again} failed again, {skipped} were skipped"
                )
            }
        })
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Ends the one under way, if there is one: what is replayed is still awaited, no more is.
    pub(super) async fn cancel(&self, worker: &dyn Worker) {
        let Some(current) = self.current() else { return };
        // What can't be cancelled goes on, and is in the books all the same.
        let _ = worker.cancel(&current.id).await;
        self.change(|current| current.cancelled = Some(Instant::now()));
    }

    fn change(&self, change: impl FnOnce(&mut Current)) {
        if let Some(current) = self.current.borrow_mut().as_mut() {
            change(current);
        }
    }

    fn current(&self) -> Option<Current> {
        self.current.borrow().clone()
    }
}
