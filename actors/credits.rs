//! How much more the worker may take: in jobs and in bytes, asked by the poll thread before each record.
//!
//! A record that is admitted holds its credits until it is settled or given back.

use parking_lot::Mutex;

/// `limits.in_flight` and `limits.in_flight_bytes`, and how much of them is in use.
#[derive(Debug)]
pub struct Credits {
    max_jobs: usize,
    max_bytes: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    jobs: usize,
    bytes: usize,
    /// The poll thread was turned away and waits to be told that there is room.
    wanted: bool,
}

impl Credits {
    pub fn new(max_jobs: usize, max_bytes: usize) -> Credits {
        Credits { max_jobs, max_bytes, used: Mutex::default() }
    }

    /// Whether one more record may be read at all: there is room for a job, and bytes are left.
    /// When not, the poll thread is told by [`crate::ports::OffsetLog::read_on`] once there is.
    pub fn is_open(&self) -> bool {
        let mut used = self.used.lock();
        let open = used.jobs < self.max_jobs && used.bytes < self.max_bytes;
        used.wanted |= !open;
        open
    }

    /// Takes credits for a record of `bytes` that has been read. A record is never refused once read: the
    /// bytes may so be exceeded by one record, and one larger than the whole limit passes alone.
    pub fn admit(&self, bytes: usize) {
        let mut used = self.used.lock();
        used.jobs += 1;
        used.bytes += bytes;
    }

    /// Gives credits back. True when the poll thread waits for that.
    pub fn release(&self, bytes: usize) -> bool {
        let mut used = self.used.lock();
        used.jobs = used.jobs.saturating_sub(1);
        used.bytes = used.bytes.saturating_sub(bytes);
        let wake = used.wanted && used.jobs < self.max_jobs && used.bytes < self.max_bytes;
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
