//! Makes e-mails of jobs: header lines and envelope here, MIME parts and their encodings by lettre.
//!
//! lettre's own header lines are not used: it panics on a line end in a name, writes lines without a limit
//! for long words, and can't say what stands in the envelope only.

mod body;
mod header;
mod otp;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use mailroom_actors::domain::job::Record;
use mailroom_actors::ports::{BodyType, Composer, Email, Expiry};

use crate::config;
use crate::job::{self, Address, Job, Mailbox};
use crate::templates::TemplateStore;

/// The composer of the service: reads the job's form and builds RFC 5322 messages, 7-bit throughout.
#[derive(Clone, Debug)]
pub struct MailComposer {
    default_from: Mailbox,
    message_bytes: usize,
    rules: config::Email,
    templates: Arc<TemplateStore>,
}

impl MailComposer {
    /// A composer for jobs that have no `from` of their own: `default_from` is `smtp.from`, a bare address
    /// or a mailbox. `message_bytes` is the limit on a record's value and on a finished e-mail.
    ///
    /// # Errors
    /// When `default_from` is no address, or one that needs SMTPUTF8; in words for the operator.
    pub fn new(
        default_from: &str,
        message_bytes: usize,
        rules: config::Email,
        templates: Arc<TemplateStore>,
    ) -> Result<MailComposer, String> {
        let default_from = Mailbox::parse(default_from).map_err(|e| format!("smtp.from {e}"))?;
        if default_from.address.needs_smtputf8() {
            return Err("smtp.from needs SMTPUTF8 (it is not ASCII before the @); use another address".into());
        }
        Ok(MailComposer { default_from, message_bytes, rules, templates })
    }

    /// `smtp.from`, read.
    pub fn default_from(&self) -> &Mailbox {
        &self.default_from
    }

    fn build(&self, job: Job<'_>) -> Result<Email, Failure> {
        let from = job.from.as_ref().unwrap_or(&self.default_from);
        check_ascii(&job, from)?;
        let subject = job.subject.as_deref().or(job.otp.as_ref().map(|_| otp::SUBJECT));
        let otp = job.otp.as_deref();
        let text = job.text.as_deref().map(Into::into).or_else(|| otp.map(|code| otp::text(code).into()));
        let html = job.html.as_deref().map(Into::into).or_else(|| otp.map(|code| otp::html(code).into()));
        let message_id = job::message_id(&job.idempotency_key, from);

        let parts = body::parts(text, html);
        let mut data = Vec::with_capacity(parts.len() + 512);
        header::plain(&mut data, "Date", &Utc::now().to_rfc2822());
        header::plain(&mut data, "Message-ID", &message_id);
        header::mailboxes(&mut data, "From", std::slice::from_ref(from));
        if let Some(reply_to) = &job.reply_to {
            header::mailboxes(&mut data, "Reply-To", std::slice::from_ref(reply_to));
        }
        header::mailboxes(&mut data, "To", &job.to);
        if !job.cc.is_empty() {
            header::mailboxes(&mut data, "Cc", &job.cc);
        }
        if let Some(subject) = subject {
            header::text(&mut data, "Subject", subject);
        }
        header::plain(&mut data, "Auto-Submitted", "auto-generated");
        header::plain(&mut data, "MIME-Version", "1.0");
        data.extend_from_slice(&parts);

        if data.len() > self.message_bytes {
            return Err(Failure::before_attempt(
                Stage::Render,
                Cause::TooLarge,
                format!(
                    "the e-mail is {} bytes, over limits.message_bytes ({})",
                    data.len(),
                    self.message_bytes
                ),
            ));
        }
        if let Some(flaw) = flaw(&data) {
            return Err(Failure::before_attempt(Stage::Render, Cause::Render, format!("the e-mail {flaw}")));
        }
        let sender = from.address.as_str().to_owned();
        let mailboxes = job.to.into_iter().chain(job.cc).chain(job.bcc);
        let recipients = mailboxes.map(|mailbox| mailbox.address.into_string()).collect();
        Ok(Email { message_id, sender, recipients, data, ..Email::default() })
    }
}

impl Composer for MailComposer {
    fn compose(&self, record: &Record, _: BodyType) -> Result<Email, Failure> {
        self.build(job::decode(record, self.message_bytes)?)
    }

    fn expiry(&self, _: &Record, _: DateTime<Utc>) -> Option<Expiry> {
        None
    }

    fn tags(&self, _: &Record) -> Option<String> {
        None
    }
}

/// SMTPUTF8 is not spoken yet, so an address that needs it is treated as by a relay that does not offer it.
fn check_ascii(job: &Job<'_>, from: &Mailbox) -> Result<(), Failure> {
    let refuse = |cause, field: &str| {
        let reason = format!("{field}: the address needs SMTPUTF8, which this version does not use yet");
        Err(Failure::before_attempt(Stage::Render, cause, reason))
    };
    if from.address.needs_smtputf8() {
        return refuse(Cause::InvalidSender, "from");
    }
    let reply_to = job.reply_to.as_ref().map(|mailbox| &mailbox.address);
    if reply_to.is_some_and(Address::needs_smtputf8) {
        return refuse(Cause::InvalidRecipient, "reply_to");
    }
    // A bcc stands in no header: the envelope's check fails it alone, or sends it by SMTPUTF8.
    for (field, list) in [("to", &job.to), ("cc", &job.cc)] {
        if list.iter().any(|mailbox| mailbox.address.needs_smtputf8()) {
            return refuse(Cause::InvalidRecipient, field);
        }
    }
    Ok(())
}

/// What must never leave this process: a bare CR or LF (it could end the e-mail early at the server), a
/// line over 998 bytes, a byte over 127, NUL, or an unfinished last line (RFC 5321, section 4.5.3.1.6; RFC
/// 5322, section 2.3). None when `data` is fit for the wire.
fn flaw(data: &[u8]) -> Option<&'static str> {
    if !data.ends_with(b"\r\n") {
        return Some("does not end with a line end");
    }
    if !data.is_ascii() || data.contains(&0) {
        return Some("is not 7-bit text");
    }
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Some("has a line feed without a carriage return");
        };
        if line.len() > 998 {
            return Some("has a line of more than 998 bytes");
        }
        if line.contains(&b'\r') {
            return Some("has a carriage return without a line feed");
        }
    }
    None
}
