//! All that one frame of the live view shows.

use std::net::SocketAddr;
use std::time::Duration;

use mailroom_actors::domain::failure::Cause;

use super::history::History;
use super::journal::Entry;
use super::place::Place;
use super::theme::Theme;
use crate::demo::letter::Letter;
use crate::demo::readings::Readings;
use crate::demo::stage::Phase;
use crate::dlq::view::GroupView;

/// What is wrong with the relay, as those know who broke it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relay {
    pub down: bool,
    pub slow: bool,
    pub too_many: bool,
}

/// One moment.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// Jobs a second.
    pub rate: u32,
    /// Where `/health` is.
    pub http: SocketAddr,
    pub elapsed: Duration,
    pub phase: Phase,
    /// None: the metrics do not answer.
    pub readings: Option<&'a Readings>,
    pub history: &'a History,
    pub relay: Relay,
    /// Dead letters by cause and reason.
    pub reasons: &'a [(Cause, String, u64)],
    /// Dead letters by cause as the service's index has them, the largest group first.
    pub groups: &'a [GroupView],
    /// The last dead letters, the newest first.
    pub letters: &'a [Letter],
    /// The oldest first.
    pub journal: &'a [Entry],
    pub place: Place,
    pub theme: Theme,
}
