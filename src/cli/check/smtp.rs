//! What `mailroom check --online` says of the relay.

use bytesize::ByteSize;
use chrono::{DateTime, TimeDelta, Utc};
use mailroom_actors::domain::failure::{Failure, Stage};

use super::report::Line;
use crate::config::{Config, Security};
use crate::job::Mailbox;
use crate::mask;
use crate::smtp::Extensions;
use crate::smtp::inspect::RelayInspection;

/// A certificate that is good for less than this wants to be renewed.
const SOON: TimeDelta = TimeDelta::days(14);

/// All that is known, step by step, up to the one that failed.
pub(super) fn lines(config: &Config, seen: &RelayInspection, now: DateTime<Utc>) -> Vec<Line> {
    let mut lines = Vec::new();
    let smtp = &config.smtp;
    if !seen.addresses.is_empty() {
        let addresses: Vec<_> = seen.addresses.iter().map(|address| address.ip().to_string()).collect();
        // An address stands for itself: nobody was asked.
        if addresses != [smtp.host.as_str()] {
            lines.push(Line::passed("smtp.host", format!("{} is {}", smtp.host, addresses.join(", "))));
        }
    }
    if let Some(address) = seen.connected {
        for (silent, why) in &seen.silent {
            lines.push(Line::warned(
                "smtp.connect",
                format!("{silent}: {why}; it is tried before {address}"),
                "each new connection waits for it: take the address out of DNS, or bring the server back",
            ));
        }
        lines.push(Line::passed("smtp.connect", format!("connected to {address}")));
    }
    if let Some(expires) = seen.certificate_expires {
        lines.push(certificate(&smtp.host, expires, now));
    }
    if let Some(offered) = &seen.extensions {
        if smtp.security == Security::Plain {
            lines.push(Line::passed("smtp.tls", "not used, as smtp.security = \"plain\" has it"));
        }
        lines.push(extensions(offered));
        lines.push(size(offered, config.limits.message_bytes));
        lines.extend(sender(&smtp.from, offered));
    }
    match &seen.failure {
        Some(failure) => lines.push(failed(smtp.security, failure)),
        None if seen.logged_in => {
            lines.push(Line::passed("smtp.login", "the relay takes smtp.username and its password"));
        }
        None => lines.push(no_login(seen.extensions.as_ref())),
    }
    lines
}

fn certificate(host: &str, expires: DateTime<Utc>, now: DateTime<Utc>) -> Line {
    let left = expires - now;
    let told = format!(
        "the certificate is for {host}, trusted, and good until {}, {} days",
        expires.format("%Y-%m-%d"),
        left.num_days()
    );
    if left < SOON {
        Line::warned(
            "smtp.tls",
            told,
            "have the relay's certificate renewed: no e-mail goes out once it is past",
        )
    } else {
        Line::passed("smtp.tls", told)
    }
}

fn extensions(offered: &Extensions) -> Line {
    let known = [
        (offered.pipelining, "PIPELINING"),
        (offered.eight_bit_mime, "8BITMIME"),
        (offered.smtputf8, "SMTPUTF8"),
        (offered.size.is_some(), "SIZE"),
        (offered.auth.is_some(), "AUTH"),
    ];
    let names = |wanted: bool| {
        let names: Vec<_> = known.iter().filter(|(is, _)| *is == wanted).map(|(_, name)| *name).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    let mechanisms = offered.auth.as_ref().map_or(String::new(), |auth| format!(" ({})", auth.join(", ")));
    let without =
        if known.iter().all(|(is, _)| *is) { String::new() } else { format!("; not {}", names(false)) };
    Line::passed("smtp.ehlo", format!("offers {}{mechanisms}{without}", names(true)))
}

fn size(offered: &Extensions, message_bytes: usize) -> Line {
    let limit = ByteSize::b(message_bytes as u64).display().iec();
    match offered.size {
        Some(size) if size > 0 && size < message_bytes as u64 => Line::warned(
            "smtp.size",
            format!(
                "the relay takes e-mails up to {}, limits.message_bytes is {limit}",
                ByteSize::b(size).display().iec()
            ),
            "what lies between is dead-lettered as too_large, each time: have the relay take more, or set \
             limits.message_bytes to less",
        ),
        Some(size) if size > 0 => Line::passed(
            "smtp.size",
            format!("e-mails up to {}; limits.message_bytes is {limit}", ByteSize::b(size).display().iec()),
        ),
        _ => Line::passed("smtp.size", format!("the relay names no limit; limits.message_bytes is {limit}")),
    }
}

fn sender(from: &str, offered: &Extensions) -> Option<Line> {
    let needs = Mailbox::parse(from).ok()?.address.needs_smtputf8();
    (needs && !offered.smtputf8).then(|| {
        Line::failed(
            "smtp.from",
            "the address needs SMTPUTF8, which the relay does not offer",
            "take an address of ASCII letters, or a relay with SMTPUTF8",
        )
    })
}

fn no_login(offered: Option<&Extensions>) -> Line {
    let told = match offered.and_then(|offered| offered.auth.as_ref()) {
        Some(_) => "no smtp.username is set; the relay offers AUTH and may want it",
        None => "no smtp.username is set, and the relay offers no AUTH",
    };
    Line::passed("smtp.login", told)
}

fn failed(security: Security, failure: &Failure) -> Line {
    let reason = mask::mask_text(&failure.reason).into_owned();
    let is_said = |words: &str| reason.to_ascii_lowercase().contains(words);
    let (name, action) = match failure.stage {
        Stage::Connect if is_said("name ") => {
            ("smtp.host", "check smtp.host, and whether this machine's DNS knows it".to_owned())
        }
        Stage::Connect => (
            "smtp.connect",
            "check smtp.host, smtp.port and the firewalls between; many networks close port 25".to_owned(),
        ),
        Stage::Greeting => ("smtp.greeting", greeting(security)),
        Stage::Ehlo => ("smtp.ehlo", "check smtp.helo_name: some relays want a full host name".to_owned()),
        Stage::Tls => ("smtp.tls", tls(&reason.to_ascii_lowercase())),
        _ => (
            "smtp.login",
            "check smtp.username and smtp.password, and smtp.auth against what the relay offers".to_owned(),
        ),
    };
    Line::failed(name, reason, action)
}

fn greeting(security: Security) -> String {
    match security {
        Security::Tls => "ask whoever runs the relay: it takes the connection and refuses to talk",
        Security::Starttls | Security::Plain => {
            "ask whoever runs the relay; a port that says nothing may want TLS from the start: \
             smtp.security = \"tls\""
        }
    }
    .to_owned()
}

fn tls(reason: &str) -> String {
    if reason.contains("not valid for name") || reason.contains("notvalidforname") {
        "set smtp.host to a name that the certificate is for"
    } else if reason.contains("expired") {
        "have the relay's certificate renewed, and check this machine's clock"
    } else if reason.contains("causedasendentity") {
        "the relay shows an authority's certificate as its own (self-signed): give it one made without CA:TRUE, and \
         set smtp.ca_file to whoever signed that"
    } else if reason.contains("invalid peer certificate") {
        "nobody that is trusted vouches for the certificate: set smtp.ca_file to that of the relay's authority"
    } else if reason.contains("starttls") {
        "check smtp.port and smtp.security: \"tls\" is for ports such as 465, \"starttls\" for 587"
    } else {
        "check smtp.port and smtp.security: the port may not speak TLS from the start (\"starttls\")"
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;

    fn offering(size: Option<u64>) -> Extensions {
        Extensions { pipelining: true, size, auth: Some(vec!["PLAIN".into()]), ..Extensions::default() }
    }

    #[test]
    fn a_certificate_is_warned_of_from_a_fortnight_before_its_end() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).expect("a time");
        for (days, expected) in [(13, Status::Warned), (15, Status::Passed), (-1, Status::Warned)] {
            let line = certificate("relay.example", now + TimeDelta::days(days), now);
            assert_eq!(line.status, expected, "{line:?}");
            assert!(line.output.contains(&format!("{days} days")), "{line:?}");
        }
    }

    #[test]
    fn a_relay_that_takes_smaller_e_mails_is_warned_of() {
        for (size, expected) in [
            (Some(1_000), Status::Warned),
            (Some(2_000), Status::Passed),
            (Some(0), Status::Passed),
            (None, Status::Passed),
        ] {
            assert_eq!(super::size(&offering(size), 2_000).status, expected, "{size:?}");
        }
    }

    #[test]
    fn what_the_relay_offers_and_what_it_does_not_are_told() {
        let told = extensions(&offering(Some(1))).output;
        assert_eq!(told, "offers PIPELINING, SIZE, AUTH (PLAIN); not 8BITMIME, SMTPUTF8");
        assert!(sender("jös@example.com", &offering(None)).is_some());
        assert!(sender("Jös <jos@example.com>", &offering(None)).is_none());
    }

    #[test]
    fn each_failure_of_a_step_has_its_own_remedy() {
        let at = |stage, reason: &str| {
            let line = failed(Security::Tls, &Failure::unreachable(stage, reason));
            (line.name, line.action.expect("a remedy"))
        };
        let cases = [
            (Stage::Connect, "the name nowhere.example can't be resolved: x", "smtp.host", "DNS"),
            (Stage::Connect, "127.0.0.1:1: Connection refused", "smtp.connect", "smtp.port"),
            (Stage::Tls, "TLS failed: invalid peer certificate: UnknownIssuer", "smtp.tls", "smtp.ca_file"),
            (
                Stage::Tls,
                "TLS failed: invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
                "smtp.tls",
                "without CA:TRUE",
            ),
            (
                Stage::Tls,
                "TLS failed: invalid peer certificate: certificate not valid for name \"a\"",
                "smtp.tls",
                "set smtp.host",
            ),
            (Stage::Tls, "TLS failed: received corrupt message", "smtp.tls", "\"starttls\""),
            (Stage::Ehlo, "550 who", "smtp.ehlo", "smtp.helo_name"),
            (Stage::Auth, "535 5.7.8 no", "smtp.login", "smtp.password"),
        ];
        for (stage, reason, name, remedy) in cases {
            let (told, action) = at(stage, reason);
            assert_eq!(told, name, "{reason}");
            assert!(action.contains(remedy), "{reason}: {action}");
        }
    }
}
