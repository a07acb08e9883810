//! A mail server inside the process that misbehaves on purpose: it refuses, limits, keeps silent and goes down
//! as the guide's scenarios ask, and tells of every e-mail that it has taken.

mod connection;
mod mailboxes;
mod mood;
mod session;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use self::mailboxes::Mailboxes;
use self::mood::Mood;
use super::background::Background;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// After a failed accept (no descriptor left) before the next, so that it does not spin.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(50);

/// One e-mail that the server took for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The bare address of `RCPT TO`.
    pub recipient: String,
    /// With angle brackets; empty where the e-mail has none.
    pub message_id: String,
}

/// Is told of each delivery right before the server answers the final dot with 250.
pub type OnDelivery = Arc<dyn Fn(Delivery) + Send + Sync>;

/// The running server, on 127.0.0.1 and a free port. Dropping it ends it.
pub struct SmtpServer {
    address: SocketAddr,
    orders: mpsc::UnboundedSender<Order>,
    down: Arc<AtomicBool>,
    mood: Arc<Mood>,
    thread: Background,
}

/// SmtpServer → its thread. The answer comes once it is so.
enum Order {
    GoDown(oneshot::Sender<io::Result<()>>),
    ComeUp(oneshot::Sender<io::Result<()>>),
}

impl SmtpServer {
    /// Starts the server on a thread of its own; it listens when this returns.
    ///
    /// # Errors
    /// When there is no port, no thread or no runtime to be had.
    pub fn start(on_delivery: OnDelivery) -> io::Result<SmtpServer> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (orders, taken_orders) = mpsc::unbounded_channel();
        let down = Arc::new(AtomicBool::new(false));
        let mood = Arc::new(Mood::default());
        let mailboxes = Arc::new(Mailboxes::new(on_delivery, Arc::clone(&mood)));
        let is_down = Arc::clone(&down);
        let thread = Background::start("demo-smtp", move || {
            let served = runtime.block_on(async {
                let door = Door::Open(TcpListener::from_std(listener)?);
                House { address, door, mailboxes, guests: JoinSet::new(), is_down }.keep(taken_orders).await;
                io::Result::Ok(())
            });
            if let Err(error) = served {
                tracing::error!(%error, "the demo's mail server ended");
            }
        })?;
        Ok(SmtpServer { address, orders, down, mood, thread })
    }

    /// Where it listens, or will listen again.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is down on purpose now.
    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Closes the listener and drops every connection; from then on connecting is refused. What it has taken
    /// it answers first. The port stays reserved.
    ///
    /// # Errors
    /// When the port could not be reserved: it stays down, and may not be able to come up.
    pub async fn go_down(&self) -> io::Result<()> {
        self.order(Order::GoDown).await
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// When the port can't be listened on; it stays down.
    pub async fn come_up(&self) -> io::Result<()> {
        self.order(Order::ComeUp).await
    }

    /// Whether it lets each e-mail wait.
    pub fn is_slow(&self) -> bool {
        self.mood.is_slow()
    }

    /// From now on each e-mail waits 0.6 s for its MAIL to be taken, or no longer.
    pub fn be_slow(&self, slow: bool) {
        self.mood.be_slow(slow);
    }

    /// Whether it takes only a few e-mails a second.
    pub fn is_strict(&self) -> bool {
        self.mood.is_strict()
    }

    /// From now on at most 5 e-mails a second are taken, and all others told `454 4.7.0`; or no longer so.
    pub fn be_strict(&self, strict: bool) {
        self.mood.be_strict(strict);
    }

    async fn order(&self, order: fn(oneshot::Sender<io::Result<()>>) -> Order) -> io::Result<()> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the mail server is gone");
        self.orders.send(order(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Ends the server and waits for that, at most `limit`. True when it has ended.
    pub async fn stop(self, limit: Duration) -> bool {
        drop(self.orders);
        self.thread.ended(limit).await
    }
}

/// The listener, or what keeps its port while there is none.
enum Door {
    Open(TcpListener),
    /// Bound and not listening: connecting is refused, and nobody else gets the port.
    Shut(TcpSocket),
    /// Not even that.
    Lost,
}

/// All that the server's thread holds.
struct House {
    address: SocketAddr,
    door: Door,
    mailboxes: Arc<Mailboxes>,
    guests: JoinSet<()>,
    is_down: Arc<AtomicBool>,
}

impl House {
    /// Serves until the orders end.
    async fn keep(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        // Dropping the sender, or replacing it, sends the guests home.
        let mut open_house = watch::Sender::new(());
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    None => break,
                    Some(Order::GoDown(reply)) => {
                        self.is_down.store(true, Ordering::Relaxed);
                        let reserved = self.shut();
                        open_house = watch::Sender::new(());
                        while self.guests.join_next().await.is_some() {}
                        // Who asked may have gone.
                        let _ = reply.send(reserved);
                    }
                    Some(Order::ComeUp(reply)) => {
                        let opened = self.open();
                        self.is_down.store(opened.is_err(), Ordering::Relaxed);
                        // Who asked may have gone.
                        let _ = reply.send(opened);
                    }
                },
                stream = self.door.accept() => {
                    let mailboxes = Arc::clone(&self.mailboxes);
                    self.guests.spawn(connection::serve(stream, mailboxes, open_house.subscribe()));
                }
                Some(_) = self.guests.join_next() => {}
            }
        }
        self.door = Door::Lost;
        drop(open_house);
        while self.guests.join_next().await.is_some() {}
    }

    fn shut(&mut self) -> io::Result<()> {
        if let Door::Shut(_) = self.door {
            return Ok(());
        }
        self.door = Door::Lost;
        self.door = Door::Shut(reserve(self.address)?);
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let socket = match std::mem::replace(&mut self.door, Door::Lost) {
            Door::Open(listener) => {
                self.door = Door::Open(listener);
                return Ok(());
            }
            Door::Shut(socket) => socket,
            Door::Lost => reserve(self.address)?,
        };
        self.door = Door::Open(socket.listen(BACKLOG)?);
        Ok(())
    }
}

/// A socket that has the port and does not listen. The port's old connections do not hinder it.
fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

impl Door {
    /// The next connection; none ever comes while the door is shut.
    async fn accept(&self) -> TcpStream {
        let Door::Open(listener) = self else {
            return std::future::pending().await;
        };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(_) => tokio::time::sleep(AFTER_FAILED_ACCEPT).await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
