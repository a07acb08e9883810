//! Whether the supervisor makes progress, told apart from how fast it answers: a busy one is alive, a stuck one is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::doors::Doors;
use super::health::{self, Verdict};

/// Asks the supervisor how everything is, one question at a time, for as long as the server runs.
///
/// What counts is how long the question that is open has been open. So a process that stood still as a whole
/// takes nobody for dead, and neither does one that has so much to do that an answer takes its time.
pub(super) struct Heartbeat {
    doors: Arc<dyn Doors>,
    /// When the question was put that has no answer yet; none between two questions.
    asked: Mutex<Option<Instant>>,
}

/// Between an answer and the next question.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(1);

impl Heartbeat {
    pub(super) fn new(doors: Arc<dyn Doors>) -> Arc<Heartbeat> {
        Arc::new(Heartbeat { doors, asked: Mutex::default() })
    }

    /// Never ends.
    pub(super) async fn run(self: Arc<Heartbeat>) {
        loop {
            *self.asked.lock() = Some(Instant::now());
            // None: nobody is there to answer; whoever asks for the verdict hears that at once.
            let _ = self.doors.status().await;
            *self.asked.lock() = None;
            tokio::time::sleep(BETWEEN_QUESTIONS).await;
        }
    }

    /// Whether the supervisor and its actors make progress. Waits for an answer at most `limit`; when none comes, a
    /// supervisor that has been silent for less than `silence` is busy, and lives.
    pub(super) async fn live(&self, limit: Duration, silence: Duration) -> Verdict {
        match tokio::time::timeout(limit, self.doors.status()).await {
            Ok(Some(status)) => health::live(&status),
            Err(_) if self.silent_for() < silence => Verdict::pass(),
            Ok(None) | Err(_) => Verdict::no_answer(),
        }
    }

    fn silent_for(&self) -> Duration {
        self.asked.lock().map_or(Duration::ZERO, |asked| asked.elapsed())
    }
}
