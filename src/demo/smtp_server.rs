//! A mail server inside the process that misbehaves on purpose: it refuses, limits, keeps silent and goes down.

mod conversation;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// Between two tries of what failed (no descriptor left, port in use), so that it does not spin.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Is told of each recipient and Message-ID (empty where the e-mail has none) of an e-mail that was taken,
/// right before the server answers the final dot with 250.
pub type OnDelivery = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// The running server, on 127.0.0.1 and a free port. Dropping it ends it soon after.
pub struct SmtpServer {
    address: SocketAddr,
    wanted_up: watch::Sender<bool>,
    is_up: watch::Receiver<bool>,
}

impl SmtpServer {
    /// Starts the server on a thread of its own; it listens when this returns.
    ///
    /// # Errors
    /// When there is no port, thread or runtime to be had.
    pub fn start(on_delivery: OnDelivery) -> io::Result<SmtpServer> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (wanted_up, wanted) = watch::channel(true);
        let (tell_up, is_up) = watch::channel(true);
        std::thread::Builder::new().name("demo-smtp".into()).spawn(move || {
            runtime.block_on(async move {
                match TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener, address, wanted, tell_up, on_delivery).await,
                    Err(error) => tracing::error!(%error, "the demo's mail server can't listen"),
                }
            });
        })?;
        Ok(SmtpServer { address, wanted_up, is_up })
    }

    /// Where it listens, or will listen again.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// False while it is down on purpose.
    pub fn is_up(&self) -> bool {
        *self.is_up.borrow()
    }

    /// Closes the listener and drops every connection; when this returns connecting is refused.
    pub async fn go_down(&self) {
        self.turn(false).await;
    }

    /// Listens again on the same port; when this returns connecting works.
    pub async fn come_up(&self) {
        self.turn(true).await;
    }

    async fn turn(&self, up: bool) {
        self.wanted_up.send_replace(up);
        // An error is a thread that has ended: it will not turn any more.
        let _ = self.is_up.clone().wait_for(|now| *now == up).await;
    }
}

/// Up and down by turns, until nobody wants anything of it.
async fn serve(
    mut listener: TcpListener,
    address: SocketAddr,
    mut wanted: watch::Receiver<bool>,
    tell_up: watch::Sender<bool>,
    on_delivery: OnDelivery,
) {
    loop {
        // Each connection holds a receiver, and ends when the sender is dropped.
        let (open_house, guest) = watch::channel(());
        let stay = loop {
            tokio::select! {
                down = wanted.wait_for(|up| !*up) => break down.is_ok(),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        tokio::spawn(conversation::hold(stream, Arc::clone(&on_delivery), guest.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the demo's mail server can't accept a connection");
                        tokio::time::sleep(BETWEEN_TRIES).await;
                    }
                }
            }
        };
        drop((listener, open_house));
        if !stay {
            return;
        }
        // Bound and not listening: connecting is refused, and the port can't go to somebody else.
        let reserved = until_it_works(|| reserve(address)).await;
        tell_up.send_replace(false);
        if wanted.wait_for(|up| *up).await.is_err() {
            return;
        }
        listener = match reserved.listen(BACKLOG) {
            Ok(listener) => listener,
            Err(_) => until_it_works(|| reserve(address)?.listen(BACKLOG)).await,
        };
        tell_up.send_replace(true);
    }
}

fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Connections that are still closing hold the port otherwise.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn until_it_works<T>(mut attempt: impl FnMut() -> io::Result<T>) -> T {
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => tracing::warn!(%error, "the demo's mail server can't have its port yet"),
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

#[cfg(test)]
mod tests;
