//! Makes e-mails of jobs: header lines, MIME parts and envelope here, the encodings of texts by lettre.
//!
//! lettre's own header lines are not used: it panics on a line end in a name, writes lines without a limit
//! for long words, and can't say what stands in the envelope only.

mod body;
mod fitness;
mod header;
mod parameter;
mod part;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use mailroom_actors::domain::job::Record;
use mailroom_actors::ports::{BodyType, Composer, Email, Expiry};

use crate::config;
use crate::job::{self, Address, Job, Mailbox};
use crate::mask;
use crate::templates::{Rendered, TemplateStore, Wanted};
use part::Part;

/// The composer of the service: reads the job's form and builds RFC 5322 messages.
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
    /// When `default_from` is no address; in words for the operator.
    pub fn new(
        default_from: &str,
        message_bytes: usize,
        rules: config::Email,
        templates: Arc<TemplateStore>,
    ) -> Result<MailComposer, String> {
        let default_from = Mailbox::parse(default_from).map_err(|e| format!("smtp.from {e}"))?;
        Ok(MailComposer { default_from, message_bytes, rules, templates })
    }

    /// `smtp.from`, read.
    pub fn default_from(&self) -> &Mailbox {
        &self.default_from
    }

    fn build(&self, job: Job<'_>, body_type: BodyType) -> Result<Email, Failure> {
        let from = job.from.as_ref().unwrap_or(&self.default_from);
        self.check_sender(from)?;
        let words = self.words(&job)?;
        let message_id = job::message_id(&job.idempotency_key, from);
        let body = Part::of(words.text.as_deref(), words.html.as_deref(), &job.attachments);
        let mut data = Vec::with_capacity(body.size_hint() + 512);
        write_header(&job, from, words.subject.as_deref(), &message_id, &mut data);
        let header_bytes = data.len();
        body.write_alone(body_type, &mut data);
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
        let email = Email {
            header_needs_smtputf8: header_needs_smtputf8(&job, from),
            depends_on_body_type: body.depends_on_body_type(),
            body_type: if data[header_bytes..].is_ascii() { BodyType::SevenBit } else { body_type },
            message_id,
            sender: from.address.as_str().to_owned(),
            recipients: job.recipients().map(|address| address.as_str().to_owned()).collect(),
            data,
        };
        match fitness::flaw(&email, header_bytes) {
            None => Ok(email),
            Some(flaw) => {
                Err(Failure::before_attempt(Stage::Render, Cause::Render, format!("the e-mail {flaw}")))
            }
        }
    }

    fn check_sender(&self, from: &Mailbox) -> Result<(), Failure> {
        let allowed = &self.rules.allowed_from_domains;
        let domain = from.address.domain();
        if allowed.is_empty() || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain)) {
            return Ok(());
        }
        Err(Failure::before_attempt(
            Stage::Decode,
            Cause::InvalidSender,
            format!("from: the domain {domain} is not in email.allowed_from_domains"),
        ))
    }

    /// Subject, text and HTML: the job's own, and of a template what the job does not say itself.
    fn words<'a>(&self, job: &'a Job<'_>) -> Result<Words<'a>, Failure> {
        let [subject, text, html] =
            [&job.subject, &job.text, &job.html].map(|own| own.as_deref().map(Cow::Borrowed));
        let wanted = Wanted { subject: subject.is_none(), text: text.is_none(), html: html.is_none() };
        let limit = self.message_bytes;
        let templates = self.templates.current();
        let rendered = match (&job.template, &job.otp) {
            (Some(name), _) => templates.render(name, job.variables, wanted, limit)?,
            (None, Some(code)) => templates.render_otp(code, job.variables, wanted, limit)?,
            (None, None) => Rendered::default(),
        };
        if let Some(subject) = &rendered.subject {
            job::check_subject("subject, as the template makes it", subject)?;
        }
        Ok(Words {
            subject: subject.or(rendered.subject.map(Cow::Owned)),
            text: text.or(rendered.text.map(Cow::Owned)),
            html: html.or(rendered.html.map(Cow::Owned)),
        })
    }
}

/// What an e-mail says.
struct Words<'a> {
    subject: Option<Cow<'a, str>>,
    text: Option<Cow<'a, str>>,
    html: Option<Cow<'a, str>>,
}

/// All header lines but the Content ones.
fn write_header(job: &Job<'_>, from: &Mailbox, subject: Option<&str>, message_id: &str, out: &mut Vec<u8>) {
    header::plain(out, "Date", &Utc::now().to_rfc2822());
    header::plain(out, "Message-ID", message_id);
    header::mailboxes(out, "From", std::slice::from_ref(from));
    if let Some(reply_to) = &job.reply_to {
        header::mailboxes(out, "Reply-To", std::slice::from_ref(reply_to));
    }
    header::mailboxes(out, "To", &job.to);
    if !job.cc.is_empty() {
        header::mailboxes(out, "Cc", &job.cc);
    }
    if let Some(subject) = subject {
        header::text(out, "Subject", subject);
    }
    // RFC 3834, section 5: so that nobody's holiday notice answers it.
    if !job.headers.iter().any(|header| header.is("Auto-Submitted")) {
        header::plain(out, "Auto-Submitted", "auto-generated");
    }
    job.headers.iter().for_each(|header| header::own(out, header));
    header::plain(out, "MIME-Version", "1.0");
}

/// A bcc stands in no header: the envelope's check fails it alone, or sends it by SMTPUTF8.
fn header_needs_smtputf8(job: &Job<'_>, from: &Mailbox) -> bool {
    let shown = job.to.iter().chain(&job.cc).chain(&job.reply_to).chain([from]);
    shown.map(|mailbox| &mailbox.address).any(Address::needs_smtputf8)
}

impl Composer for MailComposer {
    fn compose(&self, record: &Record, body_type: BodyType) -> Result<Email, Failure> {
        self.build(job::decode(record, self.message_bytes)?, body_type)
    }

    fn expiry(&self, record: &Record, now: DateTime<Utc>) -> Option<Expiry> {
        let value = record.value.as_deref().filter(|value| value.len() <= self.message_bytes)?;
        let by_job = job::expires_at(value).map(|at| (at, "expires_at"));
        let by_age = self.end_of_age(record).map(|at| (at, "email.max_age"));
        let (at, set_by) = by_job.into_iter().chain(by_age).min_by_key(|(at, _)| *at)?;
        let left = (at - now).to_std().unwrap_or_default();
        // What is no e-mail anyway is dead-lettered for that.
        let is_moot = left.is_zero() && job::decode(record, self.message_bytes).is_err();
        (!is_moot).then_some(Expiry { left, set_by })
    }

    fn tags(&self, record: &Record) -> Option<String> {
        let tags = job::tags(record.value.as_deref()?)?;
        let text = serde_json::to_string(&tags).expect("strings are always JSON");
        Some(mask::mask_text(&text).into_owned())
    }
}

impl MailComposer {
    /// When the record is older than `email.max_age`; none where that, or its age, is not known.
    fn end_of_age(&self, record: &Record) -> Option<DateTime<Utc>> {
        let max_age = TimeDelta::from_std(self.rules.max_age?).ok()?;
        DateTime::from_timestamp_millis(record.timestamp_ms?)?.checked_add_signed(max_age)
    }
}
