//! What is asked of the index: a page of letters, groups, what an act would touch, what is due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt;
use std::str::FromStr;

use super::columns::Columns;
use super::decision::State;
use super::filter::{Filter, Matcher, blocks};
use super::group::{Advice, By, Group};
use super::index::{Index, state_number};
use super::name::LetterName;
use super::offsets::OffsetSet;
use super::redrive::{Due, Plan, Redrive};
use super::row::Row;
use super::rules::{Action, Rules, Skip};
use crate::domain::failure::Cause;

const NO_PLACE: u32 = u32::MAX;

/// How many letters a preview shows.
const SAMPLES: usize = 5;

/// Where a page ended: the next begins behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    timestamp_ms: i64,
    name: LetterName,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.timestamp_ms, self.name)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Cursor, ()> {
        let (timestamp, name) = text.split_once('.').ok_or(())?;
        Ok(Cursor { timestamp_ms: timestamp.parse().map_err(|_| ())?, name: name.parse().map_err(|_| ())? })
    }
}

/// Letters, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub letters: Vec<(LetterName, Row)>,
    /// None where there are no more.
    pub next: Option<Cursor>,
}

/// What an act would do to the letters that match; or, frozen, what it is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub matched: u64,
    /// Those that are to be acted on, by partition.
    pub letters: BTreeMap<i32, OffsetSet>,
    /// In the order of [`Skip::ALL`].
    pub skipped: [u64; Skip::ALL.len()],
    /// Of those to be acted on; without a cause: what can't be read.
    pub causes: BTreeMap<Option<&'static str>, u64>,
    /// The newest few.
    pub samples: Vec<LetterName>,
    /// The newest time stamp among them: a letter that is newer was not meant, whatever its name.
    pub newest_ms: i64,
}

impl Selection {
    /// How many letters are to be acted on.
    pub fn will(&self) -> u64 {
        self.letters.values().map(OffsetSet::len).sum()
    }
}

impl Index {
    /// At most `limit` letters, the newest first, behind `after`.
    pub fn page(&self, filter: &Filter, after: Option<Cursor>, limit: usize) -> Page {
        let matcher = Matcher::new(filter, &self.texts);
        // One more than asked for tells whether there are more.
        let mut newest: BinaryHeap<Reverse<Cursor>> = BinaryHeap::with_capacity(limit + 2);
        for (&partition, columns) in &self.partitions {
            for block in blocks(columns).rev() {
                let is_too_old = |newest: &BinaryHeap<Reverse<Cursor>>, timestamp_ms: i64| {
                    let oldest = newest.peek().filter(|_| newest.len() > limit);
                    oldest.is_some_and(|Reverse(oldest)| timestamp_ms < oldest.timestamp_ms)
                };
                if columns.timestamps[block.clone()].iter().all(|at| is_too_old(&newest, *at)) {
                    continue;
                }
                for at in matcher.places(partition, columns, block).rev() {
                    let timestamp_ms = columns.timestamps[at];
                    let name = LetterName { partition, offset: columns.offsets[at] };
                    let cursor = Cursor { timestamp_ms, name };
                    if is_too_old(&newest, timestamp_ms) || after.is_some_and(|after| cursor >= after) {
                        continue;
                    }
                    newest.push(Reverse(cursor));
                    if newest.len() > limit + 1 {
                        newest.pop();
                    }
                }
            }
        }
        let mut cursors: Vec<Cursor> =
            newest.into_sorted_vec().into_iter().map(|Reverse(cursor)| cursor).collect();
        let has_more = cursors.len() > limit;
        cursors.truncate(limit);
        let next = cursors.last().copied().filter(|_| has_more);
        let row = |cursor: Cursor| Some((cursor.name, self.find(cursor.name)?));
        Page { letters: cursors.into_iter().filter_map(row).collect(), next }
    }

    /// The letters that match, grouped; the largest group first.
    pub fn groups(&self, by: By, filter: &Filter) -> Vec<Group> {
        let matcher = Matcher::new(filter, &self.texts);
        let advice = advice_by_cause();
        // By number: which of the tallies is that group's.
        let mut places: Vec<u32> = Vec::new();
        let mut tallies: Vec<(u32, Tally)> = Vec::new();
        for (&partition, columns) in &self.partitions {
            for block in blocks(columns) {
                for at in matcher.places(partition, columns, block) {
                    let number = group_number(by, columns, at);
                    if places.len() <= number as usize {
                        places.resize(number as usize + 1, NO_PLACE);
                    }
                    let place = &mut places[number as usize];
                    if *place == NO_PLACE {
                        *place = tallies.len() as u32;
                        tallies.push((number, Tally::default()));
                    }
                    let name = LetterName { partition, offset: columns.offsets[at] };
                    let cursor = Cursor { timestamp_ms: columns.timestamps[at], name };
                    let advice = advice[usize::from(columns.causes[at])];
                    tallies[*place as usize].1.add(cursor, columns.states[at], advice);
                }
            }
        }
        let mut groups: Vec<Group> =
            tallies.into_iter().map(|(number, tally)| tally.group(self.group_key(by, number))).collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        groups
    }

    fn group_key(&self, by: By, number: u32) -> String {
        match by {
            By::Domain | By::Template | By::Reason => self.texts.text(number).to_owned(),
            By::Code if number == 0 => String::new(),
            By::Code => number.to_string(),
            By::Cause => name_of(Cause::ALL.get(number as usize).map(|cause| cause.as_str())),
            By::Stage => {
                name_of(crate::domain::failure::Stage::ALL.get(number as usize).map(|stage| stage.as_str()))
            }
        }
    }

    /// What these rules make of the letters that match, of at most `max` of them: the oldest first.
    pub fn select(&self, filter: &Filter, rules: &Rules, max: Option<u64>, now_ms: i64) -> Selection {
        let matcher = Matcher::new(filter, &self.texts);
        let mut selection = Selection { newest_ms: i64::MIN, ..Selection::default() };
        // By partition and offset.
        let mut chosen: Vec<(Cursor, Option<Cause>)> = Vec::new();
        for (&partition, columns) in &self.partitions {
            for at in blocks(columns).flat_map(|block| matcher.places(partition, columns, block)) {
                selection.matched += 1;
                let facts = columns.facts(at);
                // The first of them is replayed; both may be put away.
                let is_again = columns.is_repeat(at) && rules.action == Action::Replay;
                let verdict = if is_again { Err(Skip::Already) } else { rules.judge(&facts, now_ms) };
                match verdict {
                    Ok(_) => {
                        let name = LetterName { partition, offset: columns.offsets[at] };
                        chosen.push((Cursor { timestamp_ms: columns.timestamps[at], name }, facts.cause));
                    }
                    Err(skip) => selection.skipped[skip as usize] += 1,
                }
            }
        }
        if let Some(max) = max.and_then(|max| usize::try_from(max).ok()).filter(|max| *max < chosen.len()) {
            chosen.sort_unstable_by_key(|(cursor, _)| *cursor);
            chosen.truncate(max);
            chosen.sort_unstable_by_key(|(cursor, _)| cursor.name);
        }
        let mut newest: BTreeSet<Cursor> = BTreeSet::new();
        for (cursor, cause) in chosen {
            selection.letters.entry(cursor.name.partition).or_default().push(cursor.name.offset);
            selection.newest_ms = selection.newest_ms.max(cursor.timestamp_ms);
            *selection.causes.entry(cause.map(Cause::as_str)).or_default() += 1;
            newest.insert(cursor);
            if newest.len() > SAMPLES {
                newest.pop_first();
            }
        }
        selection.samples = newest.into_iter().rev().map(|cursor| cursor.name).collect();
        selection
    }

    /// What the redriver has to do now in that partition: at most `limit` letters, the oldest first.
    pub fn due(&self, partition: i32, redrive: &Redrive, now_ms: i64, limit: usize) -> Vec<Due> {
        let Some(columns) = self.partitions.get(&partition) else { return Vec::new() };
        let waiting = (0..columns.len()).filter(|at| columns.states[*at] == State::Waiting);
        let plan = |at: usize| {
            let facts = columns.facts(at);
            let plan = redrive.plan(&facts, columns.failed_at_ms(at), columns.is_decided(at));
            let is_due = !columns.is_repeat(at)
                && match plan {
                    Plan::Leave => false,
                    Plan::Park => true,
                    // One that has expired meanwhile nobody wants any more.
                    Plan::ReplayAt(due_ms) => due_ms <= now_ms && !facts.has_expired(now_ms),
                };
            let (offset, timestamp_ms) = (columns.offsets[at], columns.timestamps[at]);
            is_due.then_some(Due { offset, timestamp_ms, plan })
        };
        waiting.filter_map(plan).take(limit).collect()
    }
}

fn name_of(name: Option<&str>) -> String {
    name.unwrap_or("unreadable").to_owned()
}

fn group_number(by: By, columns: &Columns, at: usize) -> u32 {
    match by {
        By::Cause => u32::from(columns.causes[at]),
        By::Stage => u32::from(columns.stages[at]),
        By::Code => u32::from(columns.codes[at]),
        By::Domain => columns.domains[at],
        By::Template => columns.templates[at],
        By::Reason => columns.reasons[at],
    }
}

const ADVICE: [Advice; 3] = [Advice::Replay, Advice::AfterFix, Advice::No];

/// By the number of a cause.
fn advice_by_cause() -> [Advice; u8::MAX as usize + 1] {
    std::array::from_fn(|number| Advice::of(Cause::ALL.get(number).copied()))
}

/// A group while it is counted.
#[derive(Default)]
struct Tally {
    /// By state, then by advice.
    counts: [[u32; ADVICE.len()]; State::ALL.len()],
    /// The oldest time stamp, and the newest letter.
    ends: Option<(i64, Cursor)>,
}

impl Tally {
    fn add(&mut self, cursor: Cursor, state: State, advice: Advice) {
        self.counts[state_number(state)][advice as usize] += 1;
        let (oldest_ms, newest) = self.ends.get_or_insert((cursor.timestamp_ms, cursor));
        *oldest_ms = cursor.timestamp_ms.min(*oldest_ms);
        if cursor.timestamp_ms >= newest.timestamp_ms {
            *newest = cursor.max(*newest);
        }
    }

    fn group(self, key: String) -> Group {
        let (first_ms, newest) = self.ends.expect("a group has a letter");
        let states = self.counts.map(|of_state| of_state.into_iter().map(u64::from).sum());
        let advised =
            |advice: &Advice| self.counts.iter().map(|of_state| of_state[*advice as usize]).sum::<u32>();
        Group {
            key,
            count: states.iter().sum(),
            states,
            first_ms,
            last_ms: newest.timestamp_ms,
            example: newest.name,
            // Of as many of each the more careful one.
            advice: ADVICE.into_iter().max_by_key(advised).expect("there are three"),
        }
    }
}
