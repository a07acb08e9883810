//! Ends a connection that outstays its time, whatever its client does or leaves undone.
//!
//! actix-web answers a head that does not come in time without a body, and later than asked for; a client that reads
//! its answer one byte a minute, or never ends its chunked body, is not among what it ends at all.

use std::any::Any;
use std::cell::Cell;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Instant;

use tokio_util::task::AbortOnDropHandle;

use super::errors::Refusal;
use super::server::Limits;

/// One connection's clock. Lives as long as the connection does, which it ends when the time is over.
pub(super) struct Lifetime {
    accepted_at: Instant,
    head: Rc<Cell<Head>>,
    _end: Option<AbortOnDropHandle<()>>,
}

/// The head of the connection's one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    Awaited,
    Came,
    /// It was answered with 408: what comes now is too late.
    TooLate,
}

impl Lifetime {
    /// Starts the clock of a connection that has just been accepted.
    pub(super) fn begin(connection: &dyn Any, limits: Limits) -> Lifetime {
        let head = Rc::new(Cell::new(Head::Awaited));
        let end = connection
            .downcast_ref::<actix_rt::net::TcpStream>()
            // Without a descriptor to spare the connection goes without this clock, and on actix-web's own.
            .and_then(|stream| stream.as_fd().try_clone_to_owned().ok())
            .map(|descriptor| {
                let watch = watch(descriptor.into(), Rc::clone(&head), limits);
                AbortOnDropHandle::new(actix_rt::spawn(watch))
            });
        Lifetime { accepted_at: Instant::now(), head, _end: end }
    }

    pub(super) fn accepted_at(&self) -> Instant {
        self.accepted_at
    }

    /// To be told when the head is there; false when that is too late.
    pub(super) fn head_came(&self) -> bool {
        if self.head.get() == Head::Awaited {
            self.head.set(Head::Came);
        }
        self.head.get() == Head::Came
    }
}

async fn watch(mut stream: TcpStream, head: Rc<Cell<Head>>, limits: Limits) {
    let Limits { arrival, lifetime, linger, .. } = limits;
    tokio::time::sleep(arrival.min(lifetime)).await;
    if arrival < lifetime {
        let rest = if head.get() == Head::Awaited {
            head.set(Head::TooLate);
            // A few hundred bytes, the first on this connection: they find room, or the client is gone. It gets time
            // to read them, for a close at once would be a reset where it still sends.
            let _ = stream.write_all(&Refusal::too_late().into_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            linger
        } else {
            lifetime - arrival
        };
        tokio::time::sleep(rest).await;
    }
    // The only error is that the client has gone already.
    let _ = stream.shutdown(Shutdown::Both);
}
