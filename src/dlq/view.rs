//! Letters, groups and runs as answers show them: what HTTP and `--json` have in common. Addresses are masked, and no body
//! is in here.

use std::collections::BTreeMap;

use mailroom_actors::domain::letters::decision::State;
use mailroom_actors::domain::letters::group::Group;
use mailroom_actors::domain::letters::index::Index;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::row::Row;
use mailroom_actors::domain::letters::rules::Skip;
use mailroom_actors::domain::letters::run::{Standing, Tracked};
use mailroom_actors::domain::letters::search::{Page, Selection};
use serde::Serialize;

use super::records::written_time;
use crate::mask::mask_text;

/// What stands for a cause where a letter can't be read.
pub const UNREADABLE: &str = "unreadable";

#[derive(Clone, Debug, Serialize)]
pub struct GroupView {
    pub key: String,
    pub count: u64,
    pub states: BTreeMap<&'static str, u64>,
    pub first: String,
    pub last: String,
    pub example: String,
    pub advice: &'static str,
}

impl GroupView {
    pub fn of(group: Group) -> GroupView {
        GroupView {
            key: group.key,
            count: group.count,
            states: State::ALL
                .iter()
                .zip(group.states)
                .map(|(state, count)| (state.as_str(), count))
                .collect(),
            first: written_time(group.first_ms),
            last: written_time(group.last_ms),
            example: group.example.to_string(),
            advice: group.advice.as_str(),
        }
    }
}

/// A letter as a list shows it.
#[derive(Clone, Debug, Serialize)]
pub struct RowView {
    pub letter: String,
    pub state: &'static str,
    /// When it failed.
    pub at: String,
    pub cause: &'static str,
    pub stage: Option<&'static str>,
    pub smtp_code: Option<u16>,
    /// Addresses and numbers in it taken out.
    pub reason: String,
    /// Of the first recipient that was not reached.
    pub domain: String,
    pub template: Option<String>,
    pub replay_count: u32,
    pub expires_at: Option<String>,
    /// False where the letter does not hold its job.
    pub replayable: bool,
    /// The same failure was written before.
    pub repeat: bool,
    pub replayed_from: Option<String>,
    pub replayed_as: Option<String>,
}

impl RowView {
    pub fn of(index: &Index, name: LetterName, row: &Row) -> RowView {
        let text = |symbol| index.text(symbol).to_owned();
        let back = (row.state == State::Replayed).then(|| index.came_back_as(name)).flatten();
        RowView {
            letter: name.to_string(),
            state: row.state.as_str(),
            at: written_time(row.timestamp_ms),
            cause: row.cause.map_or(UNREADABLE, |cause| cause.as_str()),
            stage: row.stage.map(|stage| stage.as_str()),
            smtp_code: row.code,
            reason: text(row.reason),
            domain: text(row.domain),
            template: Some(text(row.template)).filter(|template| !template.is_empty()),
            replay_count: row.replay_count,
            expires_at: row.expires_at_ms.map(written_time),
            replayable: row.has_original,
            repeat: row.is_repeat,
            replayed_from: index.replayed_from(name).map(|from| from.to_string()),
            replayed_as: back.map(|back| back.to_string()),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct PageView {
    pub letters: Vec<RowView>,
    /// For `after`; null where there are no more.
    pub next: Option<String>,
    pub searched: SearchedView,
}

/// What has been looked through: letters that failed from then to then; null where there is none.
#[derive(Clone, Debug, Serialize)]
pub struct SearchedView {
    pub from: Option<String>,
    pub to: Option<String>,
    /// False while the queue is still being read: there are more letters than were looked through.
    pub complete: bool,
}

impl PageView {
    pub fn of(index: &Index, page: &Page, is_complete: bool) -> PageView {
        PageView {
            letters: page.letters.iter().map(|(name, row)| RowView::of(index, *name, row)).collect(),
            next: page.next.map(|next| next.to_string()),
            searched: searched(index, is_complete),
        }
    }
}

pub fn searched(index: &Index, complete: bool) -> SearchedView {
    let (from, to) = index.searched_ms().unzip();
    SearchedView { from: from.map(written_time), to: to.map(written_time), complete }
}

/// What a run would do.
#[derive(Clone, Debug, Serialize)]
pub struct PreviewView {
    pub matched: u64,
    pub will: u64,
    pub skipped: BTreeMap<&'static str, u64>,
    pub causes: BTreeMap<&'static str, u64>,
    pub samples: Vec<RowView>,
    /// False while the queue is still being read.
    pub complete: bool,
    /// As of a run.
    pub guarantee: &'static str,
}

impl PreviewView {
    pub fn of(index: &Index, selection: &Selection, complete: bool, transactional: bool) -> PreviewView {
        let sample = |name: &LetterName| Some(RowView::of(index, *name, &index.find(*name)?));
        PreviewView {
            matched: selection.matched,
            will: selection.will(),
            skipped: Skip::ALL
                .iter()
                .map(|skip| (skip.as_str(), selection.skipped[*skip as usize]))
                .collect(),
            causes: selection
                .causes
                .iter()
                .map(|(cause, count)| (cause.unwrap_or(UNREADABLE), *count))
                .collect(),
            samples: selection.samples.iter().filter_map(sample).collect(),
            complete,
            guarantee: guarantee(!transactional),
        }
    }
}

/// A run and how far it is.
#[derive(Clone, Debug, Serialize)]
pub struct RunView {
    pub id: String,
    pub action: &'static str,
    pub state: &'static str,
    pub by: String,
    pub reason: String,
    pub at: String,
    /// Letters a second.
    pub rate: f64,
    /// The job's bytes were replaced.
    pub edited: bool,
    pub total: u64,
    /// Letters acted on.
    pub published: u64,
    /// Replayed letters that have come back.
    pub failed_again: u64,
    pub skipped: u64,
    pub left: u64,
    pub canary: Option<CanaryView>,
    /// `at-least-once` where the brokers refuse transactions: a crash may replay a letter twice.
    pub guarantee: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct CanaryView {
    pub size: u64,
    /// Null while it is not known.
    pub failed_again: Option<u64>,
}

/// What is said where the brokers refuse transactions.
pub const AT_LEAST_ONCE: &str = "at-least-once";

fn guarantee(is_at_least_once: bool) -> &'static str {
    if is_at_least_once { AT_LEAST_ONCE } else { "exactly-once" }
}

impl RunView {
    /// What is left of it will be done with transactions where `transactional`; what was done says itself how.
    pub fn of(tracked: &Tracked, failed_again: u64, transactional: bool) -> RunView {
        let run = &tracked.run;
        let goes_on_without = !transactional && tracked.standing() == Standing::Running;
        let canary =
            CanaryView { size: run.canary, failed_again: tracked.canary.map(|canary| canary.failed_again) };
        RunView {
            id: run.id.clone(),
            action: run.rules.action.as_str(),
            state: tracked.standing().as_str(),
            by: run.by.clone(),
            reason: mask_text(&run.reason).into_owned(),
            at: written_time(run.at_ms),
            rate: run.rate,
            edited: run.value.is_some(),
            total: tracked.total(),
            published: tracked.acted(),
            failed_again,
            skipped: tracked.skipped(),
            left: tracked.left(),
            canary: (run.canary > 0).then_some(canary),
            guarantee: guarantee(tracked.is_at_least_once() || goes_on_without),
        }
    }
}
