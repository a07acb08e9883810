//! One timer for all steps of a connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A deadline that is set anew for each step. The timer below it is only moved when it must go off
/// earlier; going off too early is noticed. So a step that is answered in time costs no timer work.
#[derive(Debug)]
pub struct Deadline {
    timer: Pin<Box<Sleep>>,
    at: Instant,
}

impl Deadline {
    pub fn after(limit: Duration) -> Deadline {
        let timer = Box::pin(tokio::time::sleep(limit));
        let at = timer.deadline();
        Deadline { timer, at }
    }

    /// From now on the deadline is `limit` from now.
    pub fn set(&mut self, limit: Duration) {
        let now = Instant::now();
        // What is too far away to be a time is as good as never.
        self.at = now.checked_add(limit).unwrap_or_else(|| now + Duration::from_secs(60 * 60 * 24 * 365));
    }

    /// Ready once the deadline has passed; wakes the task then.
    pub fn poll_passed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.at < self.timer.deadline() {
                self.timer.as_mut().reset(self.at);
            }
            match self.timer.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if Instant::now() >= self.at => return Poll::Ready(()),
                Poll::Ready(()) => self.timer.as_mut().reset(self.at),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn the_last_limit_set_is_the_one_that_holds() {
        let short = Duration::from_millis(40);
        // Were the first limit to hold, the second case would last an hour.
        for first in [Duration::from_millis(1), Duration::from_secs(3600)] {
            let mut deadline = Deadline::after(first);
            // The timer is under way when the limit changes.
            let _ = poll_fn(|context| Poll::Ready(deadline.poll_passed(context))).await;
            let begun = Instant::now();
            deadline.set(short);
            poll_fn(|context| deadline.poll_passed(context)).await;
            assert!(begun.elapsed() >= short, "{first:?}");
        }
    }
}
