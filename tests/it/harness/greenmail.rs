//! GreenMail: a real mail server with logins, TLS and mailboxes to read back from.

use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::certificate::{Certificate, KEYSTORE_PASSWORD};
use super::process::{self, Process};
use super::{cache, starttls_front, until};

/// The login of the worker, and the mailbox it may send to.
pub const USER: &str = "worker@example.com";
pub const PASSWORD: &str = "correct-horse-battery";

pub struct GreenMail {
    pub certificate: Certificate,
    /// Without TLS.
    pub smtp_port: u16,
    /// TLS from the first byte.
    pub smtps_port: u16,
    /// TLS after STARTTLS.
    pub starttls_port: u16,
    api_port: u16,
    _process: Process,
}

impl GreenMail {
    /// The one that all tests share: use mailboxes of your own.
    pub fn shared() -> &'static GreenMail {
        static SHARED: OnceLock<GreenMail> = OnceLock::new();
        SHARED.get_or_init(GreenMail::start)
    }

    fn start() -> GreenMail {
        let certificate = Certificate::make();
        let (smtp_port, smtps_port, api_port) =
            (process::free_port(), process::free_port(), process::free_port());
        let (name, domain) = USER.split_once('@').expect("the user is an address");
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        for (protocol, port) in [("smtp", smtp_port), ("smtps", smtps_port), ("api", api_port)] {
            java.arg(format!("-Dgreenmail.{protocol}.hostname=127.0.0.1"));
            java.arg(format!("-Dgreenmail.{protocol}.port={port}"));
        }
        java.arg("-Dgreenmail.users.login=email")
            .arg(format!("-Dgreenmail.users={name}:{PASSWORD}@{domain}"));
        java.arg("-Dgreenmail.startup.timeout=60000");
        java.arg(format!("-Dgreenmail.tls.keystore.file={}", certificate.keystore().display()));
        java.arg(format!("-Dgreenmail.tls.keystore.password={KEYSTORE_PASSWORD}"));
        java.arg("-jar").arg(cache::greenmail_jar());
        let mut process = Process::start("GreenMail", java);
        for port in [smtp_port, smtps_port, api_port] {
            process.accepts_on(port);
        }
        let starttls_port = starttls_front::start(&certificate, smtp_port);
        GreenMail { certificate, smtp_port, smtps_port, starttls_port, api_port, _process: process }
    }

    /// The e-mails in a mailbox, as they were taken; waits until there are so many.
    pub fn mailbox(&self, address: &str, count: usize) -> Vec<String> {
        until(&format!("{count} e-mails in a mailbox"), || {
            let messages = self.messages(address);
            (messages.len() >= count).then_some(messages)
        })
    }

    fn messages(&self, address: &str) -> Vec<String> {
        let url = format!("http://127.0.0.1:{}/api/user/{address}/messages/INBOX", self.api_port);
        // A mailbox that has had no e-mail yet is answered with an error.
        let Ok(mut answer) = ureq::get(&url).call() else {
            return Vec::new();
        };
        let text = answer.body_mut().read_to_string().expect("the answer is text");
        let messages: Vec<Value> =
            serde_json::from_str(&text).unwrap_or_else(|_| panic!("no messages: {text}"));
        let whole = |message: &Value| message["mimeMessage"].as_str().expect("a message is text").to_owned();
        messages.iter().map(whole).collect()
    }
}
