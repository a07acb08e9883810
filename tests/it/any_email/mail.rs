//! An e-mail as somebody reads it: as it was meant, and as two parsers that are not ours see it.

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::{Address, Message, MessageParser, MimeHeaders, PartType};
use serde::Deserialize;

use crate::harness::process;

/// A name and a bare address; no name is an empty one.
pub type Mailbox = (String, String);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Mail {
    /// An empty one and none look alike to some readers.
    pub subject: Option<String>,
    pub from: Vec<Mailbox>,
    pub reply_to: Vec<Mailbox>,
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    pub text: Option<String>,
    pub html: Option<String>,
    pub attachments: Vec<Attachment>,
    /// Names as they stand, values unfolded and decoded.
    pub headers: Vec<(String, String)>,
    /// What the parser found wrong with it.
    #[serde(default)]
    pub defects: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    pub filename: String,
    /// Without parameters.
    pub content_type: String,
    /// In base64.
    pub content: String,
    pub content_id: Option<String>,
    pub inline: bool,
}

impl Mail {
    /// As mail-parser reads it.
    pub fn parsed(raw: &[u8]) -> Mail {
        let message = MessageParser::default().default_header_text().parse(raw).expect("it can be parsed");
        let mut mail = Mail {
            subject: message.subject().map(str::to_owned),
            from: mailboxes(message.from()),
            reply_to: mailboxes(message.reply_to()),
            to: mailboxes(message.to()),
            cc: mailboxes(message.cc()),
            headers: headers(&message),
            ..Mail::default()
        };
        for part in &message.parts {
            mail.add_part(part);
        }
        mail
    }

    fn add_part(&mut self, part: &mail_parser::MessagePart<'_>) {
        if matches!(part.body, PartType::Multipart(_)) {
            return;
        }
        let content_type = part.content_type().map_or_else(
            || "text/plain".to_owned(),
            |of| format!("{}/{}", of.ctype(), of.subtype().unwrap_or_default()).to_lowercase(),
        );
        let Some(disposition) = part.content_disposition() else {
            let text = String::from_utf8(part.contents().to_vec()).expect("texts are UTF-8");
            let place = if content_type == "text/html" { &mut self.html } else { &mut self.text };
            assert_eq!(place.replace(text), None, "one body of each kind");
            return;
        };
        self.attachments.push(Attachment {
            filename: part.attachment_name().unwrap_or_default().to_owned(),
            content_type,
            content: STANDARD.encode(part.contents()),
            content_id: part.content_id().map(str::to_owned),
            inline: disposition.is_inline(),
        });
    }

    /// Each as Python's `email` reads it.
    pub fn read_by_python(raw: &[&[u8]]) -> Vec<Mail> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/any_email/read_emails.py");
        let mut python = Command::new("python3");
        python.arg(script);
        let lines: Vec<String> = raw.iter().map(|raw| STANDARD.encode(raw)).collect();
        let output = process::run(python, (lines.join("\n") + "\n").as_bytes());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}

fn mailboxes(list: Option<&Address<'_>>) -> Vec<Mailbox> {
    let list = list.map(|list| list.as_list().expect("no groups")).unwrap_or_default();
    list.iter()
        .map(|of| (of.name().unwrap_or_default().to_owned(), of.address().unwrap_or_default().to_owned()))
        .collect()
}

fn headers(message: &Message<'_>) -> Vec<(String, String)> {
    // It takes some apart into addresses and ids: what needs no decoding is shown as it stands.
    let raw = |header: &mail_parser::Header<'_>| {
        let bytes = &message.raw_message[header.offset_start as usize..header.offset_end as usize];
        String::from_utf8_lossy(bytes).replace("\r\n", "").trim().to_owned()
    };
    let of = |header: &mail_parser::Header<'_>| {
        let value = match raw(header) {
            encoded if encoded.contains("=?") => header.value().as_text().unwrap_or_default().to_owned(),
            plain => plain,
        };
        (header.name().to_owned(), value)
    };
    message.headers().iter().map(of).collect()
}

/// The text as it arrives: each line end a CRLF.
pub fn with_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n")
}

/// What a line is to say of a raw e-mail that no server should ever be sent: bare CR or LF, NUL, a line over 998 bytes, no
/// line end at its end. None where it is well.
pub fn flaw(raw: &[u8]) -> Option<String> {
    if !raw.ends_with(b"\r\n") {
        return Some("it does not end with CRLF".into());
    }
    for (number, line) in raw[..raw.len() - 2].split(|byte| *byte == b'\n').enumerate() {
        let last = raw.len() - 2 == line.as_ptr() as usize - raw.as_ptr() as usize + line.len();
        let line = match line.strip_suffix(b"\r") {
            Some(line) => line,
            None if last => line,
            None => return Some(format!("a bare LF in line {number}")),
        };
        if line.contains(&b'\r') || line.contains(&0) || line.len() > 998 {
            return Some(format!("a bare CR, a NUL or more than 998 bytes in line {number}"));
        }
    }
    None
}
