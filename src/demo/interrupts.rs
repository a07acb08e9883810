//! Ctrl-C and SIGTERM, which end the demo.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Both signals, taken from the system while the process lives.
pub(super) struct Interrupts {
    ctrl_c: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// # Errors
    /// When the system does not let us listen.
    pub(super) fn listen() -> io::Result<Interrupts> {
        Ok(Interrupts {
            ctrl_c: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of either. May be cancelled without losing one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
