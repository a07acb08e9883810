//! All that is known of the dead letter queue, in memory: the index of its letters, and the runs over them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use mailroom_actors::domain::letters::decision::State;
use mailroom_actors::domain::letters::index::Index;
use mailroom_actors::domain::letters::owner::BETWEEN_NOTICES_MS;
use mailroom_actors::domain::letters::run::Tracked;
use mailroom_actors::domain::letters::runs::{Leftovers, Runs};
use parking_lot::{Mutex, RwLock};

use super::records::Said;

/// Kept up to date by the [`super::reader`]; read by whoever asks. Shared between threads.
pub struct Shelf {
    pub index: RwLock<Index>,
    runs: Mutex<Runs>,
    sweep: Mutex<BTreeMap<i32, Sweep>>,
    notices: Mutex<Notices>,
    letters_read: AtomicBool,
    decisions_read: AtomicBool,
}

/// What there is to take off a partition of the decisions topic.
#[derive(Default)]
struct Sweep {
    /// The partition of the queue begins here.
    low: i64,
    /// The letters that have decisions.
    decided: BTreeSet<i64>,
}

/// More are told of as so many.
const MOST_PARKED: usize = 1_000_000;

/// What somebody is to be told of.
#[derive(Default)]
struct Notices {
    /// When letters were parked that nobody was told of yet; milliseconds since the epoch.
    parked_ms: Vec<i64>,
    told_ms: Option<i64>,
}

impl Shelf {
    /// An empty one, for at most so many letters.
    pub fn new(max_letters: usize) -> Shelf {
        Shelf {
            index: RwLock::new(Index::new(max_letters)),
            runs: Mutex::default(),
            sweep: Mutex::default(),
            notices: Mutex::default(),
            letters_read: AtomicBool::new(false),
            decisions_read: AtomicBool::new(false),
        }
    }

    /// Whether all is in here that lay on both topics when they were begun to be read.
    pub fn is_complete(&self) -> bool {
        self.letters_read.load(Ordering::Acquire) && self.decisions_are_known()
    }

    /// Whether the topic of decisions has been read to where it ended: before that a run may have been cancelled unheard.
    pub fn decisions_are_known(&self) -> bool {
        self.decisions_read.load(Ordering::Acquire)
    }

    pub(super) fn letters_are_read(&self) {
        self.letters_read.store(true, Ordering::Release);
    }

    /// Nothing is missing of the decisions; also to be said where their topic is not there.
    pub fn decisions_are_read(&self) {
        self.decisions_read.store(true, Ordering::Release);
    }

    /// A record of the decisions topic, which lies at that offset of its partition.
    pub fn hear(&self, said: Said, offset: i64) {
        match said {
            Said::Decided(name, decision) => {
                let (timestamp, state) = (decision.letter_timestamp_ms, decision.latest.state);
                if state == State::Parked {
                    let mut notices = self.notices.lock();
                    if notices.parked_ms.len() < MOST_PARKED {
                        notices.parked_ms.push(decision.latest.at_ms);
                    }
                }
                self.index.write().decide(name, timestamp, state, offset);
                self.sweep.lock().entry(name.partition).or_default().decided.insert(name.offset);
            }
            Said::Forgotten(name) => {
                self.sweep.lock().entry(name.partition).or_default().decided.remove(&name.offset);
            }
            Said::Notified { at_ms } => self.notices.lock().told_ms = Some(at_ms),
            Said::Asked(run) => self.runs.lock().ask(*run),
            Said::Cancelled(id, cancelled) => self.runs.lock().cancel(id, cancelled),
            Said::Canary(id, canary) => self.runs.lock().judge(id, canary),
            Said::Progress(id, partition, progress) => self.runs.lock().progress(id, partition, progress),
            Said::RunForgotten(id) => self.runs.lock().forget(&id),
            Said::ProgressForgotten(id, partition) => self.runs.lock().forget_progress(&id, partition),
        }
    }

    /// How many letters were parked since somebody was last told; none where that was less than an hour ago, or the queue
    /// is still being read.
    pub fn parked_since_the_notice(&self, now_ms: i64) -> Option<u64> {
        let mut notices = self.notices.lock();
        // One from the future was written by a clock that was ahead, and says nothing.
        let told_ms = notices.told_ms.filter(|told| *told <= now_ms);
        if !self.is_complete() || told_ms.is_some_and(|told| now_ms - told < BETWEEN_NOTICES_MS) {
            return None;
        }
        notices.parked_ms.retain(|parked| told_ms.is_none_or(|told| *parked >= told));
        Some(notices.parked_ms.len() as u64)
    }

    /// The partition of the queue begins anew.
    pub(super) fn letters_begin_anew(&self, partition: i32) {
        // What left the former queue says nothing of this one.
        self.sweep.lock().entry(partition).or_default().low = 0;
        self.index.write().clear(partition);
    }

    /// Letters below `low` have left that partition of the queue.
    pub(super) fn letters_left(&self, partition: i32, low: i64) {
        self.index.write().drop_below(partition, low);
        self.sweep.lock().entry(partition).or_default().low = low;
    }

    /// The offset below which letters have left the partition, where some of them still have decisions.
    pub fn left_below(&self, partition: i32) -> Option<i64> {
        let sweep = self.sweep.lock();
        let sweep = sweep.get(&partition)?;
        sweep.decided.first().is_some_and(|first| *first < sweep.low).then_some(sweep.low)
    }

    /// What there is to take off that partition of the decisions topic of runs whose letters have left.
    pub fn leftovers(&self, partition: i32, now_ms: i64) -> Leftovers {
        let sweep = self.sweep.lock();
        let low = |partition| sweep.get(&partition).map_or(0, |sweep| sweep.low);
        self.runs.lock().leftovers(partition, low, now_ms)
    }

    pub fn run(&self, id: &str) -> Option<Tracked> {
        self.runs.lock().get(id)
    }

    /// Every run that is known, the newest first.
    pub fn runs(&self) -> Vec<Tracked> {
        self.runs.lock().all()
    }

    /// Those that are under way, the oldest first. Asked once a second on the thread that sends e-mails.
    pub fn runs_under_way(&self) -> Vec<Tracked> {
        self.runs.lock().under_way()
    }

    /// How many letters that this run replayed have come back.
    pub fn failed_again(&self, run: &Tracked) -> u64 {
        self.index.read().failed_again(&run.run.letters, run.run.newest_ms)
    }
}
