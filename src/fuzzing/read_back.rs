//! Whether a parser that is not ours reads in an e-mail what the job says, and nothing else.

use mail_parser::{Address, Message, MessageParser, MessagePart, MimeHeaders};
use mailroom_actors::ports::Email;

use crate::job::{Attachment, Job, Mailbox};

/// Addresses, subject, bodies and files as in the job, where the job and not a template says them; the header lines that
/// belong there, and no other.
///
/// # Panics
/// When it reads otherwise.
pub fn assert_reads_as(email: &Email, job: &Job<'_>, from: &Mailbox) {
    assert_header_lines(&email.data, job);
    let message = MessageParser::default().parse(&email.data).expect("it is an e-mail");
    assert_eq!(message.message_id().map(|id| format!("<{id}>")), Some(email.message_id.clone()));
    assert_mailboxes(message.from(), std::slice::from_ref(from));
    assert_mailboxes(message.reply_to(), job.reply_to.as_slice());
    assert_mailboxes(message.to(), &job.to);
    assert_mailboxes(message.cc(), &job.cc);
    if let Some(subject) = &job.subject {
        assert_eq!(message.subject().unwrap_or_default(), subject);
    }
    assert_bodies(&message, job);
    let is_file = |part: &&MessagePart<'_>| part.content_disposition().is_some();
    let files: Vec<_> = message.parts.iter().filter(is_file).collect();
    let (inline, others): (Vec<_>, Vec<_>) =
        job.attachments.iter().partition(|file| file.content_id.is_some());
    assert_eq!(files.len(), job.attachments.len());
    for (part, file) in files.into_iter().zip(inline.into_iter().chain(others)) {
        assert_file(&message, part, file);
    }
}

/// The names of the e-mail's own header lines, by the rule of RFC 5322 alone: neither more nor fewer.
fn assert_header_lines(data: &[u8], job: &Job<'_>) {
    let end = data.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a header ends");
    let header = std::str::from_utf8(&data[..end]).expect("it is UTF-8 at most");
    let lines = header.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    let mut found: Vec<_> =
        lines.map(|line| line.split_once(':').expect("a name").0.to_ascii_lowercase()).collect();
    let may_be = ["subject", "content-transfer-encoding"];
    found.retain(|name| !may_be.contains(&name.as_str()));
    let always =
        ["date", "message-id", "from", "to", "auto-submitted", "mime-version", "content-type"].into_iter();
    let reply_to = job.reply_to.iter().map(|_| "reply-to");
    let cc = job.cc.first().into_iter().map(|_| "cc");
    let mut expected: Vec<_> = always.chain(reply_to).chain(cc).map(str::to_owned).collect();
    let own = job.headers.iter().map(|header| header.name.to_ascii_lowercase());
    expected.extend(own.filter(|name| name != "auto-submitted"));
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

/// A list with a quoted local part or an IPv6 address is passed over: mail-parser takes what is quoted for a name, and
/// what has a colon for a group.
fn assert_mailboxes(found: Option<&Address<'_>>, given: &[Mailbox]) {
    if given.iter().any(|of| of.address.local().starts_with('"') || of.address.domain().contains(':')) {
        return;
    }
    let found = found.map(|list| list.as_list().expect("no groups")).unwrap_or_default();
    let found: Vec<_> =
        found.iter().map(|of| (of.name(), of.address().unwrap_or_default().to_owned())).collect();
    let given: Vec<_> = given.iter().map(|of| (of.name.as_deref(), of.address.as_str().to_owned())).collect();
    assert_eq!(found, given);
}

fn assert_bodies(message: &Message<'_>, job: &Job<'_>) {
    let body = |subtype: &str| {
        let is_it = |part: &&MessagePart<'_>| {
            part.content_disposition().is_none()
                && part.content_type().is_some_and(|of| of.subtype() == Some(subtype))
        };
        let part = message.parts.iter().find(is_it)?;
        Some(String::from_utf8(part.contents().to_vec()).expect("a body is UTF-8"))
    };
    for (subtype, given) in [("plain", &job.text), ("html", &job.html)] {
        let Some(given) = given else { continue };
        let canonical = given.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
        let found = body(subtype).unwrap_or_else(|| panic!("there is a body of text/{subtype}"));
        // A body that is the whole e-mail gets a line end where it has none.
        let is_same = found == canonical || found.strip_suffix("\r\n") == Some(&canonical);
        assert!(is_same, "{found:?} is not {canonical:?}");
    }
}

fn assert_file(message: &Message<'_>, part: &MessagePart<'_>, file: &Attachment<'_>) {
    assert_eq!(part.attachment_name(), Some(&*file.filename));
    // Not what it decodes: of files of text it makes UTF-8, whatever they were.
    let body = &message.raw_message[part.offset_body as usize..part.offset_end as usize];
    let base64: Vec<u8> = body.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
    assert_eq!(String::from_utf8_lossy(&base64), file.content);
    assert_eq!(part.content_id(), file.content_id.as_deref());
    let of = part.content_type().expect("a file has a type");
    let essence = format!("{}/{}", of.ctype(), of.subtype().unwrap_or_default());
    assert!(essence.eq_ignore_ascii_case(&file.content_type.essence), "{essence}");
}
