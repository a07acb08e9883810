//! Threads that talk to brokers, which may be away when they are to end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// A thread that ends soon after it is told to. Dropping it tells it, and waits for its end, but no longer than its
/// farewell may take: then the end of the process takes it along.
pub struct Thread {
    stopped: Arc<AtomicBool>,
    handle: Option<JoinHandle<()>>,
    farewell: Duration,
}

impl Thread {
    /// `work` looks now and then whether it is to stop. Of the name the first 15 bytes are seen by others.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(
        name: &str,
        farewell: Duration,
        work: impl FnOnce(&AtomicBool) + Send + 'static,
    ) -> io::Result<Thread> {
        let stopped = Arc::new(AtomicBool::new(false));
        let told_to_stop = Arc::clone(&stopped);
        let handle = thread::Builder::new().name(name.to_owned()).spawn(move || work(&told_to_stop))?;
        Ok(Thread { stopped, handle: Some(handle), farewell })
    }

    /// Of several all are told before one is waited for.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
        let Some(handle) = self.handle.take() else { return };
        let until = Instant::now() + self.farewell;
        while !handle.is_finished() && Instant::now() < until {
            thread::sleep(BETWEEN_LOOKS);
        }
        if handle.is_finished() {
            // A panic in there has been told by the panic hook.
            let _ = handle.join();
        }
    }
}
