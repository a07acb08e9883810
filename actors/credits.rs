//! How much more the worker may take: in jobs, in bytes, and how far in each partition; asked by the poll
//! thread before each record.
//!
//! A record that is admitted holds its credits until it is settled or given back.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::domain::topic_partition::TopicPartition;

/// `limits.in_flight` and `limits.in_flight_bytes`, and how much of them is in use.
#[derive(Debug)]
pub struct Credits {
    max_jobs: usize,
    max_bytes: usize,
    used: Mutex<Used>,
    /// For each partition: no record at or above this offset may be taken yet.
    cleared: Mutex<BTreeMap<TopicPartition, i64>>,
}

#[derive(Debug, Default)]
struct Used {
    jobs: usize,
    bytes: usize,
    /// The poll thread was turned away and waits to be told that there is room.
    wanted: bool,
    intake: Intake,
}

/// Whether anything may be taken at all, whatever the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intake {
    #[default]
    Open,
    /// The relay is away: one job at a time, to try it with.
    OneInHand,
    /// Paused by hand.
    Shut,
}

impl Credits {
    /// The poll thread is woken for this much room at the latest; for an eighth of the limit where that is less.
    const JOBS_WORTH_WAKING: usize = 512;
    const BYTES_WORTH_WAKING: usize = 4 << 20;

    pub fn new(max_jobs: usize, max_bytes: usize) -> Credits {
        Credits { max_jobs, max_bytes, used: Mutex::default(), cleared: Mutex::default() }
    }

    /// Whether one more record may be read at all: there is room for a job, and bytes are left.
    /// When not, the poll thread is told by [`crate::ports::OffsetLog::read_on`] once there is.
    pub fn is_open(&self) -> bool {
        let mut used = self.used.lock();
        let open = match used.intake {
            Intake::Open => used.jobs < self.max_jobs && used.bytes < self.max_bytes,
            Intake::OneInHand => used.jobs == 0,
            Intake::Shut => false,
        };
        used.wanted |= !open;
        open
    }

    /// The offset at which the partition has to wait: what was acknowledged as `taken_to` of it. A record at or
    /// above it that has been read already is kept back until [`Credits::clear`] has raised it, which is told
    /// by [`crate::ports::OffsetLog::read_on`].
    pub fn cleared_to(&self, partition: TopicPartition) -> i64 {
        self.cleared.lock().get(&partition).copied().unwrap_or(i64::MIN)
    }

    /// From now on records of the partition below `to` may be taken.
    pub fn clear(&self, partition: TopicPartition, to: i64) {
        self.cleared.lock().insert(partition, to);
    }

    /// Nothing of the partition may be taken, until it is cleared anew.
    pub fn close(&self, partition: TopicPartition) {
        self.cleared.lock().remove(&partition);
    }

    /// Whether anything may be taken at all. True when the poll thread waits, and has to be told that it may
    /// read on.
    pub fn set_intake(&self, intake: Intake) -> bool {
        let mut used = self.used.lock();
        let wake = used.wanted && used.intake != intake && intake != Intake::Shut;
        used.intake = intake;
        wake
    }

    /// Takes credits for a record of `bytes` that has been read. A record is never refused once read: the
    /// bytes may so be exceeded by one record, and one larger than the whole limit passes alone.
    pub fn admit(&self, bytes: usize) {
        let mut used = self.used.lock();
        used.jobs += 1;
        used.bytes += bytes;
    }

    /// Gives credits back. True when the poll thread waits for that, and there is room enough again to be
    /// worth waking it: for one job at a time it would be woken as often as an e-mail is sent. What frees less
    /// it finds by itself, since it looks around many times a second.
    pub fn release(&self, bytes: usize) -> bool {
        let mut used = self.used.lock();
        used.jobs = used.jobs.saturating_sub(1);
        used.bytes = used.bytes.saturating_sub(bytes);
        let room =
            |max: usize, used: usize, most: usize| max.saturating_sub(used) >= (max / 8).clamp(1, most);
        let wake = used.wanted
            && match used.intake {
                Intake::Open => {
                    room(self.max_jobs, used.jobs, Self::JOBS_WORTH_WAKING)
                        && room(self.max_bytes, used.bytes, Self::BYTES_WORTH_WAKING)
                }
                Intake::OneInHand => used.jobs == 0,
                Intake::Shut => false,
            };
        if wake {
            used.wanted = false;
        }
        wake
    }

    /// Whether intake has to wait, without asking to be told.
    pub fn is_full(&self) -> bool {
        let used = self.used.lock();
        used.jobs >= self.max_jobs || used.bytes >= self.max_bytes
    }

    /// Jobs and bytes in use.
    pub fn in_use(&self) -> (usize, usize) {
        let used = self.used.lock();
        (used.jobs, used.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_larger_than_the_whole_limit_passes_alone() {
        let credits = Credits::new(10, 100);
        assert!(credits.is_open());
        credits.admit(1000);
        assert!(!credits.is_open());
        assert!(credits.release(1000), "all is free again");
        assert!(credits.is_open());
    }

    #[test]
    fn the_poll_thread_is_woken_once_and_only_for_an_eighth_of_the_limit() {
        let credits = Credits::new(80, 1 << 30);
        (0..80).for_each(|_| credits.admit(1));
        assert!(!credits.is_open());
        let woken: Vec<usize> = (1..=80).filter(|_| credits.release(1)).collect();
        assert_eq!(woken, [10]);
        assert!(!credits.is_full());
    }

    #[test]
    fn while_the_relay_is_away_one_job_is_taken_when_none_is_in_hand() {
        let credits = Credits::new(80, 1 << 30);
        credits.admit(1);
        credits.set_intake(Intake::OneInHand);
        assert!(!credits.is_open());
        assert!(credits.release(1), "the poll thread is told");
        assert!(credits.is_open());
        credits.set_intake(Intake::Shut);
        assert!(!credits.is_open());
        assert!(credits.set_intake(Intake::Open), "the poll thread is told");
        assert!(credits.is_open());
    }

    #[test]
    fn a_partition_that_was_not_cleared_may_not_be_taken_from() {
        let credits = Credits::new(80, 1 << 30);
        assert_eq!(credits.cleared_to(0.into()), i64::MIN);
        credits.clear(0.into(), 7);
        assert_eq!((credits.cleared_to(0.into()), credits.cleared_to(1.into())), (7, i64::MIN));
        credits.close(0.into());
        assert_eq!(credits.cleared_to(0.into()), i64::MIN);
    }

    #[test]
    fn with_few_credits_each_one_wakes_it() {
        let credits = Credits::new(2, 1 << 30);
        credits.admit(1);
        credits.admit(1);
        assert!(!credits.is_open());
        assert!(credits.release(1));
        assert!(!credits.release(1), "it does not wait any more");
    }
}
