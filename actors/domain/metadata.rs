//! What a commit says beyond its offset, as text: what is finished beyond it, what has happened to the rest, and
//! how the partition was left.
//!
//! A broker takes 4,096 characters by default (`offset.metadata.max.bytes`). What can't be read is worth no more
//! than none: the plain offset then means duplicates, never loss.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::job::RecipientSet;
use super::symbols::{Reader, Writer};

/// The longest text, in characters: what a broker takes by default.
pub const MAX_CHARACTERS: usize = 4096;

/// Name and version of the encoding. A newer one is unreadable here.
const PREFIX: &str = "mailroom1:";
const OPEN: u64 = 1;
const TRYING: u64 = 2;

/// See the module's text. All offsets are those of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// A worker has it in hand, or died with it: a clean revoke or stop takes this off.
    pub open: bool,
    /// Nothing at or above it has been handed out.
    pub taken_to: i64,
    /// How often in a row the partition was found open without progress since.
    pub unclean_ends: u32,
    /// The one job that is being attempted, where its partition is worked through carefully.
    pub trying: Option<i64>,
    /// Jobs that ended the process, and whose dead letters are still to come.
    pub culprits: BTreeSet<i64>,
    /// From the committed offset up to here everything is finished but what is in `unfinished`.
    pub finished_to: i64,
    /// What is not finished below `finished_to`, and whatever has a history.
    pub unfinished: BTreeMap<i64, Past>,
}

/// What has happened to an unfinished job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Attempts spent.
    pub attempts: u32,
    /// The recipients that have got it.
    pub served: RecipientSet,
}

impl Past {
    pub fn is_empty(&self) -> bool {
        self.attempts == 0 && self.served.is_empty()
    }
}

/// A text that is not ours, of a newer version, or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Metadata {
    /// The text for a commit of `offset`, of at most `max_characters`. Where all does not fit, attempts are left
    /// out first, then the recipients served, from the newest job on, then what is finished: a restart repeats
    /// some of it, and loses nothing. Empty where not even the state fits.
    pub fn encode(&self, offset: i64, max_characters: usize) -> String {
        let whole = self.text(offset, true, usize::MAX);
        if whole.len() <= max_characters {
            return whole;
        }
        let mut served = self.unfinished.values().filter(|past| !past.served.is_empty()).count();
        loop {
            let text = self.text(offset, false, served);
            if text.len() <= max_characters {
                return text;
            }
            if served == 0 {
                break;
            }
            served /= 2;
        }
        let state = Metadata { finished_to: offset, unfinished: BTreeMap::new(), ..self.clone() };
        let text = state.text(offset, false, 0);
        if text.len() <= max_characters { text } else { String::new() }
    }

    fn text(&self, offset: i64, with_attempts: bool, served: usize) -> String {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        let from_offset = |other: i64| u64::try_from(other.saturating_sub(offset)).unwrap_or(0);
        writer.number(u64::from(self.open) * OPEN + u64::from(self.trying.is_some()) * TRYING);
        writer.number(from_offset(self.taken_to));
        writer.number(u64::from(self.unclean_ends));
        if let Some(trying) = self.trying {
            writer.number(from_offset(trying));
        }
        writer.number(self.culprits.len() as u64);
        for culprit in &self.culprits {
            writer.number(from_offset(*culprit));
        }
        let unfinished = || self.unfinished.range(offset..);
        // Up to the last that is finished: which are not.
        writer.number(from_offset(self.finished_to));
        let mut next = offset;
        for (at, _) in unfinished().take_while(|(at, _)| **at < self.finished_to) {
            writer.symbols(1, from_offset(*at) - from_offset(next));
            writer.symbols(0, 1);
            next = at + 1;
        }
        writer.symbols(1, from_offset(self.finished_to) - from_offset(next));
        writer.flush(1);
        // Then, of what is not: how many attempts each has spent, to the last that has spent one.
        let mut attempts = Vec::new();
        let mut with_served = Vec::new();
        let mut index = 0u64;
        let mut last = self.finished_to.max(offset);
        for (at, past) in unfinished() {
            // Beyond what is finished nothing is, so those without a history count too.
            if *at >= self.finished_to {
                index += from_offset(*at) - from_offset(last);
                last = at + 1;
            }
            if past.attempts > 0 && with_attempts {
                attempts.push((index, past.attempts.min(u32::from(u8::MAX))));
            }
            if !past.served.is_empty() && with_served.len() < served {
                with_served.push((index, past.served));
            }
            index += 1;
        }
        let most = attempts.iter().map(|(_, spent)| *spent).max().unwrap_or(0);
        let width = u32::BITS - most.leading_zeros();
        writer.number(u64::from(width));
        writer.number(attempts.last().map_or(0, |(index, _)| index + 1));
        let mut next = 0;
        for (index, spent) in attempts {
            writer.symbols(0, index - next);
            writer.symbols(spent as u8, 1);
            next = index + 1;
        }
        writer.flush(width);
        // And which recipients have it.
        writer.number(with_served.len() as u64);
        let mut next = 0;
        for (index, served) in with_served {
            writer.number(index - next);
            writer.set(served);
            next = index + 1;
        }
        format!("{PREFIX}{}", STANDARD_NO_PAD.encode(bytes))
    }

    /// What [`Metadata::encode`] made for a commit of `offset`.
    ///
    /// # Errors
    /// [`Unreadable`]: not ours, of a newer version, or damaged.
    pub fn decode(text: &str, offset: i64) -> Result<Metadata, Unreadable> {
        let text = text.strip_prefix(PREFIX).ok_or(Unreadable)?;
        let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| Unreadable)?;
        Metadata::read(&bytes, offset).ok_or(Unreadable)
    }

    fn read(bytes: &[u8], offset: i64) -> Option<Metadata> {
        let mut reader = Reader::new(bytes);
        let beyond = |distance: u64| offset.checked_add(i64::try_from(distance).ok()?);
        let flags = reader.number()?;
        if flags > OPEN + TRYING {
            return None;
        }
        let taken_to = beyond(reader.number()?)?;
        let unclean_ends = u32::try_from(reader.number()?).ok()?;
        let trying = if flags & TRYING > 0 { Some(beyond(reader.number()?)?) } else { None };
        let mut culprits = BTreeSet::new();
        for _ in 0..reader.number()? {
            culprits.insert(beyond(reader.number()?)?);
        }
        let finished = reader.number()?;
        let finished_to = beyond(finished)?;
        let mut unfinished = BTreeMap::new();
        let mut at = 0u64;
        for (finished, count) in reader.runs(1, finished)? {
            if finished == 0 {
                if unfinished.len() as u64 + count > MAX_UNFINISHED {
                    return None;
                }
                for each in at..at + count {
                    unfinished.insert(beyond(each)?, Past::default());
                }
            }
            at += count;
        }
        let below: Vec<i64> = unfinished.keys().copied().collect();
        let offset_of = |index: u64| {
            let found = usize::try_from(index).ok().and_then(|index| below.get(index).copied());
            match found {
                Some(offset) => Some(offset),
                None => finished_to.checked_add(i64::try_from(index - below.len() as u64).ok()?),
            }
        };
        let width = u32::try_from(reader.number()?).ok().filter(|width| *width <= 8)?;
        let listed = reader.number().filter(|listed| *listed == 0 || width > 0)?;
        let mut index = 0u64;
        for (spent, count) in reader.runs(width, listed)? {
            if spent > 0 {
                if unfinished.len() as u64 + count > MAX_UNFINISHED {
                    return None;
                }
                for each in index..index + count {
                    unfinished.entry(offset_of(each)?).or_default().attempts = u32::from(spent);
                }
            }
            index += count;
        }
        let mut index = 0u64;
        for _ in 0..reader.number()? {
            index = index.checked_add(reader.number()?)?;
            unfinished.entry(offset_of(index)?).or_default().served = reader.set()?;
            index += 1;
        }
        reader.is_at_the_end().then_some(Metadata {
            open: flags & OPEN > 0,
            taken_to,
            unclean_ends,
            trying,
            culprits,
            finished_to,
            unfinished,
        })
    }
}

/// More are in nobody's hand at once; a text that says so is damaged.
const MAX_UNFINISHED: u64 = 10_000_000;

#[cfg(test)]
#[path = "metadata_tests.rs"]
mod tests;
