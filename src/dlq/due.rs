//! Letters that are due to the redriver, looked for beside the thread that sends e-mails: among a million waiting letters
//! that takes some 20 ms.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mailroom_actors::domain::letters::owner::MAX_BATCH;
use mailroom_actors::domain::letters::redrive::{Due, Redrive};
use parking_lot::Mutex;

use super::shelf::Shelf;
use crate::kafka::threads::Thread;

/// Where nothing was due.
const BETWEEN_SCANS: Duration = Duration::from_secs(5);
/// Where something was: a batch is written each second at most.
const BETWEEN_BATCHES: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// A partition that is not asked for any more is another worker's.
const ASKED_WITHIN: Duration = Duration::from_secs(60);
const LONGEST_FAREWELL: Duration = Duration::from_secs(1);

/// See the module's text; dropping it ends its thread.
pub struct DueLetters {
    looks: Arc<Looks>,
    thread: Thread,
}

struct Looks {
    redrive: Redrive,
    shelf: Arc<Shelf>,
    partitions: Mutex<HashMap<i32, Look>>,
}

struct Look {
    asked: Instant,
    /// The wall clock's time when it was asked.
    now_ms: i64,
    looked: Option<Instant>,
    found: Vec<Due>,
}

impl DueLetters {
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(redrive: Redrive, shelf: &Arc<Shelf>) -> io::Result<DueLetters> {
        let looks = Arc::new(Looks { redrive, shelf: Arc::clone(shelf), partitions: Mutex::default() });
        let seen = Arc::clone(&looks);
        let look = move |stopped: &AtomicBool| {
            while !stopped.load(Ordering::Acquire) {
                seen.look();
                thread::sleep(BETWEEN_LOOKS);
            }
        };
        Ok(DueLetters { looks, thread: Thread::start("dlq-redriver", LONGEST_FAREWELL, look)? })
    }

    /// What was due of that partition when it was looked at last, at most [`MAX_BATCH`]: letters that were acted on since are
    /// among them. From now on it is looked at.
    pub fn of(&self, partition: i32, now_ms: i64) -> Vec<Due> {
        let asked = Instant::now();
        let mut partitions = self.looks.partitions.lock();
        let first = || Look { asked, now_ms, looked: None, found: Vec::new() };
        let look = partitions.entry(partition).or_insert_with(first);
        (look.asked, look.now_ms) = (asked, now_ms);
        look.found.clone()
    }

    /// Ends soon; dropping it waits for that, a second at most.
    pub fn stop(&self) {
        self.thread.stop();
    }
}

impl Looks {
    fn look(&self) {
        if !self.shelf.is_complete() {
            return;
        }
        let due: Vec<(i32, i64)> = {
            let mut partitions = self.partitions.lock();
            partitions.retain(|_, look| look.asked.elapsed() < ASKED_WITHIN);
            let due = partitions.iter().filter(|(_, look)| look.is_due());
            due.map(|(partition, look)| (*partition, look.now_ms)).collect()
        };
        for (partition, now_ms) in due {
            let found = self.shelf.index.read_recursive().due(partition, &self.redrive, now_ms, MAX_BATCH);
            if let Some(look) = self.partitions.lock().get_mut(&partition) {
                (look.looked, look.found) = (Some(Instant::now()), found);
            }
        }
    }
}

impl Look {
    fn is_due(&self) -> bool {
        let wait = if self.found.is_empty() { BETWEEN_SCANS } else { BETWEEN_BATCHES };
        self.looked.is_none_or(|looked| looked.elapsed() >= wait)
    }
}
