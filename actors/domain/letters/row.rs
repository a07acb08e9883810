//! What the index keeps of each letter, column by column: a scan touches only the columns that it asks for.

use std::borrow::Cow;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::decision::State;
use super::interned::{Symbol, Texts};
use super::rules::Facts;
use crate::domain::failure::{Cause, Stage};

/// A letter, read once when it comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary<'a> {
    /// The record's, milliseconds since the epoch: `failed_at`, where the topic keeps what producers say.
    pub timestamp_ms: i64,
    /// None where the letter can't be read.
    pub cause: Option<Cause>,
    pub stage: Option<Stage>,
    pub code: Option<u16>,
    /// With what differs from letter to letter taken out ([`super::alike`]).
    pub reason: String,
    /// The job's template; empty where it names none.
    pub template: &'a str,
    pub tags: Vec<(&'a str, &'a str)>,
    /// The bare addresses that were not reached.
    pub recipients: Vec<&'a str>,
    pub idempotency_key: &'a str,
    pub replay_count: u32,
    pub expires_at_ms: Option<i64>,
    pub has_original: bool,
    /// Names the record on the main queue: `topic-partition-offset`.
    pub source: String,
}

/// A letter of the index, as the columns have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub state: State,
    pub cause: Option<Cause>,
    pub stage: Option<Stage>,
    pub code: Option<u16>,
    pub reason: Symbol,
    pub domain: Symbol,
    pub template: Symbol,
    pub replay_count: u32,
    pub expires_at_ms: Option<i64>,
    pub has_original: bool,
    /// Where the latest decision lies in the letter's partition of the decisions topic.
    pub decided_at: Option<i64>,
    /// The same failure was written before: by a producer that had no answer, or after a crash.
    pub is_repeat: bool,
}

const NEVER: i64 = i64::MAX;
const UNDECIDED: i64 = -1;
const NONE: u8 = u8::MAX;
/// Of one letter no more addresses, and no more tags, are found: a job has at most 100 and 10.
const MAX_NAMES: usize = 100;
const HAS_ORIGINAL: u8 = 1;
const IS_REPEAT: u8 = 2;
const DOMAINS_IN_NAMES: u8 = 4;

/// The letters of one partition, by ascending offsets.
#[derive(Debug, Default)]
pub struct Columns {
    pub offsets: Vec<i64>,
    pub timestamps: Vec<i64>,
    expires: Vec<i64>,
    pub states: Vec<State>,
    pub decided_at: Vec<i64>,
    causes: Vec<u8>,
    stages: Vec<u8>,
    pub codes: Vec<u16>,
    flags: Vec<u8>,
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
        let names = count.checked_sub(1).map_or(0, |last| self.names_end[last]);
        self.offsets.drain(..count);
        self.timestamps.drain(..count);
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
        self.names.drain(..names as usize);
        self.names_end.drain(..count);
        self.names_end.iter_mut().for_each(|end| *end -= names);
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

    /// The hashes of what the letter may be named by ([`named`]).
    pub fn names(&self, at: usize) -> &[u64] {
        let from = at.checked_sub(1).map_or(0, |before| self.names_end[before]);
        &self.names[from as usize..self.names_end[at] as usize]
    }

    /// Of the columns of a [`Row`] those alone that a decision on its letter needs.
    pub fn facts(&self, at: usize) -> Facts {
        Facts {
            state: self.states[at],
            cause: self.cause(at),
            replay_count: u32::from(self.replays[at]),
            expires_at_ms: self.expires_at_ms(at),
            has_original: self.flags[at] & HAS_ORIGINAL > 0,
        }
    }

    pub fn is_repeat(&self, at: usize) -> bool {
        self.flags[at] & IS_REPEAT > 0
    }

    /// Whether a recipient that was not reached has that domain: its symbol, and its name ([`named`]).
    pub fn has_domain(&self, at: usize, symbol: Option<Symbol>, name: u64) -> bool {
        if self.flags[at] & DOMAINS_IN_NAMES > 0 {
            self.names(at).contains(&name)
        } else {
            symbol == Some(self.domains[at])
        }
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
            has_original: self.flags[at] & HAS_ORIGINAL > 0,
            decided_at: Some(self.decided_at[at]).filter(|at| *at != UNDECIDED),
            is_repeat: self.is_repeat(at),
        }
    }
}

/// The place of a cause in [`Cause::ALL`].
pub fn cause_number(cause: Cause) -> u8 {
    Cause::ALL.iter().position(|each| *each == cause).map_or(NONE, |at| at as u8)
}

fn stage_number(stage: Stage) -> u8 {
    Stage::ALL.iter().position(|each| *each == stage).map_or(NONE, |at| at as u8)
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

/// What stands for a text of that kind in [`Columns::names`].
pub fn named(kind: &str, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (kind, text).hash(&mut hasher);
    hasher.finish()
}

/// What stands for a tag.
pub fn tag(name: &str, value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    ("tag", name, value).hash(&mut hasher);
    hasher.finish()
}
