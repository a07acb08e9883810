//! Opens TCP connections to the relay: each address of its host in turn.

use std::io::{self, ErrorKind};
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
    Err(why_none(host, failed))
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
    use super::*;

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
