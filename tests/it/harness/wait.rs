//! Waiting for something to become so, instead of sleeping and hoping.

use std::time::{Duration, Instant};

/// How long a condition may take before the test gives up: far more than it ever needs.
const DEADLINE: Duration = Duration::from_secs(300);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks until `condition` answers something, and returns that.
///
/// # Panics
/// After five minutes, naming `what` did not come.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let gives_up = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(Instant::now() < gives_up, "waited {DEADLINE:?} in vain: {what}");
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
