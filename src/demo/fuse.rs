//! How the demo kills a mailer: a randomness that panics once when it is told to.
//!
//! A mailer asks for its jitter in the handler that concludes an attempt; a panic there ends the actor, with
//! the e-mail's outcome known and not yet written down, which is the worst moment there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mailroom_actors::ports::Jitter;

/// Lit, it ends the next mailer that concludes an attempt. A copy is the same fuse.
#[derive(Clone, Debug, Default)]
pub(super) struct Fuse(Arc<AtomicBool>);

impl Fuse {
    pub(super) fn light(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Some other jitter, with a fuse in it.
pub(super) struct FusedJitter<J> {
    pub(super) jitter: J,
    pub(super) fuse: Fuse,
}

impl<J: Jitter> Jitter for FusedJitter<J> {
    fn fraction(&self) -> f64 {
        if self.fuse.0.swap(false, Ordering::Relaxed) {
            panic!("killed on purpose by the demo");
        }
        self.jitter.fraction()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    struct Half;

    impl Jitter for Half {
        fn fraction(&self) -> f64 {
            0.5
        }
    }

    #[test]
    fn a_lit_fuse_burns_once() {
        let fuse = Fuse::default();
        let jitter = FusedJitter { jitter: Half, fuse: fuse.clone() };
        assert_eq!(jitter.fraction(), 0.5);
        fuse.light();
        assert!(catch_unwind(AssertUnwindSafe(|| jitter.fraction())).is_err());
        assert_eq!(jitter.fraction(), 0.5);
    }
}
