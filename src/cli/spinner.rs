//! Something that moves at a terminal while somebody waits, once that takes more than 2 s.

use std::future::Future;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::timeout;

/// What takes no longer needs none.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
const BETWEEN_TICKS: Duration = Duration::from_millis(100);

/// Hidden at first; for good where stderr is no terminal. It is gone when it is dropped.
pub(super) struct Spinner {
    bar: ProgressBar,
    began: Instant,
}

impl Spinner {
    /// `what` is said beside it.
    pub fn new(what: &'static str) -> Spinner {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        let bar = bar.with_style(ProgressStyle::default_spinner()).with_message(what);
        Spinner { bar, began: Instant::now() }
    }

    /// Shows it where it is time; to be called now and then.
    pub fn look(&self) {
        if self.bar.is_hidden() && self.began.elapsed() >= PATIENCE {
            self.show();
        }
    }

    fn show(&self) {
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.enable_steady_tick(BETWEEN_TICKS);
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Waits for `work`, with a spinner beside it.
pub(super) async fn beside<T>(what: &'static str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    let spinner = Spinner::new(what);
    if let Ok(done) = timeout(PATIENCE, &mut work).await {
        return done;
    }
    spinner.show();
    work.await
}
