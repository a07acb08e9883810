//! The forms of texts: what is a topic, a host, a mailbox.

use std::net::IpAddr;
use std::time::Duration;

use mailroom_actors::domain::failure::Cause;
use tokio_rustls::rustls::pki_types::ServerName;

use super::kind;
use crate::job::{Address, Mailbox};

/// No control character, 1 to 255 bytes.
pub(super) fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// As Kafka's `Topic.validate` has it.
pub(super) fn is_topic(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=249).contains(&text.len()) && text.bytes().all(legal) && text != "." && text != ".."
}

/// `host[:port]` or `protocol://host[:port]`, with commas between them.
pub(super) fn are_brokers(text: &str) -> bool {
    text.split(',').map(str::trim).all(|broker| {
        let address = broker.split_once("://").map_or(broker, |(_, address)| address);
        let (host, port) = match address.rsplit_once(':') {
            // More than one colon without brackets: a bare IPv6 address.
            Some((host, _)) if host.contains(':') && !host.ends_with(']') => (address, None),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        };
        let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        port_is_good && is_host(bare)
    })
}

/// A name or an address that a certificate can be for.
pub(super) fn is_host(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

/// One address, with or without a name before it.
pub(super) fn is_mailbox(text: &str) -> bool {
    Mailbox::parse(text).is_ok()
}

/// A domain as A-labels in small letters; none when it is no domain.
pub(super) fn domain(text: &str) -> Option<String> {
    let address = Address::parse(&format!("a@{text}")).ok()?;
    // What stands before the last @ would be taken for a part of the address's own.
    let is_whole = address.local() == "a" && !text.starts_with('[');
    is_whole.then(|| address.domain().to_ascii_lowercase())
}

/// A domain or an address literal (RFC 5321, section 4.1.1.1). Nothing else may get into the EHLO line.
pub(super) fn is_helo_name(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(literal) => literal.strip_prefix("IPv6:").unwrap_or(literal).parse::<IpAddr>().is_ok(),
        // Looser than a certificate's names: a container's host name may be digits only.
        None => {
            let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            (1..=253).contains(&text.len())
                && text.bytes().all(legal)
                && text.split('.').all(|label| !label.is_empty())
                && text.parse::<IpAddr>().is_err()
        }
    }
}

/// Anything but what SASL PLAIN can't carry (RFC 4616, section 2).
pub(super) fn is_password(text: &str) -> bool {
    !text.contains('\0')
}

/// What can stand behind `Authorization: Bearer`.
pub(super) fn is_token(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

/// A duration of 1 ms to 10 years.
pub(super) fn wait(text: &str) -> Option<String> {
    let wait = kind::duration(text)?;
    (Duration::from_millis(1)..=kind::TEN_YEARS).contains(&wait).then(|| text.to_owned())
}

/// The name of a cause.
pub(super) fn cause(text: &str) -> Option<String> {
    text.parse::<Cause>().is_ok().then(|| text.to_owned())
}
