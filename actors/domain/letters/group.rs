//! Letters counted by what they have in common, and what to do with them.

use std::str::FromStr;

use super::name::LetterName;
use super::rules::is_permanent;
use crate::domain::failure::Cause;

/// What letters are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    Cause,
    Code,
    Domain,
    Template,
    Stage,
    /// Addresses and numbers in it taken out.
    Reason,
}

impl By {
    pub const ALL: [By; 6] = [By::Cause, By::Code, By::Domain, By::Template, By::Stage, By::Reason];

    pub fn as_str(self) -> &'static str {
        match self {
            By::Cause => "cause",
            By::Code => "code",
            By::Domain => "domain",
            By::Template => "template",
            By::Stage => "stage",
            By::Reason => "reason",
        }
    }
}

impl FromStr for By {
    type Err = ();

    fn from_str(text: &str) -> Result<By, ()> {
        By::ALL.into_iter().find(|by| by.as_str() == text).ok_or(())
    }
}

/// What is worth doing with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Advice {
    /// What was wrong passes by itself.
    Replay,
    /// First something must be put right: a template, a password, a limit.
    AfterFix,
    /// The same bytes will fail again.
    No,
}

impl Advice {
    pub fn as_str(self) -> &'static str {
        match self {
            Advice::Replay => "replay",
            Advice::AfterFix => "after-fix",
            Advice::No => "no",
        }
    }

    /// A letter without a cause can't be read: it can't be replayed.
    pub fn of(cause: Option<Cause>) -> Advice {
        match cause {
            None | Some(Cause::Expired) => Advice::No,
            Some(cause) if is_permanent(cause) => Advice::No,
            Some(
                Cause::Quota | Cause::Throttled | Cause::SmtpUnreachable | Cause::Ambiguous | Cause::Unknown,
            ) => Advice::Replay,
            Some(_) => Advice::AfterFix,
        }
    }
}

/// Letters with something in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Empty where the letters have none: no code, no template.
    pub key: String,
    pub count: u64,
    /// By state, in the order of `State::ALL`.
    pub states: [u64; 4],
    /// The oldest and the newest time stamp, milliseconds since the epoch.
    pub first_ms: i64,
    pub last_ms: i64,
    /// The newest of them.
    pub example: LetterName,
    /// What most of them call for.
    pub advice: Advice,
}
