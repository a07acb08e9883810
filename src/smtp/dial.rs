//! Opens TCP connections to the relay: each address of its host in turn.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use mailroom_actors::domain::failure::{Failure, Stage};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// A connection to the first address of `host` that takes one, without Nagle's delay. Looking the name up,
/// and each address, have `limit`.
///
/// # Errors
/// Of stage `connect`. `Connection refused` exactly when every address that this machine can try refused.
pub async fn dial(host: &str, port: u16, limit: Duration) -> Result<TcpStream, Failure> {
    let addresses: Vec<_> = match timeout(limit, lookup_host((host, port))).await {
        Err(_) => return Err(Failure::timed_out(Stage::Connect)),
        Ok(Err(error)) => return Err(unresolved(host, &error.to_string())),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    dial_one_of(&addresses, limit).await.map_err(|failed| why_none(host, failed))
}

/// A connection to the first of the addresses that takes one, each tried for `limit`; or why each did not.
async fn dial_one_of(addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream, Vec<io::Error>> {
    let mut failed = Vec::new();
    for address in addresses {
        let error = match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match stream.set_nodelay(true) {
                Ok(()) => return Ok(stream),
                Err(error) => error,
            },
            Ok(Err(error)) => error,
            Err(_) => ErrorKind::TimedOut.into(),
        };
        failed.push(error);
    }
    Err(failed)
}

fn unresolved(host: &str, why: &str) -> Failure {
    Failure::unreachable(Stage::Connect, format!("the name {host} of smtp.host can't be resolved: {why}"))
}

/// The one failure that stands for those of all addresses.
fn why_none(host: &str, mut failed: Vec<io::Error>) -> Failure {
    // An address of a family or network that this machine does not have says nothing about the relay,
    // as long as another address does.
    let is_ours = |error: &io::Error| {
        matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::NetworkUnreachable)
            || error.kind() == ErrorKind::Unsupported
    };
    if failed.iter().any(|error| !is_ours(error)) {
        failed.retain(|error| !is_ours(error));
    }
    if failed.iter().any(|error| error.kind() == ErrorKind::TimedOut) {
        return Failure::timed_out(Stage::Connect);
    }
    if !failed.is_empty() && failed.iter().all(|error| error.kind() == ErrorKind::ConnectionRefused) {
        return Failure::refused();
    }
    match failed.iter().find(|error| error.kind() != ErrorKind::ConnectionRefused) {
        None => unresolved(host, "it has no address"),
        Some(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted) => {
            Failure::lost(Stage::Connect, format!("Connection lost: {error} (stage connect)"))
        }
        Some(error) => Failure::unreachable(Stage::Connect, format!("the relay can't be reached: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// An address that answers nothing: its queue of connections is full, and nobody takes one from it.
    async fn black_hole() -> (SocketAddr, impl Sized) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("the port it was given");
        let mut waiting = Vec::new();
        while let Ok(connected) = timeout(Duration::from_millis(100), TcpStream::connect(address)).await {
            waiting.push(connected.expect("taken by the kernel"));
            assert!(waiting.len() < 100, "a queue of one is full by now");
        }
        (address, (listener, waiting))
    }

    #[tokio::test]
    async fn a_dead_first_address_of_two_costs_no_more_than_its_limit() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let alive = listener.local_addr().expect("the port it was given");
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port").local_addr();
        let closed = closed.expect("the port it was given");
        let (silent, _held) = black_hole().await;
        dial_one_of(&[closed, alive], LONG).await.expect("the second takes it");
        let limit = Duration::from_millis(200);
        dial_one_of(&[silent, alive], limit).await.expect("the second takes it");
        let failed = dial_one_of(&[silent, closed], limit).await.expect_err("neither takes it");
        let kinds: Vec<_> = failed.iter().map(io::Error::kind).collect();
        assert_eq!(kinds, [ErrorKind::TimedOut, ErrorKind::ConnectionRefused]);
    }

    #[tokio::test]
    async fn a_host_that_answers_nothing_is_a_time_out_of_connecting() {
        let (silent, _held) = black_hole().await;
        let dialled = dial(&silent.ip().to_string(), silent.port(), Duration::from_millis(100)).await;
        assert_eq!(dialled.expect_err("no connection"), Failure::timed_out(Stage::Connect));
    }

    #[test]
    fn one_failure_stands_for_those_of_all_addresses() {
        use ErrorKind::{
            AddrNotAvailable, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
            TimedOut,
        };
        let table: [(&[ErrorKind], &str); 8] = [
            (&[ConnectionRefused], "Connection refused"),
            (&[ConnectionRefused, ConnectionRefused], "Connection refused"),
            (&[AddrNotAvailable, ConnectionRefused], "Connection refused"),
            (&[NetworkUnreachable, ConnectionRefused], "Connection refused"),
            (&[ConnectionRefused, TimedOut], "Connection timed out (stage connect)"),
            (&[NetworkUnreachable, HostUnreachable], "the relay can't be reached: host unreachable"),
            (&[ConnectionRefused, ConnectionReset], "Connection lost: connection reset (stage connect)"),
            (&[], "the name relay.example of smtp.host can't be resolved: it has no address"),
        ];
        for (kinds, reason) in table {
            let errors = kinds.iter().map(|kind| io::Error::from(*kind)).collect();
            let failure = why_none("relay.example", errors);
            assert_eq!((failure.stage, failure.reason.as_str()), (Stage::Connect, reason), "{kinds:?}");
        }
    }
}
