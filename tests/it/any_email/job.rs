//! Jobs of every kind, good and bad, made at random from a seed, each with what must become of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::mail::{Attachment, Mail, Mailbox, with_crlf};

/// A record's value, and what must become of it.
#[derive(Debug)]
pub struct Job {
    pub value: Vec<u8>,
    pub expected: Expected,
}

#[derive(Debug)]
pub enum Expected {
    /// Sent to these addresses, in any order, and read so.
    Sent { envelope: Vec<String>, mail: Box<Mail> },
    /// Dead-lettered with this cause, and a reason that holds this text.
    DeadLettered { cause: &'static str, reason: &'static str },
    /// Damaged at random: one or the other.
    Either,
}

/// What the relay offers decides what can be sent.
#[derive(Clone, Copy, Debug)]
pub struct Offers {
    pub smtputf8: bool,
}

/// The templates that the jobs name, as files.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("greeting.subject.txt", "Hello {{ name }}\n"),
    ("greeting.txt", "Dear {{ name }},\nyou have {{ count }} letters."),
    ("greeting.html", "<p>Dear {{ name }}, you have <b>{{ count }}</b> letters.</p>"),
    ("plain.txt", "{% for item in items %}- {{ item.title }}\n{% endfor %}"),
];

/// `smtp.from` of the worker.
pub const FROM: (&str, &str) = ("Mailroom", "noreply@mailroom.example");

pub struct Generator {
    random: fastrand::Rng,
    offers: Offers,
}

impl Generator {
    pub fn new(seed: u64, offers: Offers) -> Generator {
        Generator { random: fastrand::Rng::with_seed(seed), offers }
    }

    /// The job with this number: about every third is a bad one. The first recipient of a good one tells the number.
    pub fn job(&mut self, number: usize) -> Job {
        match self.random.u8(..100) {
            0..70 => self.good(number),
            70..90 => self.bad(number),
            90..95 => self.truncated(number),
            _ => self.damaged(number),
        }
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.u32(..n) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.random.usize(..from.len())]
    }

    // ---- Good ones --------------------------------------------------------------------------------------

    fn good(&mut self, number: usize) -> Job {
        let mut job = Map::new();
        let mut mail = Mail { from: vec![(FROM.0.into(), FROM.1.into())], ..Mail::default() };
        let mut envelope = Vec::new();
        let mut needs_smtputf8 = None;
        job.insert("id".into(), format!("job {number} 你").into());

        mail.to = self.recipients(&mut job, "to", number, 1 + number % 3, &mut needs_smtputf8, &mut envelope);
        if self.one_in(4) {
            mail.cc = self.recipients(&mut job, "cc", number, 2, &mut needs_smtputf8, &mut envelope);
        }
        if self.one_in(4) {
            let hidden = format!("\"a hidden one {number}\"@example.com");
            job.insert("bcc".into(), hidden.as_str().into());
            envelope.push(hidden);
        }
        if self.one_in(4) {
            let (given, seen, utf8) = self.mailbox(&format!("from{number}"));
            job.insert("from".into(), given);
            mail.from = vec![seen];
            if utf8 {
                needs_smtputf8 = Some("invalid_sender");
            }
        }
        if self.one_in(5) {
            let (given, seen, utf8) = self.mailbox(&format!("reply{number}"));
            job.insert("reply_to".into(), given);
            mail.reply_to = vec![seen];
            if utf8 {
                needs_smtputf8 = needs_smtputf8.or(Some("invalid_recipient"));
            }
        }
        self.content(&mut job, &mut mail);
        let mut auto_submitted = "auto-generated".to_owned();
        if self.one_in(3) {
            self.headers(&mut job, &mut mail, &mut auto_submitted);
        }
        mail.headers.push(("Auto-Submitted".into(), auto_submitted));
        if self.one_in(3) {
            self.attachments(&mut job, &mut mail);
        }
        if self.one_in(8) {
            job.insert("tags".into(), json!({"campaign": "été", "n": number.to_string()}));
        }
        if self.one_in(8) {
            job.insert("expires_at".into(), "2199-12-31T23:59:59.5+01:00".into());
        }
        if self.one_in(8) {
            job.insert("unknown".into(), json!({"deep": [[[{"to": 1}]]], "n": 1.5e300}));
            job.insert("template".into(), job.get("template").cloned().unwrap_or(Value::Null));
        }
        let expected = match needs_smtputf8.filter(|_| !self.offers.smtputf8) {
            Some(cause) => Expected::DeadLettered { cause, reason: "SMTPUTF8" },
            None => Expected::Sent { envelope, mail: Box::new(mail) },
        };
        Job { value: self.written(&Value::Object(job)), expected }
    }

    /// Compact or with white space; with escapes or without.
    fn written(&mut self, job: &Value) -> Vec<u8> {
        let text =
            if self.one_in(3) { serde_json::to_string_pretty(job) } else { serde_json::to_string(job) };
        let text = text.expect("it is JSON");
        if !self.one_in(4) {
            return text.into_bytes();
        }
        let escaped = text.chars().map(|c| {
            let mut units = [0; 2];
            match c.is_ascii() {
                true => c.to_string(),
                false => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            }
        });
        escaped.collect::<String>().into_bytes()
    }

    fn recipients(
        &mut self,
        job: &mut Map<String, Value>,
        field: &str,
        number: usize,
        count: usize,
        needs_smtputf8: &mut Option<&'static str>,
        envelope: &mut Vec<String>,
    ) -> Vec<Mailbox> {
        let mut given = Vec::new();
        let mut seen = Vec::new();
        for index in 0..count {
            let (one, mailbox, utf8) = self.mailbox(&format!("{field}{index}.{number}"));
            if utf8 {
                *needs_smtputf8 = needs_smtputf8.or(Some("invalid_recipient"));
            }
            if self.one_in(6) {
                given.push(one.clone());
            }
            envelope.push(mailbox.1.clone());
            given.push(one);
            seen.push(mailbox);
        }
        let value = if given.len() == 1 && self.one_in(2) { given.remove(0) } else { Value::Array(given) };
        job.insert(field.into(), value);
        seen
    }

    /// An address as it is given, as it is read, and whether it needs SMTPUTF8. `tail` makes it the only one of its kind.
    fn mailbox(&mut self, tail: &str) -> (Value, Mailbox, bool) {
        let utf8 = self.one_in(12);
        let local = match utf8 {
            true => format!("ünï{tail}"),
            false => format!("{}{tail}", self.pick(&["", "a+b_c=d/", "x-", "O'Neil."])),
        };
        let (domain, ascii) = match self.random.u8(..8) {
            0 => ("bücher.example", "xn--bcher-kva.example"),
            1 => ("Sub.EXAMPLE.com", "Sub.EXAMPLE.com"),
            2 => ("[192.0.2.1]", "[192.0.2.1]"),
            _ => ("example.com", "example.com"),
        };
        let (address, seen) = (format!("{local}@{domain}"), format!("{local}@{ascii}"));
        match self.random.u8(..4) {
            0 => (address.clone().into(), (String::new(), seen), utf8),
            1 => (json!({"email": address}), (String::new(), seen), utf8),
            2 => (format!("Ada Lovelace <{address}>").into(), ("Ada Lovelace".into(), seen), utf8),
            _ => {
                let long = "Ñandú 你好 ".repeat(30);
                let names = [
                    "Lovelace, Ada",
                    "Žofie Müller",
                    "J.R. \"Bob\" \\",
                    "=?utf-8?B?eA==?=",
                    "Ada (at home)",
                    "😀",
                    "a@b.c",
                    "Dr. No; <Esq>:",
                    long.trim(),
                ];
                let name = self.pick(&names);
                (json!({"email": address, "name": name}), (name.into(), seen), utf8)
            }
        }
    }

    fn content(&mut self, job: &mut Map<String, Value>, mail: &mut Mail) {
        match self.random.u8(..10) {
            0 => {
                job.insert("otp".into(), "493021".into());
                mail.subject = Some("Your verification code".into());
                // Looked for, not compared: the words are the worker's.
                (mail.text, mail.html) = (Some("493021".into()), Some("493021".into()));
            }
            1 => {
                job.insert("template".into(), "greeting".into());
                job.insert(
                    "variables".into(),
                    json!({"name": "Jürgen & <Söhne>", "count": 3, "more": [null]}),
                );
                mail.subject = Some("Hello Jürgen & <Söhne>".into());
                mail.text = Some("Dear Jürgen & <Söhne>,\r\nyou have 3 letters.".into());
                mail.html = Some("<p>Dear Jürgen &amp; &lt;Söhne&gt;, you have <b>3</b> letters.</p>".into());
            }
            2 => {
                job.insert("template".into(), "plain".into());
                job.insert("variables".into(), json!({"items": [{"title": "one"}, {"title": "zwölf"}]}));
                job.insert("subject".into(), "Over the template's".into());
                mail.subject = Some("Over the template's".into());
                mail.text = Some("- one\r\n- zwölf\r\n".into());
            }
            kind => {
                if !self.one_in(10) {
                    let subject = self.header_text(998);
                    job.insert("subject".into(), subject.clone().into());
                    mail.subject = Some(subject);
                }
                if kind != 3 {
                    let text = self.body();
                    mail.text = Some(with_crlf(&text));
                    job.insert("text".into(), text.into());
                }
                if kind <= 5 {
                    let html = format!("<p>{}</p>", self.body());
                    mail.html = Some(with_crlf(&html));
                    job.insert("html".into(), html.into());
                }
            }
        }
    }

    /// Text without control characters, without white space around it, at most so many bytes long.
    fn header_text(&mut self, limit: usize) -> String {
        let words = [
            "Hello",
            "Grüße",
            "你好",
            "😀",
            "Hello,",
            "=?utf-8?B?eA==?=",
            "\"quoted\"",
            "a:b;c",
            "(x)",
            "  ",
            "\u{a0}",
            "e\u{301}",
            "\u{202e}",
            "aVeryLongWordThatIsLongerThanMostButNotAsLongAsALineMayBeWhichIsSaidToBe78Characters",
            "<b@c.d>",
            "%s",
            "\\",
        ];
        let mut text = String::new();
        for _ in 0..self.random.usize(0..12) {
            text.push_str(self.pick(&words));
            text.push(' ');
        }
        let mut end = text.len().min(limit);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].trim().to_owned()
    }

    fn body(&mut self) -> String {
        let long = "x".repeat(2000);
        let wide = "ж".repeat(700);
        let pieces = [
            "Hello",
            "\n",
            "\r\n",
            "\r",
            "\n\n",
            ".",
            "\n.\n",
            "\r\n.\r\n",
            "..",
            "\nFrom here",
            " \n",
            "\t\n",
            "=3D",
            "=",
            "Grüße",
            "你好",
            "😀",
            "\r\n.\r\nMAIL FROM:<eve@example.com>\r\nRCPT TO:<eve@example.com>\r\nDATA\r\n",
            "\0",
            "\u{1b}[0m",
            "\u{2028}",
            "\u{feff}",
            "--boundary\r\n",
            "&amp;<>",
            &long,
            &wide,
        ];
        let mut text = String::new();
        for _ in 0..self.random.usize(0..15) {
            text.push_str(self.pick(&pieces));
        }
        text
    }

    fn headers(&mut self, job: &mut Map<String, Value>, mail: &mut Mail, auto_submitted: &mut String) {
        let url = format!("<https://example.com/unsubscribe?token={}>", "t0ken-".repeat(90));
        let references = "<1.2.3@example.com> <a$b@mail.example> ".repeat(12);
        // What reads as an encoded word already is left to the reader, as it is for programs that make their own.
        let text = self.header_text(400).replace("=?", "").split_whitespace().collect::<Vec<_>>().join(" ");
        let numbers = format!("{{\"list\":[{}]}}", "12345,".repeat(30));
        let all: [(&str, &str); 10] = [
            ("List-Unsubscribe", &url),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("References", references.trim()),
            ("in-reply-to", "<1.2.3@example.com>"),
            ("Precedence", "bulk"),
            ("Feedback-ID", "campaign:customer:mail:sender"),
            ("x-MIXED-case", "A value, with: signs; in \"it\""),
            ("X-Text", &text),
            ("X-JSON", &numbers),
            ("List-Id", "News <news.example.com>"),
        ];
        let mut given = Map::new();
        for (name, value) in all {
            if self.one_in(3) && !value.is_empty() {
                given.insert(name.into(), value.into());
                mail.headers.push((name.into(), value.into()));
            }
        }
        if self.one_in(3) {
            given.insert("auto-submitted".into(), "auto-replied".into());
            *auto_submitted = "auto-replied".into();
        }
        job.insert("headers".into(), Value::Object(given));
    }

    fn attachments(&mut self, job: &mut Map<String, Value>, mail: &mut Mail) {
        let long = format!("{}.pdf", "a long name ".repeat(30));
        let wide = format!("{}.pdf", "длинное имя ".repeat(20));
        let names = [
            ("report.pdf", "report.pdf"),
            ("Prüfung – 你好 😀.pdf", "Prüfung – 你好 😀.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\temp\\bill (1).doc", "bill (1).doc"),
            ("a\";b=c'd%41.txt", "a\";b=c'd%41.txt"),
            ("=?utf-8?B?eA==?=", "=?utf-8?B?eA==?="),
            ("utf-8''%41.txt", "utf-8''%41.txt"),
            (&long, &long),
            (&wide, &wide),
        ];
        let types = [
            (None, "application/octet-stream"),
            (Some("text/csv; charset=utf-8"), "text/csv"),
            (Some("image/png"), "image/png"),
            (Some("application/vnd.example+json"), "application/vnd.example+json"),
            (Some("text/plain"), "text/plain"),
            (Some("text/html; charset=\"iso-8859-1\""), "text/html"),
        ];
        let mut given = Vec::new();
        for index in 0..self.random.usize(0..4) {
            let (name, seen) = names[self.random.usize(..names.len())];
            let (content_type, seen_type) = types[self.random.usize(..types.len())];
            let size =
                if self.one_in(20) { self.random.usize(0..100_000) } else { self.random.usize(0..300) };
            // Of texts mail-parser shows the characters, not the bytes.
            let most = if seen_type.starts_with("text/") { 0x7F } else { 0xFF };
            let content: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..=most)).take(size).collect();
            let content = STANDARD.encode(content);
            let inline = self.one_in(3);
            let mut one = json!({"filename": name, "content": content, "content_type": content_type});
            if inline {
                one["content_id"] = match index {
                    0 => "<logo@example.com>".into(),
                    _ => format!("image-{index}").into(),
                };
            }
            given.push(one);
            mail.attachments.push(Attachment {
                filename: seen.into(),
                content_type: seen_type.into(),
                content,
                content_id: inline
                    .then(|| if index == 0 { "logo@example.com".into() } else { format!("image-{index}") }),
                inline,
            });
        }
        job.insert("attachments".into(), given.into());
    }

    // ---- Bad ones ---------------------------------------------------------------------------------------

    fn bad(&mut self, number: usize) -> Job {
        let to = format!("bad{number}@example.com");
        let control = self.pick(&[
            "\r\nBcc: eve@example.com",
            "\n",
            "\r",
            "\0",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{2029}",
            "\u{1b}",
        ]);
        let with = |more: Value| {
            let mut job = json!({"to": to, "subject": "s", "text": "t"});
            for (name, value) in more.as_object().expect("an object") {
                job[name] = value.clone();
            }
            job.to_string().into_bytes()
        };
        let many: Vec<String> = (0..10_000).map(|n| format!("r{n}@example.com")).collect();
        let cases: Vec<(Vec<u8>, &'static str, &'static str)> = vec![
            (b"".to_vec(), "malformed", "empty"),
            (b"null".to_vec(), "malformed", "must be an object"),
            (b"\xef\xbb\xbf{}".to_vec(), "malformed", "byte order mark"),
            (b"\0\0\0\0\x01abc".to_vec(), "malformed", "registry"),
            (b"{\"to\": \"\xff\"}".to_vec(), "malformed", "not UTF-8"),
            (br#"{"to": "a@b.c", "text": "\ud800"}"#.to_vec(), "malformed", "lone surrogate"),
            ("[".repeat(100_000).into_bytes(), "malformed", "128 levels"),
            (
                format!(r#"{{"to":"{to}","text":"a","text":"b"}}"#).into_bytes(),
                "malformed",
                "text: appears twice",
            ),
            (with(json!({"otp": 493_021})), "malformed", "otp: must be a string"),
            (with(json!({"to": [null]})), "malformed", "to[0]"),
            (with(json!({"variables": []})), "malformed", "variables: must be an object"),
            (with(json!({"attachments": {}})), "malformed", "attachments: must be an array"),
            (
                with(json!({"attachments": [{"filename": 1, "content": ""}]})),
                "malformed",
                "attachments[0].filename",
            ),
            (with(json!({"headers": {"X-A": 1}})), "malformed", "headers"),
            (with(json!({"expires_at": 1_800_000_000})), "malformed", "expires_at: must be a string"),
            (with(json!({"to": []})), "invalid", "to: is empty"),
            (with(json!({"to": null})), "invalid", "to: is missing"),
            (with(json!({"to": "a@b.c, d@e.f"})), "invalid", "to: "),
            (with(json!({"to": many})), "invalid", "100 recipients"),
            (with(json!({"to": {"name": "Ada"}})), "invalid", "to.email: is missing"),
            (
                with(json!({"subject": format!("a{control}b")})),
                "invalid",
                "subject: holds a control character",
            ),
            (
                with(json!({"from": {"email": "a@b.c", "name": format!("a{control}b")}})),
                "invalid",
                "from.name: holds a control",
            ),
            (
                with(json!({"reply_to": format!("a{control}b@c.d")})),
                "invalid",
                "reply_to: holds a control character",
            ),
            (
                with(json!({"headers": {"X-A": format!("a{control}b")}})),
                "invalid",
                "headers.X-A: holds a control character",
            ),
            (
                with(json!({"attachments": [{"filename": format!("a{control}b"), "content": ""}]})),
                "invalid",
                "attachments[0].filename: holds a control",
            ),
            (
                with(
                    json!({"attachments": [{"filename": "a", "content_type": format!("a/b;{control}"), "content": ""}]}),
                ),
                "invalid",
                "attachments[0].content_type: holds a control",
            ),
            (
                with(
                    json!({"attachments": [{"filename": "a", "content_id": format!("a{control}"), "content": ""}]}),
                ),
                "invalid",
                "attachments[0].content_id: holds a control",
            ),
            (with(json!({"subject": "s".repeat(999)})), "invalid", "998 bytes"),
            (with(json!({"headers": {"Subject": "x"}})), "invalid", "headers"),
            (with(json!({"headers": {"Bcc": "eve@example.com"}})), "invalid", "headers"),
            (with(json!({"headers": {"X-A:b": "x"}})), "invalid", "headers"),
            (
                with(json!({"attachments": [{"filename": "a", "content": "aGVsbG8"}]})),
                "invalid",
                "attachments[0].content: not base64",
            ),
            (
                with(json!({"attachments": [{"filename": "a", "content": "aGVs\nbG8="}]})),
                "invalid",
                "attachments[0].content: not base64 (at byte 4)",
            ),
            (
                with(json!({"attachments": [{"filename": "a", "content": ""}, {"content": ""}]})),
                "invalid",
                "attachments[1].filename",
            ),
            (with(json!({"expires_at": "tomorrow"})), "invalid", "expires_at"),
            (with(json!({"id": ""})), "invalid", "id: must have 1 to 256 bytes"),
            (with(json!({"tags": {"a": "x".repeat(65)}})), "invalid", "tags"),
            (with(json!({"template": "greeting", "otp": "1"})), "invalid", "only one of them"),
            (with(json!({"text": null})), "invalid", "nothing to say"),
            (with(json!({"template": "missing", "text": null})), "render", "there is none"),
            (
                with(
                    json!({"template": "greeting", "text": null, "subject": null, "variables": {"name": "x"}}),
                ),
                "render",
                "count",
            ),
            (
                with(
                    json!({"template": "greeting", "subject": null, "variables": {"name": format!("a{control}b"), "count": 1}}),
                ),
                "invalid",
                "subject",
            ),
            (with(json!({"expires_at": "2001-01-01T00:00:00Z"})), "expired", "expires_at"),
            (with(json!({"text": "x".repeat(420_000)})), "too_large", "limits.message_bytes"),
        ];
        let index = self.random.usize(..cases.len());
        let (value, cause, reason) = cases.into_iter().nth(index).expect("within the list");
        Job { value, expected: Expected::DeadLettered { cause, reason } }
    }

    fn truncated(&mut self, number: usize) -> Job {
        let mut value = self.good(number).value;
        value.truncate(self.random.usize(1..value.len()));
        Job { value, expected: Expected::DeadLettered { cause: "malformed", reason: "the value is not" } }
    }

    fn damaged(&mut self, number: usize) -> Job {
        let mut value = self.good(number).value;
        for _ in 0..self.random.usize(1..4) {
            let at = self.random.usize(..value.len());
            value[at] = self.random.u8(..);
        }
        Job { value, expected: Expected::Either }
    }
}
