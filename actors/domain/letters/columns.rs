//! What the index keeps of each letter, column by column: a scan touches only the columns that it asks for.

use std::borrow::Cow;
use std::ops::Range;

use super::decision::State;
use super::interned::{Symbol, Texts};
use super::row::{NONE, Row, Summary, cause_number, named, stage_number, tag};
use super::rules::Facts;
use crate::domain::failure::{Cause, Stage};

const NEVER: i64 = i64::MAX;
const UNDECIDED: i64 = -1;
/// Of one letter no more addresses, and no more tags, are found: a job has at most 100 and 10.
const MAX_NAMES: usize = 100;
const HAS_ORIGINAL: u8 = 1;
const IS_REPEAT: u8 = 2;
/// What [`Columns::domains`] says of the letter is not all: a search has to look into its names.
pub const DOMAINS_IN_NAMES: u8 = 4;
/// So many names are compared at once.
const CHUNK: usize = if cfg!(test) { 3 } else { 64 };

/// The letters of one partition, by ascending offsets.
#[derive(Debug, Default)]
pub struct Columns {
    pub offsets: Vec<i64>,
    pub timestamps: Vec<i64>,
    /// The smallest and the largest of them.
    range: Option<(i64, i64)>,
    /// So many whole seconds before its time stamp each failed; empty as long as that is 0, as of what we write ourselves.
    failed_before: Vec<i32>,
    expires: Vec<i64>,
    pub states: Vec<State>,
    pub decided_at: Vec<i64>,
    /// By [`cause_number`].
    pub causes: Vec<u8>,
    /// By [`stage_number`].
    pub stages: Vec<u8>,
    pub codes: Vec<u16>,
    /// [`DOMAINS_IN_NAMES`] is one of them.
    pub flags: Vec<u8>,
    replays: Vec<u8>,
    pub reasons: Vec<Symbol>,
    pub domains: Vec<Symbol>,
    pub templates: Vec<Symbol>,
    /// Of each letter what a search may name whole: addresses, tags, the idempotency key; and the domains, where the column
    /// of domains does not say it all.
    names: Vec<u64>,
    /// Where those of each letter end.
    names_end: Vec<u32>,
}

impl Columns {
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub fn reserve(&mut self, letters: usize) {
        self.offsets.reserve(letters);
        self.timestamps.reserve(letters);
        self.expires.reserve(letters);
        self.states.reserve(letters);
        self.decided_at.reserve(letters);
        self.causes.reserve(letters);
        self.stages.reserve(letters);
        self.codes.reserve(letters);
        self.flags.reserve(letters);
        self.replays.reserve(letters);
        self.reasons.reserve(letters);
        self.domains.reserve(letters);
        self.templates.reserve(letters);
        self.names_end.reserve(letters);
    }

    pub fn push(&mut self, offset: i64, letter: &Summary<'_>, is_repeat: bool, texts: &mut Texts) {
        self.offsets.push(offset);
        self.timestamps.push(letter.timestamp_ms);
        self.range = wider(self.range, letter.timestamp_ms);
        let seconds =
            letter.failed_at_ms.map_or(0, |at| letter.timestamp_ms.saturating_sub(at).div_euclid(1000));
        let seconds = i32::try_from(seconds).unwrap_or(if seconds < 0 { i32::MIN } else { i32::MAX });
        if seconds != 0 && self.failed_before.is_empty() {
            self.failed_before.reserve_exact(self.timestamps.capacity());
            self.failed_before.resize(self.len() - 1, 0);
        }
        if seconds != 0 || !self.failed_before.is_empty() {
            self.failed_before.push(seconds);
        }
        self.expires.push(letter.expires_at_ms.unwrap_or(NEVER));
        self.states.push(State::Waiting);
        self.decided_at.push(UNDECIDED);
        self.causes.push(letter.cause.map_or(NONE, cause_number));
        self.stages.push(letter.stage.map_or(NONE, stage_number));
        self.codes.push(letter.code.unwrap_or(0));
        self.replays.push(u8::try_from(letter.replay_count).unwrap_or(u8::MAX));
        self.reasons.push(texts.symbol(&letter.reason));
        let domain = letter.recipients.first().map(|address| domain_of(address)).unwrap_or_default();
        let symbol = texts.symbol(&domain);
        self.domains.push(symbol);
        self.templates.push(texts.symbol(letter.template));
        let recipients = || letter.recipients.iter().take(MAX_NAMES).map(|address| in_small_letters(address));
        let says_it_all =
            texts.text(symbol) == domain && recipients().all(|address| domain_of(&address) == domain);
        self.names.extend(recipients().map(|address| named("address", &address)));
        if !says_it_all {
            self.names.extend(recipients().map(|address| named("domain", &domain_of(&address))));
        }
        let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
        self.flags.push(
            flag(HAS_ORIGINAL, letter.has_original)
                | flag(IS_REPEAT, is_repeat)
                | flag(DOMAINS_IN_NAMES, !says_it_all),
        );
        self.names.extend(letter.tags.iter().take(MAX_NAMES).map(|(name, value)| tag(name, value)));
        self.names.push(named("key", letter.idempotency_key));
        self.names_end.push(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
    }

    /// Takes the first `count` letters off.
    pub fn drop_first(&mut self, count: usize) {
        let names = self.names_before(count);
        self.offsets.drain(..count);
        self.timestamps.drain(..count);
        self.range = self.timestamps.iter().copied().fold(None, wider);
        self.failed_before.drain(..count.min(self.failed_before.len()));
        self.expires.drain(..count);
        self.states.drain(..count);
        self.decided_at.drain(..count);
        self.causes.drain(..count);
        self.stages.drain(..count);
        self.codes.drain(..count);
        self.flags.drain(..count);
        self.replays.drain(..count);
        self.reasons.drain(..count);
        self.domains.drain(..count);
        self.templates.drain(..count);
        self.names.drain(..names);
        self.names_end.drain(..count);
        self.names_end.iter_mut().for_each(|end| *end -= names as u32);
    }

    /// The smallest and the largest time stamp.
    pub fn range_ms(&self) -> Option<(i64, i64)> {
        self.range
    }

    /// When the job failed, milliseconds since the epoch: to the second, where that is not the letter's time stamp.
    pub fn failed_at_ms(&self, at: usize) -> i64 {
        let seconds = self.failed_before.get(at).copied().unwrap_or(0);
        self.timestamps[at].saturating_sub(i64::from(seconds) * 1000)
    }

    /// Whether anything was ever decided of the letter.
    pub fn is_decided(&self, at: usize) -> bool {
        self.decided_at[at] != UNDECIDED
    }

    /// Where the letter at `offset` is.
    pub fn find(&self, offset: i64) -> Option<usize> {
        self.offsets.binary_search(&offset).ok()
    }

    pub fn cause(&self, at: usize) -> Option<Cause> {
        Cause::ALL.get(usize::from(self.causes[at])).copied()
    }

    pub fn stage(&self, at: usize) -> Option<Stage> {
        Stage::ALL.get(usize::from(self.stages[at])).copied()
    }

    /// How many names the letters before that one have.
    fn names_before(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |last| self.names_end[last] as usize)
    }

    /// Which letters of the block may be named so, in one of these ways ([`named`]).
    pub fn named(&self, block: Range<usize>, names: &[u64]) -> Vec<bool> {
        let mut marks = vec![false; block.len()];
        let (mut from, to) = (self.names_before(block.start), self.names_before(block.end));
        for chunk in self.names[from..to].chunks(CHUNK) {
            // Hardly ever: most chunks are looked at as one.
            if names.iter().any(|name| chunk.iter().fold(false, |is_in, each| is_in | (each == name))) {
                let found =
                    (from..).zip(chunk).filter(|(_, each)| names.contains(each)).map(|(place, _)| place);
                for place in found {
                    let letter = self.names_end[block.clone()].partition_point(|end| *end as usize <= place);
                    marks[letter] = true;
                }
            }
            from += chunk.len();
        }
        marks
    }

    /// Of the columns of a [`Row`] those alone that a decision on its letter needs.
    pub fn facts(&self, at: usize) -> Facts {
        Facts {
            state: self.states[at],
            cause: self.cause(at),
            replay_count: u32::from(self.replays[at]),
            expires_at_ms: self.expires_at_ms(at),
            has_original: self.has_flag(at, HAS_ORIGINAL),
        }
    }

    pub fn is_repeat(&self, at: usize) -> bool {
        self.has_flag(at, IS_REPEAT)
    }

    /// Whether a recipient that was not reached has the domain with that symbol and that name ([`named`]).
    pub fn has_domain(&self, at: usize, symbol: Symbol, name: u64) -> bool {
        if self.has_flag(at, DOMAINS_IN_NAMES) {
            self.names[self.names_before(at)..self.names_before(at + 1)].contains(&name)
        } else {
            self.domains[at] == symbol
        }
    }

    fn has_flag(&self, at: usize, flag: u8) -> bool {
        self.flags[at] & flag > 0
    }

    fn expires_at_ms(&self, at: usize) -> Option<i64> {
        Some(self.expires[at]).filter(|at| *at != NEVER)
    }

    pub fn row(&self, at: usize) -> Row {
        Row {
            offset: self.offsets[at],
            timestamp_ms: self.timestamps[at],
            state: self.states[at],
            cause: self.cause(at),
            stage: self.stage(at),
            code: Some(self.codes[at]).filter(|code| *code > 0),
            reason: self.reasons[at],
            domain: self.domains[at],
            template: self.templates[at],
            replay_count: u32::from(self.replays[at]),
            expires_at_ms: self.expires_at_ms(at),
            has_original: self.has_flag(at, HAS_ORIGINAL),
            decided_at: Some(self.decided_at[at]).filter(|at| *at != UNDECIDED),
            is_repeat: self.is_repeat(at),
        }
    }
}

fn wider(range: Option<(i64, i64)>, at: i64) -> Option<(i64, i64)> {
    let (first, last) = range.unwrap_or((at, at));
    Some((first.min(at), last.max(at)))
}

fn domain_of(address: &str) -> Cow<'_, str> {
    in_small_letters(address.rsplit_once('@').map_or("", |(_, domain)| domain))
}

fn in_small_letters(text: &str) -> Cow<'_, str> {
    // Most are.
    if text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) {
        text.to_lowercase().into()
    } else {
        text.into()
    }
}
