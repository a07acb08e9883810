//! The letters in memory: a row each, the newest so many, with what was decided of them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::columns::Columns;
use super::decision::State;
use super::interned::Texts;
use super::name::LetterName;
use super::offsets::OffsetSet;
use super::row::{self, Row, Summary};
use crate::domain::failure::Cause;

/// Of so many sources, the latest to come in, it is known whether a letter is a repeat.
const SOURCES: usize = 65_536;
/// When there are too many letters, one of so many goes.
const DROPPED_AT_ONCE: usize = 128;
const CAUSES: usize = Cause::ALL.len() + 1;
/// No name is before it.
const FIRST: LetterName = LetterName { partition: i32::MIN, offset: i64::MIN };

/// See the module's text. About 100 bytes a letter.
#[derive(Debug)]
pub struct Index {
    max_letters: usize,
    pub(super) texts: Texts,
    pub(super) partitions: BTreeMap<i32, Columns>,
    letters: usize,
    /// Letters by state and cause, those that can't be read behind the causes.
    counts: [[u64; CAUSES]; State::ALL.len()],
    /// What was decided of letters that have not come in yet.
    ahead: HashMap<LetterName, Ahead>,
    /// By partition: letters below have come in, or lie before where it is read from.
    read_to: BTreeMap<i32, i64>,
    /// By partition: letters below may lie on the queue, and are not in here, for there are too many.
    cut: BTreeMap<i32, Cut>,
    /// Letters of jobs that had been replayed, and the letter that each was replayed from.
    replayed_from: HashMap<LetterName, LetterName>,
    /// The other way round, with the time stamp of the letter that came back. In order: of a run's letters only those that
    /// came back are looked at.
    came_back_as: BTreeMap<(LetterName, LetterName), i64>,
    sources: Sources,
}

impl Index {
    /// An empty one that keeps at most so many letters, and loses the oldest when more come in.
    pub fn new(max_letters: usize) -> Index {
        Index {
            max_letters,
            texts: Texts::default(),
            partitions: BTreeMap::new(),
            letters: 0,
            counts: Default::default(),
            ahead: HashMap::new(),
            read_to: BTreeMap::new(),
            cut: BTreeMap::new(),
            replayed_from: HashMap::new(),
            came_back_as: BTreeMap::new(),
            sources: Sources::default(),
        }
    }

    /// A partition that begins at `low` is read from `first` on; about so many letters are to come in.
    pub fn begins(&mut self, partition: i32, low: i64, first: i64, letters: usize) {
        // All of them together need no more.
        let reserved: usize = self.partitions.values().map(|columns| columns.offsets.capacity()).sum();
        let letters = letters.min(self.max_letters.saturating_sub(reserved));
        self.partitions.entry(partition).or_default().reserve(letters);
        if first > low {
            self.cut.insert(partition, Cut { below: first, since_ms: None });
        }
        self.read_to.insert(partition, first);
        self.ahead.retain(|name, _| name.partition != partition || name.offset >= first);
    }

    /// A letter comes in, above all others of its partition; one that is not above them is known already, and left.
    pub fn add(&mut self, name: LetterName, letter: &Summary<'_>, replayed_from: Option<LetterName>) {
        let columns = self.partitions.entry(name.partition).or_default();
        if columns.offsets.last().is_some_and(|last| *last >= name.offset) {
            return;
        }
        self.read_to.insert(name.partition, name.offset + 1);
        let attempt = letter.source.map(|source| row::hash_of((source, letter.replay_count)));
        let is_repeat = attempt.is_some_and(|attempt| self.sources.is_repeat(attempt));
        columns.push(name.offset, letter, is_repeat, &mut self.texts);
        self.letters += 1;
        self.counts[state_number(State::Waiting)][cause_number(letter.cause)] += 1;
        if let Some(from) = replayed_from {
            self.replayed_from.insert(name, from);
            self.came_back_as.insert((from, name), letter.timestamp_ms);
        }
        if let Some(Ahead { letter_timestamp_ms, state, decided_at }) = self.ahead.remove(&name) {
            self.decide(name, letter_timestamp_ms, state, decided_at);
        }
        if self.letters > self.max_letters {
            self.drop_oldest();
        }
    }

    /// Something was decided of a letter that has that time stamp; of another letter of that name it says nothing. The
    /// decision itself lies at `decided_at` in the letter's partition of the decisions topic.
    pub fn decide(&mut self, name: LetterName, letter_timestamp_ms: i64, state: State, decided_at: i64) {
        let columns = self.partitions.entry(name.partition).or_default();
        let Some(at) = columns.find(name.offset) else {
            if columns.offsets.last().is_none_or(|last| *last < name.offset) {
                self.ahead.insert(name, Ahead { letter_timestamp_ms, state, decided_at });
            }
            return;
        };
        if columns.timestamps[at] == letter_timestamp_ms {
            columns.decided_at[at] = decided_at;
            let before = std::mem::replace(&mut columns.states[at], state);
            let cause = cause_number(columns.cause(at));
            self.counts[state_number(before)][cause] -= 1;
            self.counts[state_number(state)][cause] += 1;
        } else {
            self.ahead.insert(name, Ahead { letter_timestamp_ms, state, decided_at });
        }
    }

    /// Letters of that partition below `low` have left the queue.
    pub fn drop_below(&mut self, partition: i32, low: i64) {
        if let Some(columns) = self.partitions.get(&partition) {
            self.drop_first(partition, columns.offsets.partition_point(|offset| *offset < low));
            self.ahead.retain(|name, _| name.partition != partition || name.offset >= low);
        }
        self.cut.retain(|of, cut| *of != partition || cut.below > low);
    }

    /// The partition begins anew: the queue was deleted and made again, or lost its end. What was decided stays known, for
    /// letters that come in again.
    pub fn clear(&mut self, partition: i32) {
        if let Some(columns) = self.partitions.get(&partition) {
            for at in 0..columns.len() {
                let row = columns.row(at);
                if let Some(decided_at) = row.decided_at {
                    let name = LetterName { partition, offset: row.offset };
                    let ahead = Ahead { letter_timestamp_ms: row.timestamp_ms, state: row.state, decided_at };
                    self.ahead.insert(name, ahead);
                }
            }
        }
        self.drop_first(partition, self.partitions.get(&partition).map_or(0, Columns::len));
        self.read_to.remove(&partition);
        self.cut.remove(&partition);
        // What comes in again is no repeat.
        self.sources = Sources::default();
    }

    pub fn len(&self) -> usize {
        self.letters
    }

    /// How many partitions the queue has, as far as they have been seen.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    pub fn is_empty(&self) -> bool {
        self.letters == 0
    }

    /// Whether the queue has that partition, as far as is known.
    pub fn has_partition(&self, partition: i32) -> bool {
        self.partitions.contains_key(&partition)
    }

    pub fn find(&self, name: LetterName) -> Option<Row> {
        let columns = self.partitions.get(&name.partition)?;
        Some(columns.row(columns.find(name.offset)?))
    }

    /// Behind the last letter of that partition that has come in, or where it is read from; none where it is not read.
    pub fn read_to(&self, partition: i32) -> Option<i64> {
        self.read_to.get(&partition).copied()
    }

    /// The text behind a symbol of a [`Row`].
    pub fn text(&self, symbol: super::interned::Symbol) -> &str {
        self.texts.text(symbol)
    }

    /// How many letters are in that state for that cause; without a cause: of those that can't be read.
    pub fn count(&self, state: State, cause: Option<Cause>) -> u64 {
        self.counts[state_number(state)][cause_number(cause)]
    }

    /// How many letters are in that state.
    pub fn count_all(&self, state: State) -> u64 {
        self.counts[state_number(state)].iter().sum()
    }

    /// From when to when, by time stamps, all letters are in here; none where there is none.
    pub fn searched_ms(&self) -> Option<(i64, i64)> {
        let ranges = self.partitions.values().filter_map(Columns::range_ms);
        let (first, last) = ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        let begins = |(partition, cut): (&i32, &Cut)| {
            let first_in_here = || self.partitions.get(partition)?.range_ms().map(|range| range.0);
            cut.since_ms.or_else(first_in_here).unwrap_or(last)
        };
        Some((self.cut.iter().map(begins).fold(first, i64::max).min(last), last))
    }

    /// Whether there are older letters on the queue than those in here.
    pub fn is_cut(&self) -> bool {
        !self.cut.is_empty()
    }

    /// The time stamp of the oldest letter that waits.
    pub fn oldest_waiting_ms(&self) -> Option<i64> {
        let oldest = |columns: &Columns| {
            let waiting = columns.states.iter().zip(&columns.timestamps);
            waiting.filter(|(state, _)| **state == State::Waiting).map(|(_, stamp)| *stamp).min()
        };
        self.partitions.values().filter_map(oldest).min()
    }

    /// The letter whose replay came back as this one.
    pub fn replayed_from(&self, name: LetterName) -> Option<LetterName> {
        self.replayed_from.get(&name).copied()
    }

    /// The letter that this one's replay came back as; the newest, where there are several.
    pub fn came_back_as(&self, name: LetterName) -> Option<LetterName> {
        let returns = self.came_back_as.range((name, FIRST)..).take_while(|((from, _), _)| *from == name);
        returns.max_by_key(|(_, timestamp_ms)| **timestamp_ms).map(|((_, back), _)| *back)
    }

    /// How many of these letters have come back, as letters that are not older than that time stamp.
    pub fn failed_again(&self, replayed: &BTreeMap<i32, OffsetSet>, since_ms: i64) -> u64 {
        let count = |(&partition, letters): (&i32, &OffsetSet)| {
            let mut count = 0;
            let mut counted = None;
            let mut next = letters.iter_from(i64::MIN).next();
            while let Some(offset) = next.take() {
                let first = LetterName { partition, offset };
                for (&(from, _), &timestamp_ms) in self.came_back_as.range((first, FIRST)..) {
                    if from.partition != partition {
                        break;
                    }
                    if !letters.contains(from.offset) {
                        // Those between may be of many other runs.
                        next = letters.iter_from(from.offset).next();
                        break;
                    }
                    if timestamp_ms >= since_ms && counted.replace(from) != Some(from) {
                        count += 1;
                    }
                }
            }
            count
        };
        replayed.iter().map(count).sum()
    }

    fn drop_oldest(&mut self) {
        let first = |columns: &Columns| columns.timestamps.first().copied();
        let oldest = self
            .partitions
            .iter()
            .filter_map(|(partition, columns)| Some((first(columns)?, *partition)))
            .min();
        if let Some((_, partition)) = oldest {
            let columns = &self.partitions[&partition];
            let count = (self.max_letters / DROPPED_AT_ONCE).max(1).min(columns.len());
            let newest = columns.timestamps[..count].iter().max().map(|newest| newest + 1);
            let since_ms = self.cut.get(&partition).and_then(|cut| cut.since_ms).max(newest);
            self.cut.insert(partition, Cut { below: columns.offsets[count - 1] + 1, since_ms });
            self.drop_first(partition, count);
        }
    }

    fn drop_first(&mut self, partition: i32, count: usize) {
        let Some(columns) = self.partitions.get_mut(&partition).filter(|_| count > 0) else { return };
        for at in 0..count {
            self.counts[state_number(columns.states[at])][cause_number(columns.cause(at))] -= 1;
            let name = LetterName { partition, offset: columns.offsets[at] };
            if let Some(from) = self.replayed_from.remove(&name) {
                self.came_back_as.remove(&(from, name));
            }
        }
        columns.drop_first(count);
        self.letters -= count;
    }
}

/// Of a partition there is more on the queue than in here.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Those of lower offsets.
    below: i64,
    /// The newest of them is older; none where none of them was seen.
    since_ms: Option<i64>,
}

/// What was decided of a letter that has not come in yet.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    letter_timestamp_ms: i64,
    state: State,
    decided_at: i64,
}

/// The place of a state in [`State::ALL`].
pub(super) fn state_number(state: State) -> usize {
    state as usize
}

fn cause_number(cause: Option<Cause>) -> usize {
    cause.map_or(Cause::ALL.len(), |cause| usize::from(row::cause_number(cause)))
}

/// Takes what is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = row::hash_of(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The latest sources: a repeat comes soon after the first.
#[derive(Debug, Default)]
struct Sources {
    known: HashSet<u64, BuildHasherDefault<Hashed>>,
    order: VecDeque<u64>,
}

impl Sources {
    fn is_repeat(&mut self, source: u64) -> bool {
        if !self.known.insert(source) {
            return true;
        }
        self.order.push_back(source);
        if self.order.len() > SOURCES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        false
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "index_tests.rs"]
mod tests;
