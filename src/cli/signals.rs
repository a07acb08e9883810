//! SIGTERM and SIGINT: the first asks for a stop, the second ends the process at once. SIGHUP: a reload.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc as tokio_mpsc, oneshot};

use super::FAILED;
use crate::telemetry;

/// Signals closer together than this are one.
const SAME_SIGNAL: Duration = Duration::from_millis(10);

/// What the process is told from outside.
pub(super) struct Signals {
    /// The name of the first signal that asks for a stop, once there is one.
    pub stop: oneshot::Receiver<&'static str>,
    /// SIGHUPs; several that nobody has taken yet are one.
    pub hangups: tokio_mpsc::Receiver<()>,
}

/// From here on no SIGHUP ends the process, and it takes two others to do so. They are awaited on a thread of their own, so that the
/// second one works even when the service's thread does not get on.
///
/// # Errors
/// When the machine gives no thread, or no signals.
pub(super) fn listen() -> io::Result<Signals> {
    let (first, stop) = oneshot::channel();
    let (hung_up, hangups) = tokio_mpsc::channel(1);
    let (ready, is_ready) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let result = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let listening = {
                let _inside = runtime.enter();
                signal(SignalKind::terminate()).and_then(|terminate| {
                    Ok((terminate, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?))
                })
            };
            listening.map(|signals| (runtime, signals))
        });
        let (runtime, (mut terminate, mut interrupt, mut hangup)) = match result {
            Ok(listening) => listening,
            // Whoever asked is still there: it waits for this.
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(()));
        runtime.block_on(async {
            let mut next = async || {
                loop {
                    tokio::select! {
                        _ = terminate.recv() => return "SIGTERM",
                        _ = interrupt.recv() => return "SIGINT",
                        // Full: one is waiting already. Closed: the service has ended.
                        _ = hangup.recv() => drop(hung_up.try_send(())),
                    }
                }
            };
            // Nobody listens any more when the service has ended by itself.
            let _ = first.send(next().await);
            // A process group's signal may come twice at once (timeout(1) sends it so): that is one.
            let one = tokio::time::sleep(SAME_SIGNAL);
            tokio::pin!(one);
            let second = loop {
                tokio::select! {
                    signal = next() => if one.is_elapsed() { break signal },
                    () = &mut one, if !one.is_elapsed() => {}
                }
            };
            tracing::warn!(signal = second, "second signal, ending at once");
            telemetry::flush(Duration::from_millis(100));
            std::process::exit(FAILED.into());
        });
    })?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok(Signals { stop, hangups })
}
