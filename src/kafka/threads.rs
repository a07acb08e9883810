//! The end of threads that talk to brokers, which may be away.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Waits for the thread's end, but no longer than that: then the end of the process takes it along.
pub fn join_within(thread: JoinHandle<()>, limit: Duration) {
    let until = Instant::now() + limit;
    while !thread.is_finished() && Instant::now() < until {
        thread::sleep(BETWEEN_LOOKS);
    }
    if thread.is_finished() {
        // A panic in there has been told by the panic hook.
        let _ = thread.join();
    }
}
