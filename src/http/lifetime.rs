//! Ends a connection that outstays its time, whatever its client does or leaves undone.
//!
//! actix-web's own time-outs cover the first request head and the closing; a client that reads its answer
//! one byte a minute, or never ends its chunked body, is not among what they end.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

/// One connection's clock. Lives as long as the connection does, which it ends when the time is over.
pub(super) struct Lifetime {
    accepted_at: Instant,
    _end: Option<AbortOnDropHandle<()>>,
}

impl Lifetime {
    /// Starts the clock of a connection that has just been accepted.
    pub(super) fn begin(connection: &dyn Any, limit: Duration) -> Lifetime {
        let end = connection
            .downcast_ref::<actix_rt::net::TcpStream>()
            // Without a descriptor to spare the connection goes without this clock, and on the others.
            .and_then(|stream| stream.as_fd().try_clone_to_owned().ok())
            .map(|descriptor| AbortOnDropHandle::new(actix_rt::spawn(end_after(descriptor.into(), limit))));
        Lifetime { accepted_at: Instant::now(), _end: end }
    }

    pub(super) fn accepted_at(&self) -> Instant {
        self.accepted_at
    }
}

async fn end_after(stream: TcpStream, limit: Duration) {
    tokio::time::sleep(limit).await;
    // The only error is that the client has gone already.
    let _ = stream.shutdown(Shutdown::Both);
}
