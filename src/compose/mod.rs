//! Makes e-mails of jobs: header lines, MIME parts and envelope here, quoted-printable by lettre.
//!
//! lettre's own header lines and parts are not used: it panics on a line end in a name, writes lines without a limit
//! for long words, copies attachments about, and can't say what stands in the envelope only.

mod body;
mod fitness;
mod header;
mod line;
mod parameter;
mod part;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use mailroom_actors::domain::job::Record;
use mailroom_actors::ports::{BodyType, Composer, Email, Expiry};

use crate::config;
use crate::job::{self, Address, Header, Job, Mailbox};
use crate::mask::mask_text;
use crate::templates::{Rendered, TemplateStore, Wanted};
use part::Part;

/// The longest that a job is said to have left: a century. Clocks of the service can count no further than that for
/// certain, and a record's timestamp may be anything.
const MOST_LEFT: Duration = Duration::from_secs(100 * 365 * 86_400);
/// Bytes of an ordinary e-mail's header.
const HEADER_BYTES: usize = 512;
const AUTO_SUBMITTED: &str = "Auto-Submitted";

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
        self.check_sender(&from.address)?;
        let rendered = self.render(&job)?;
        let subject = job.subject.as_deref().or(rendered.subject.as_deref());
        let text = job.text.as_deref().or(rendered.text.as_deref());
        let html = job.html.as_deref().or(rendered.html.as_deref());
        let message_id = job::message_id(&job.idempotency_key, from);

        let content = Part::of(text, html, &job.attachments, body_type);
        let content_size = content.size_hint();
        let mut data = Vec::with_capacity(HEADER_BYTES + content_size);
        write_header(&mut data, &job, from, subject, &message_id);
        // All at once: what has been written of a large e-mail is not to be copied as it grows.
        data.reserve(content_size);
        content.write(&mut data);

        let (body_type, depends_on_body_type) = content.body_type();
        let header_needs_smtputf8 = in_the_header(&job, from).any(Address::needs_smtputf8);
        self.check_finished(&data, body_type, header_needs_smtputf8)?;
        let sender = from.address.as_str().to_owned();
        let mailboxes = job.to.into_iter().chain(job.cc).chain(job.bcc);
        let recipients = mailboxes.map(|mailbox| mailbox.address.into_string()).collect();
        Ok(Email {
            message_id,
            sender,
            recipients,
            data,
            body_type,
            depends_on_body_type,
            header_needs_smtputf8,
        })
    }

    fn check_sender(&self, from: &Address) -> Result<(), Failure> {
        let allowed = &self.rules.allowed_from_domains;
        if allowed.is_empty() || allowed.iter().any(|domain| domain.eq_ignore_ascii_case(from.domain())) {
            return Ok(());
        }
        let reason = "from: its domain is not one of email.allowed_from_domains";
        Err(Failure::before_attempt(Stage::Decode, Cause::InvalidSender, reason))
    }

    /// What the job's template says of what the job does not say itself; nothing where it has none.
    fn render(&self, job: &Job<'_>) -> Result<Rendered, Failure> {
        let wanted =
            Wanted { subject: job.subject.is_none(), text: job.text.is_none(), html: job.html.is_none() };
        let (name, rendered) = match (&job.template, &job.otp) {
            (Some(name), _) => {
                let templates = self.templates.current();
                (&**name, templates.render(name, job.variables, wanted, self.message_bytes)?)
            }
            (None, Some(code)) => {
                let templates = self.templates.current();
                ("otp", templates.render_otp(code, job.variables, wanted, self.message_bytes)?)
            }
            (None, None) => return Ok(Rendered::default()),
        };
        check_rendered_subject(name, &rendered)?;
        Ok(rendered)
    }

    fn check_finished(
        &self,
        data: &[u8],
        body_type: BodyType,
        header_needs_smtputf8: bool,
    ) -> Result<(), Failure> {
        let refused = |cause, reason| Err(Failure::before_attempt(Stage::Render, cause, reason));
        if data.len() > self.message_bytes {
            let (size, limit) = (data.len(), self.message_bytes);
            return refused(
                Cause::TooLarge,
                format!("the e-mail is {size} bytes, over limits.message_bytes ({limit})"),
            );
        }
        match fitness::flaw(data, body_type, header_needs_smtputf8) {
            Some(flaw) => refused(Cause::Render, format!("the e-mail {flaw}")),
            None => Ok(()),
        }
    }
}

/// A template that there is has a name of letters, digits, `_` and `-`.
fn check_rendered_subject(name: &str, rendered: &Rendered) -> Result<(), Failure> {
    let Some(subject) = &rendered.subject else { return Ok(()) };
    job::check_subject(subject).map_err(|why| {
        let reason = format!("template {name}: the subject {why}");
        Failure::before_attempt(Stage::Decode, Cause::Invalid, reason)
    })
}

fn write_header(out: &mut Vec<u8>, job: &Job<'_>, from: &Mailbox, subject: Option<&str>, message_id: &str) {
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
    let is_auto_submitted = |header: &&Header<'_>| header.is(AUTO_SUBMITTED);
    match job.headers.iter().find(is_auto_submitted) {
        Some(own) => header::given(out, AUTO_SUBMITTED, own),
        None => header::plain(out, AUTO_SUBMITTED, "auto-generated"),
    }
    for own in job.headers.iter().filter(|header| !is_auto_submitted(header)) {
        header::given(out, &own.name, own);
    }
    header::plain(out, "MIME-Version", "1.0");
}

/// The addresses that stand in the header: all but `bcc`.
fn in_the_header<'a>(job: &'a Job<'_>, from: &'a Mailbox) -> impl Iterator<Item = &'a Address> {
    let mailboxes = std::iter::once(from).chain(&job.reply_to).chain(&job.to).chain(&job.cc);
    mailboxes.map(|mailbox| &mailbox.address)
}

impl Composer for MailComposer {
    fn compose(&self, record: &Record, body_type: BodyType) -> Result<Email, Failure> {
        self.build(job::decode(record, self.message_bytes)?, body_type)
    }

    /// Looks into the job only for `expires_at`.
    fn expiry(&self, record: &Record, now: DateTime<Utc>) -> Option<Expiry> {
        let value = self.readable_value(record)?;
        let now = i128::from(now.timestamp_micros());
        let own = job::expires_at(value).map(|at| (i128::from(at.timestamp_micros()) - now, "expires_at"));
        let age = record.timestamp_ms.zip(self.rules.max_age).map(|(timestamp_ms, max_age)| {
            let left = i128::from(timestamp_ms) * 1000 + max_age.as_micros().cast_signed() - now;
            (left, "email.max_age")
        });
        let (left, set_by) = own.into_iter().chain(age).min_by_key(|(left, _)| *left)?;
        let left = u64::try_from(left.max(0)).map_or(MOST_LEFT, Duration::from_micros).min(MOST_LEFT);
        Some(Expiry { left, set_by })
    }

    fn why_no_job(&self, record: &Record) -> Option<Failure> {
        job::decode(record, self.message_bytes).err()
    }

    fn tags(&self, record: &Record) -> Option<String> {
        let tags = job::tags(self.readable_value(record)?);
        if tags.is_empty() {
            return None;
        }
        // Each on its own, so that quotes and commas of the JSON are no part of an address.
        let masked: BTreeMap<Cow<'_, str>, Cow<'_, str>> =
            tags.iter().map(|(name, value)| (mask_text(name), mask_text(value))).collect();
        serde_json::to_string(&masked).ok()
    }
}

impl MailComposer {
    /// The record's value, unless it is over the limit and won't be read.
    fn readable_value<'a>(&self, record: &'a Record) -> Option<&'a [u8]> {
        record.value.as_deref().filter(|value| value.len() <= self.message_bytes)
    }
}
