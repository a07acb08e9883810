//! A named thread whose end can be waited for with a limit, so that nothing the demo runs can hold it up.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;

/// A running thread. Dropping it leaves the thread alone.
pub(super) struct Background {
    ended: oneshot::Receiver<()>,
}

impl Background {
    /// Starts `work` on a thread called `name`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Background> {
        let (at_the_end, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name(name.into()).spawn(move || {
            // Dropped when the work is done, and when it panics: both end the wait.
            let _at_the_end = at_the_end;
            work();
        })?;
        Ok(Background { ended })
    }

    /// Waits until the work is over, at most `limit`. True when it is; else the thread is left to itself, and
    /// the end of the process ends it.
    pub(super) async fn ended(self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.ended).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_the_work_is_noticed_also_when_it_panics() {
        let calm = Background::start("calm", || {}).unwrap();
        assert!(calm.ended(Duration::from_secs(60)).await);
        let panics = Background::start("panics", || panic!("on purpose")).unwrap();
        assert!(panics.ended(Duration::from_secs(60)).await);
    }

    #[tokio::test]
    async fn work_that_does_not_end_holds_nobody_up() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let stuck = Background::start("stuck", move || {
            // Ends when the sender is dropped, with an error that says just that.
            let _ = held.recv();
        })
        .unwrap();
        assert!(!stuck.ended(Duration::from_millis(1)).await);
        drop(release);
    }
}
