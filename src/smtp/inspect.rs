//! Looks at the relay as far as its login, for `mailroom check --online`: no e-mail is begun.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mailroom_actors::domain::failure::{Failure, Stage};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::connection::NoGate;
use super::ehlo::Extensions;
use super::line::Line;
use super::login::{Goal, Login};
use super::sasl::Sasl;
use super::session::{Want, Wire};
use super::stream::Stream;
use super::tls::Tls;
use crate::config::{Security, Smtp};

/// How far a connection to the relay got, and what was seen on the way.
#[derive(Debug, Default)]
pub struct RelayInspection {
    /// What the name of `smtp.host` stands for.
    pub addresses: Vec<SocketAddr>,
    /// Those of them that were tried in vain, before one answered.
    pub silent: Vec<(SocketAddr, String)>,
    pub connected: Option<SocketAddr>,
    /// Until when every certificate that the relay showed is good; none without TLS.
    pub certificate_expires: Option<DateTime<Utc>>,
    /// What the relay offers, TLS behind it where there is any; none where it did not come to that.
    pub extensions: Option<Extensions>,
    /// The login was taken; without one there is none.
    pub logged_in: bool,
    /// Why it went no further; its stage says where.
    pub failure: Option<Failure>,
}

/// Looks the name up, connects, makes the connection a TLS one, says EHLO, logs in and says QUIT. Each step keeps
/// its limit of `smtp.timeouts`, and all of them together `limit`.
pub async fn inspect(smtp: &Smtp, limit: Duration) -> RelayInspection {
    let mut seen = RelayInspection::default();
    let result = timeout(limit, look(smtp, &mut seen)).await;
    seen.failure = match result {
        Ok(result) => result.err(),
        Err(_) => Some(late(smtp, &seen)),
    };
    seen
}

/// What all of it together took too long for; it goes by what was seen before.
fn late(smtp: &Smtp, seen: &RelayInspection) -> Failure {
    let encrypted = seen.certificate_expires.is_some();
    let (stage, what) = if seen.addresses.is_empty() {
        (Stage::Connect, format!("the name {} is not answered in time", smtp.host))
    } else if seen.connected.is_none() {
        (Stage::Connect, "none of its addresses answers in time".to_owned())
    } else if smtp.security == Security::Tls && !encrypted {
        (Stage::Tls, "the handshake did not end in time".to_owned())
    } else {
        (
            Stage::Greeting,
            "the relay did not say in time what it offers, and whether it takes the login".to_owned(),
        )
    };
    Failure::unreachable(stage, what)
}

async fn look(smtp: &Smtp, seen: &mut RelayInspection) -> Result<(), Failure> {
    seen.addresses = resolve(&smtp.host, smtp.port, smtp.timeouts.connect).await?;
    let tcp = connect(smtp.timeouts.connect, seen).await?;
    let tls = match smtp.security {
        Security::Plain => None,
        Security::Tls | Security::Starttls => {
            let tls = Tls::new(&smtp.host, smtp.ca_file.as_deref());
            Some(tls.map_err(|why| Failure::unreachable(Stage::Tls, why))?)
        }
    };
    let goal = Goal {
        helo_name: smtp.helo_name.clone(),
        starttls: smtp.security == Security::Starttls,
        encrypted: smtp.security == Security::Tls,
        sasl: sasl(smtp)?,
        allow_plaintext_auth: smtp.allow_plaintext_auth,
    };
    let mut line = Line::new(Stream::Plain(tcp), smtp.timeouts);
    if goal.encrypted {
        line = encrypt(line, tls.as_ref(), seen).await?;
    }
    let mut wire = Wire::default();
    let mut login = Login::new(&mut wire, goal);
    while line.converse(&mut login, &NoGate).await == Want::StartTls {
        line = encrypt(line, tls.as_ref(), seen).await?;
        login.encrypted();
    }
    seen.extensions = login.offered().cloned();
    login.result()?;
    seen.logged_in = smtp.login.is_some();
    line.part(b"QUIT\r\n").await;
    Ok(())
}

async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, Failure> {
    let unresolved = |why: String| Failure::unreachable(Stage::Connect, why);
    let found = timeout(limit, lookup_host((host, port))).await;
    let found = found.map_err(|_| unresolved(format!("the name {host} is not answered in time")))?;
    let found = found.map_err(|error| unresolved(format!("the name {host} can't be resolved: {error}")))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(unresolved(format!("the name {host} has no address")));
    }
    Ok(addresses)
}

/// As the worker does: each address in turn, the first that answers.
async fn connect(limit: Duration, seen: &mut RelayInspection) -> Result<TcpStream, Failure> {
    for address in &seen.addresses {
        let why = match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                seen.connected = Some(*address);
                return Ok(tcp);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {}", humantime::format_duration(limit)),
        };
        seen.silent.push((*address, why));
    }
    let whys: Vec<_> = seen.silent.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    Err(Failure::unreachable(Stage::Connect, whys.join("; ")))
}

fn sasl(smtp: &Smtp) -> Result<Option<Sasl>, Failure> {
    let Some(login) = &smtp.login else { return Ok(None) };
    let password = login.password.read().map_err(|why| {
        Failure::unreachable(Stage::Auth, format!("the SMTP password can't be read: {why}"))
    })?;
    Ok(Some(Sasl::new(login.username.clone(), password, login.mechanism)))
}

async fn encrypt(line: Line, tls: Option<&Tls>, seen: &mut RelayInspection) -> Result<Line, Failure> {
    let tls = tls.ok_or_else(|| Failure::unreachable(Stage::Tls, "TLS is not set up"))?;
    let line = line.encrypt(tls).await?;
    // What the handshake has taken can be parsed; what can't has no date that anybody could show.
    let ends = line.certificates().iter().filter_map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0)
    });
    seen.certificate_expires = ends.min();
    Ok(line)
}
