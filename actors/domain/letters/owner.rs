//! What the owner of one partition of the dead letter queue does next, for every run and for the redriver.
//!
//! It begins with what the decisions topic says, read to its end after every rival was shut out; from then on nobody else
//! decides, so what it knows is the truth. A batch is planned, its letters are fetched, and what is concluded of them is
//! written in one transaction with how far each run is. Was that not taken, all of this begins again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::decision::{Decision, State, Step};
use super::name::LetterName;
use super::redrive::{Due, Plan};
use super::refusal::Refusal;
use super::rules::{Action, Facts, Rules, Skip};
use super::run::{Canary, Progress, Run, Tracked};
use super::runs::Leftovers;
use crate::domain::job::Record;

/// So many letters in one transaction.
pub const MAX_BATCH: usize = 2_000;
/// A run that could not go on for a while does not make up for more than this, beyond the usual time between two turns.
const LONGEST_CREDIT: Duration = Duration::from_secs(1);
/// At most one e-mail an hour tells of parked letters.
pub const BETWEEN_NOTICES_MS: i64 = 3_600_000;
/// Who decides, where nobody asked for it.
pub const REDRIVER: &str = "redriver";

/// What the decisions topic says of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub letter_timestamp_ms: i64,
    pub state: State,
    /// Where the decision lies in its partition of the decisions topic.
    pub decided_at: i64,
}

/// What the decisions topic says of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// By the letter's offset.
    pub known: HashMap<i64, Known>,
    /// By the run's id.
    pub progress: HashMap<String, Progress>,
    /// Runs that were taken off, by their ids: a reader that is behind still knows them, and must not take off once more what
    /// was asked for anew by the same id.
    pub forgotten_runs: BTreeSet<String>,
    /// When somebody was last told of parked letters, milliseconds since the epoch; kept in one partition for all.
    pub notified_ms: Option<i64>,
}

/// A letter to be fetched, and what for.
#[derive(Clone, Debug)]
pub struct Task {
    pub offset: i64,
    /// Where the last decision on it lies.
    pub decided_at: Option<i64>,
    pub purpose: Purpose,
}

#[derive(Clone, Debug)]
pub enum Purpose {
    Run(Arc<Run>),
    Redrive(Due),
}

/// A letter that was fetched.
#[derive(Clone, Debug)]
pub struct Letter {
    pub timestamp_ms: i64,
    /// The state in it is of no account.
    pub facts: Facts,
    /// The last decision on it.
    pub before: Option<Decision>,
    /// The job as it is to be put back on its queue; none where the letter does not hold it.
    pub job: Option<Record>,
}

impl Letter {
    fn was_acted_on_by(&self, run: &Run) -> bool {
        let before = self.before.as_ref().filter(|before| before.letter_timestamp_ms == self.timestamp_ms);
        before.is_some_and(|before| before.latest.run.as_ref() == Some(&run.id))
    }
}

/// What is written in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub acts: Vec<Act>,
    /// By the run's id: how far it is once this is written.
    pub progress: BTreeMap<String, Progress>,
    /// Letters whose decisions are taken off.
    pub forgotten: Vec<i64>,
    /// Runs that are taken off, and what was done of others that were taken off before.
    pub leftovers: Leftovers,
    /// By the run's id: what became of its first letters.
    pub canaries: BTreeMap<String, Canary>,
    /// Tells somebody of parked letters, at that time.
    pub notice: Option<Notice>,
    /// Why letters were left, and how many.
    pub skipped: BTreeMap<Skip, u64>,
    /// Letters that were to be replayed, whose jobs are larger than the topic takes.
    pub refused: BTreeSet<LetterName>,
    /// Letters that were put back before, in a batch of which it was not known.
    pub replayed_before: u64,
    /// How many tasks were concluded, whatever came of them.
    pub concluded: usize,
}

/// An e-mail about parked letters.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Milliseconds since the epoch.
    pub at_ms: i64,
    pub job: Record,
}

/// One letter's decision, and its job where it is replayed.
#[derive(Clone, Debug)]
pub struct Act {
    pub letter: LetterName,
    pub decision: Decision,
    pub job: Option<Record>,
}

impl Batch {
    /// How many letters it is about.
    pub fn size(&self) -> usize {
        self.acts.len() + self.forgotten.len()
    }

    pub fn is_empty(&self) -> bool {
        self.acts.is_empty()
            && self.progress.is_empty()
            && self.forgotten.is_empty()
            && self.leftovers.is_empty()
            && self.canaries.is_empty()
            && self.notice.is_none()
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Owner {
    partition: i32,
    opened: Opened,
    /// Letters that each run may act on by now; the redriver's under the empty name.
    credit: HashMap<String, f64>,
}

impl Owner {
    pub fn new(partition: i32, opened: Opened) -> Owner {
        Owner { partition, opened, credit: HashMap::new() }
    }

    /// The next letters: of the runs under way what their rates allow, `passed` since the last time; of those that are
    /// due to the redriver what `redrive_rate` (letters a second) allows. A turn comes every `cadence`. They are `most` at most.
    pub fn plan(
        &mut self,
        runs: &[Tracked],
        due: &[Due],
        redrive_rate: f64,
        passed: Duration,
        cadence: Duration,
        most: usize,
    ) -> Vec<Task> {
        self.credit.retain(|id, _| id.is_empty() || runs.iter().any(|run| run.run.id == *id));
        let mut wishes: Vec<Vec<Task>> = Vec::with_capacity(runs.len() + 1);
        for run in runs {
            let mut run = run.clone();
            // Our own word on our partition is newer than what was read of it.
            match self.opened.progress.get(&run.run.id) {
                Some(progress) => drop(run.progress.insert(self.partition, *progress)),
                None => drop(run.progress.remove(&self.partition)),
            }
            let allowed = self.allowed(&run.run.id, run.share(self.partition), passed, cadence);
            let next = run.next(self.partition, allowed.min(most));
            if next.len() < allowed.min(most)
                && let Some(credit) = self.credit.get_mut(&run.run.id)
            {
                // While it waits for what becomes of its first letters it saves nothing up.
                *credit = next.len() as f64;
            }
            let task = |offset| self.task(offset, Purpose::Run(Arc::clone(&run.run)));
            wishes.push(next.into_iter().map(task).collect());
        }
        let allowed = self.allowed("", redrive_rate, passed, cadence);
        let waits = |due: &&Due| {
            let known = self.opened.known.get(&due.offset);
            let known = known.filter(|known| known.letter_timestamp_ms == due.timestamp_ms);
            known.is_none_or(|known| known.state == State::Waiting && due.plan != Plan::Park)
        };
        let due = due.iter().filter(waits).take(allowed.min(most));
        wishes.push(due.map(|due| self.task(due.offset, Purpose::Redrive(*due))).collect());
        share_out(&mut wishes, most);
        wishes.into_iter().flatten().collect()
    }

    fn allowed(&mut self, id: &str, rate: f64, passed: Duration, cadence: Duration) -> usize {
        let most = (rate * (cadence + LONGEST_CREDIT).as_secs_f64()).max(1.0);
        let credit = self.credit.entry(id.to_owned()).or_default();
        *credit = (*credit + rate * passed.as_secs_f64()).min(most);
        *credit as usize
    }

    fn task(&self, offset: i64, purpose: Purpose) -> Task {
        Task { offset, decided_at: self.opened.known.get(&offset).map(|known| known.decided_at), purpose }
    }

    /// What becomes of the planned letters. One that was not found is skipped, for it has left the queue; and so is what is
    /// `refused`, whoever asks.
    pub fn conclude(
        &self,
        tasks: Vec<Task>,
        fetched: &HashMap<i64, Letter>,
        refused: &BTreeSet<Refusal>,
        redrive_max_replays: u32,
        now_ms: i64,
    ) -> Batch {
        let mut batch = Batch { concluded: tasks.len(), ..Batch::default() };
        let mut decided: HashMap<i64, Decision> = HashMap::new();
        for task in tasks {
            let letter = fetched.get(&task.offset);
            let before = decided.get(&task.offset).cloned();
            let judged = self.judge(&task, letter, before, redrive_max_replays, now_ms);
            let is_refused = |refusal| refused.contains(&refusal);
            let mut is_too_large = false;
            let verdict = match judged {
                Ok(act) if is_refused(Refusal::of_decision(&act)) => Err(Skip::Undecodable),
                Ok(act) if Refusal::of_job(&act).is_some_and(is_refused) => {
                    is_too_large = true;
                    batch.refused.insert(act.letter);
                    without_its_job(act, &task.purpose)
                }
                judged => judged,
            };
            if let Purpose::Run(run) = &task.purpose {
                let known = self.opened.progress.get(&run.id).copied();
                let progress = batch.progress.entry(run.id.clone()).or_insert(known.unwrap_or_default());
                progress.next = task.offset + 1;
                // Without transactions it may have acted, and died before it could say how far it is.
                if verdict.is_err() && letter.is_some_and(|letter| letter.was_acted_on_by(run)) {
                    progress.acted += 1;
                    batch.replayed_before += u64::from(run.rules.action == Action::Replay);
                    continue;
                }
                *if verdict.is_ok() { &mut progress.acted } else { &mut progress.skipped } += 1;
            }
            match verdict {
                Ok(act) => {
                    decided.insert(task.offset, act.decision.clone());
                    batch.acts.push(act);
                }
                Err(_) if is_too_large => {}
                Err(skip) => *batch.skipped.entry(skip).or_default() += 1,
            }
        }
        batch
    }

    fn judge(
        &self,
        task: &Task,
        letter: Option<&Letter>,
        before: Option<Decision>,
        redrive_max_replays: u32,
        now_ms: i64,
    ) -> Result<Act, Skip> {
        let letter = letter.ok_or(Skip::Undecodable)?;
        let known = self.opened.known.get(&task.offset);
        let known =
            known.filter(|known| known.letter_timestamp_ms == letter.timestamp_ms).map(|known| known.state);
        let state = before.as_ref().map(|before| before.latest.state).or(known).unwrap_or_default();
        let facts =
            Facts { state, has_original: letter.facts.has_original && letter.job.is_some(), ..letter.facts };
        let (made, run, by, reason) = match &task.purpose {
            Purpose::Run(run) => {
                if letter.timestamp_ms > run.newest_ms {
                    return Err(Skip::Undecodable);
                }
                (run.rules.judge(&facts, now_ms)?, Some(run.id.clone()), run.by.clone(), run.reason.clone())
            }
            // It is another letter, on a queue that was made anew since.
            Purpose::Redrive(due) if due.timestamp_ms != letter.timestamp_ms => {
                return Err(Skip::Undecodable);
            }
            Purpose::Redrive(Due { plan: Plan::Park, .. }) if facts.state == State::Waiting => {
                let reason = why_parked(&facts, redrive_max_replays);
                (State::Parked, None, REDRIVER.to_owned(), reason.to_owned())
            }
            Purpose::Redrive(Due { plan: Plan::ReplayAt(_), .. }) if facts.state == State::Waiting => {
                let rules =
                    Rules { include_permanent: true, ..Rules::of(Action::Replay, redrive_max_replays) };
                let (made, reason) = match rules.judge(&facts, now_ms) {
                    Ok(made) => (made, "its wait is over"),
                    Err(Skip::Expired) => return Err(Skip::Expired),
                    // What it can't do a human must look at.
                    Err(_) => (State::Parked, why_parked(&facts, redrive_max_replays)),
                };
                (made, None, REDRIVER.to_owned(), reason.to_owned())
            }
            Purpose::Redrive(_) => return Err(Skip::Already),
        };
        let step = Step { state: made, run, by, reason, at_ms: now_ms, round: 0 };
        let decision = Decision::after(before.or(letter.before.clone()), letter.timestamp_ms, step);
        let job = letter.job.clone().filter(|_| made == State::Replayed).map(|job| match &task.purpose {
            Purpose::Run(run) if run.value.is_some() => {
                Record { value: run.value.clone().map(Into::into), ..job }
            }
            _ => job,
        });
        let letter = LetterName { partition: self.partition, offset: task.offset };
        Ok(Act { letter, decision, job })
    }

    /// The batch was written; each act's decision lies at that offset of the decisions topic, in the order of the acts.
    pub fn written(&mut self, batch: &Batch, decided_at: &[i64]) {
        for (act, decided_at) in batch.acts.iter().zip(decided_at) {
            let known = Known {
                letter_timestamp_ms: act.decision.letter_timestamp_ms,
                state: act.decision.latest.state,
                decided_at: *decided_at,
            };
            self.opened.known.insert(act.letter.offset, known);
            if act.decision.latest.run.is_none()
                && let Some(credit) = self.credit.get_mut("")
            {
                *credit -= 1.0;
            }
        }
        for (id, progress) in &batch.progress {
            let before = self.opened.progress.insert(id.clone(), *progress).unwrap_or_default();
            if let Some(credit) = self.credit.get_mut(id) {
                let dealt_with = progress.acted + progress.skipped - before.acted - before.skipped;
                *credit -= dealt_with as f64;
            }
        }
        if let Some(notice) = &batch.notice {
            self.opened.notified_ms = Some(notice.at_ms);
        }
        for offset in &batch.forgotten {
            self.opened.known.remove(offset);
        }
        for id in &batch.leftovers.progress {
            self.opened.progress.remove(id);
        }
        self.opened.forgotten_runs.extend(batch.leftovers.runs.iter().cloned());
    }

    /// Whether somebody may be told of parked letters again.
    pub fn may_notify(&self, now_ms: i64) -> bool {
        // One from the future was written by a clock that was ahead.
        !self.opened.notified_ms.is_some_and(|at_ms| (0..BETWEEN_NOTICES_MS).contains(&(now_ms - at_ms)))
    }

    /// Letters below `low` have left the queue: their decisions are to be taken off, at most so many at once.
    pub fn to_forget(&self, low: i64, limit: usize) -> Vec<i64> {
        self.opened.known.keys().copied().filter(|offset| *offset < low).take(limit).collect()
    }

    /// Those of what was read to be left over that are still on the topic, at most so many of each at once.
    pub fn still_left(&mut self, leftovers: Leftovers, limit: usize) -> Leftovers {
        let Leftovers { mut runs, mut progress } = leftovers;
        // The reader has come by them.
        self.opened.forgotten_runs.retain(|id| runs.contains(id));
        runs.retain(|id| !self.opened.forgotten_runs.contains(id));
        progress.retain(|id| self.opened.progress.contains_key(id));
        runs.truncate(limit);
        progress.truncate(limit);
        Leftovers { runs, progress }
    }
}

/// Cuts wishes so that together they are `most` at most: each has the same share, and what one leaves the others have.
fn share_out(wishes: &mut [Vec<Task>], most: usize) {
    let mut by_size: Vec<&mut Vec<Task>> = wishes.iter_mut().collect();
    by_size.sort_by_key(|wish| wish.len());
    let mut left = most;
    let others = (0..by_size.len()).rev();
    for (wish, others) in by_size.into_iter().zip(others) {
        wish.truncate(left.div_ceil(others + 1));
        left -= wish.len();
    }
}

/// Why the redriver calls a human.
fn why_parked(facts: &Facts, max_replays: u32) -> &'static str {
    if !facts.has_original {
        "it does not hold its job"
    } else if facts.replay_count >= max_replays {
        "it was replayed dlq.max_replays times"
    } else {
        "no wait is left"
    }
}

/// A job that can't be put back, for it is too large: a run leaves the letter, for the redriver a human must look at it.
fn without_its_job(mut act: Act, purpose: &Purpose) -> Result<Act, Skip> {
    match purpose {
        Purpose::Run(_) => Err(Skip::Undecodable),
        Purpose::Redrive(_) => {
            act.job = None;
            act.decision.latest.state = State::Parked;
            act.decision.latest.reason = "its job is larger than the topic takes".to_owned();
            Ok(act)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "owner_tests.rs"]
mod tests;
