//! Any job that is an e-mail, over all fields and both body types, comes out as it went in and fit for the wire.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail_parser::MessagePart;
use proptest::prelude::*;

use super::*;

/// One field of a mailbox: a name, perhaps, and an address as the e-mail is to have it.
type Named = (Option<String>, String);

#[derive(Clone, Debug)]
struct File {
    filename: String,
    content_type: Option<&'static str>,
    content: Vec<u8>,
    content_id: Option<String>,
}

#[derive(Clone, Debug)]
struct Form {
    to: Vec<Named>,
    cc: Vec<Named>,
    bcc: Vec<String>,
    from: Option<Named>,
    reply_to: Option<Named>,
    subject: Option<String>,
    text: Option<String>,
    html: Option<String>,
    files: Vec<File>,
    free: Vec<String>,
    unsubscribe: Option<Vec<String>>,
}

impl Form {
    fn json(&self) -> serde_json::Value {
        let given = |(name, email): &Named| json!({"name": name, "email": email});
        let all = |list: &[Named]| list.iter().map(given).collect::<Vec<_>>();
        let file = |file: &File| {
            json!({
                "filename": file.filename, "content_type": file.content_type, "content_id": file.content_id,
                "content": STANDARD.encode(&file.content),
            })
        };
        let free = self.free.iter().enumerate().map(|(n, value)| (format!("X-Free-{n}"), value.clone()));
        let list = self.unsubscribe.iter().map(|words| ("List-Unsubscribe".to_owned(), words.join(" ")));
        json!({
            "to": all(&self.to), "cc": all(&self.cc), "bcc": self.bcc, "from": self.from.as_ref().map(given),
            "reply_to": self.reply_to.as_ref().map(given), "subject": self.subject, "text": self.text,
            "html": self.html, "attachments": self.files.iter().map(file).collect::<Vec<_>>(),
            "headers": free.chain(list).collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    /// Inline ones stand first, nearer to the HTML.
    fn files_in_order(&self) -> Vec<&File> {
        let (inline, others): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|file| file.content_id.is_some());
        [inline, others].concat()
    }
}

fn a_name() -> impl Strategy<Value = String> {
    // Inner white space as given; none around it, which is not part of a name.
    "[!-~é\u{3a9}\u{1f600}]([ -~é\u{3a9}\u{1f600}]{0,90}[!-~é\u{1f600}])?"
}

fn an_address() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[A-Z0-9]{1,5}){0,3}@[a-z]{1,20}(\\.[a-z0-9]{1,20}){0,3}",
        1 => "[a-zé\u{3a9}\u{1f600}]{1,10}@[a-z]{1,20}",
    ]
}

fn a_mailbox() -> impl Strategy<Value = Named> {
    (prop::option::of(a_name()), an_address())
}

/// Lines long and short, of all that makes trouble in a body.
fn a_body() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => "[ -~\t\u{0}\u{1b}\u{7f}é\u{3a9}\u{2028}\u{85}.=<>&]{0,90}",
        2 => "[ -~é]{0,60}",
        1 => prop::sample::select(vec![".", "..", "From x", "--", "--=_0", ". ", "=", "\u{feff}", "MAIL FROM:<x@y.z>"])
            .prop_map(str::to_owned),
        1 => ("[aé\u{1f600}. ]", 100..3000_usize).prop_map(|(letter, count)| letter.repeat(count)),
    ];
    let end = prop::sample::select(vec!["\n", "\r\n", "\r", "\n\n"]);
    (prop::collection::vec((line, end), 0..6), any::<bool>()).prop_map(|(lines, is_ended)| {
        let mut text: String = lines.iter().flat_map(|(line, end)| [line.as_str(), end]).collect();
        if !is_ended {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        text
    })
}

fn a_file() -> impl Strategy<Value = File> {
    let filename = prop_oneof![
        3 => "[a-z]{1,8}\\.[a-z]{3}",
        3 => "[ -.0-\\[\\]-~éß\u{3a9}\u{1f600}]{1,200}",
        1 => "[!-.0-\\[\\]-~]{60,300}",
        1 => ("[\u{65e5}\u{672c}]", 50..300_usize).prop_map(|(letter, count)| letter.repeat(count)),
    ];
    let filename = filename.prop_filter("names a file", |name| !["", ".", ".."].contains(&name.trim()));
    let content_type = prop::sample::select(vec![
        None,
        Some("image/png"),
        Some("application/pdf; x=\"a;b\"; y=z"),
        Some("message/rfc822"),
    ]);
    let content = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..400),
        1 => (any::<u8>(), 1..200_000_usize).prop_map(|(byte, count)| vec![byte; count]),
    ];
    (filename, content_type, content, any::<bool>()).prop_map(
        |(filename, content_type, content, is_inline)| File {
            filename,
            content_type,
            content,
            content_id: is_inline.then(String::new),
        },
    )
}

fn a_form() -> impl Strategy<Value = Form> {
    let people = (
        prop::collection::vec(a_mailbox(), 1..8),
        prop::collection::vec(a_mailbox(), 0..3),
        prop::collection::vec(an_address(), 0..3),
        prop::option::of(a_mailbox()),
        prop::option::of(a_mailbox()),
    );
    let texts = (
        prop::option::of("[ -~é\u{3a9}\u{1f600}]{1,200}"),
        prop::option::of(a_body()),
        prop::option::of(a_body()),
    );
    let ids = prop::collection::vec("[!-;=?-~]{1,100}", 6);
    // What would be read as an encoded word is left as it is, and so reads otherwise.
    let free = prop_oneof![
        "[ -<>-~]{0,300}",
        "[ -<>-~é\u{3a9}\u{1f600}]{0,300}",
        (1..3000_usize).prop_map(|count| "x".repeat(count)),
    ];
    let list = prop::option::of(prop::collection::vec("<https://[!-;=?-~]{1,900}>,?", 1..4));
    (people, texts, prop::collection::vec(a_file(), 0..5), ids, prop::collection::vec(free, 0..4), list)
        .prop_map(
            |((to, cc, bcc, from, reply_to), (subject, text, html), mut files, ids, free, unsubscribe)| {
                for (n, file) in files.iter_mut().enumerate() {
                    file.content_id = file.content_id.is_some().then(|| format!("{n}{}", ids[n]));
                }
                let text = if html.is_none() { text.or(Some("x".into())) } else { text };
                Form { to, cc, bcc, from, reply_to, subject, text, html, files, free, unsubscribe }
            },
        )
}

fn unfolded(email: &Email, name: &str) -> String {
    let message = parsed(email);
    let raw = message.header_raw(name).unwrap();
    raw.replace("\r\n", "").trim_matches(' ').to_owned()
}

fn assert_text(found: Option<String>, given: Option<&str>, is_alone: bool) {
    let Some(given) = given else { return assert_eq!(found, None) };
    let canonical = given.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
    let found = found.expect("the text is there");
    assert!(found == canonical || is_alone && found == format!("{canonical}\r\n"), "{found:?} {canonical:?}");
}

fn assert_files(message: &Message<'_>, form: &Form) {
    let is_file = |part: &&MessagePart<'_>| part.content_disposition().is_some();
    let found: Vec<_> = message.parts.iter().filter(is_file).collect();
    let given = form.files_in_order();
    assert_eq!(found.len(), given.len());
    for (found, given) in found.iter().zip(given) {
        assert_eq!(found.attachment_name(), Some(&*given.filename));
        assert_eq!(found.contents(), given.content);
        assert_eq!(found.content_id(), given.content_id.as_deref());
        assert_eq!(found.content_disposition().unwrap().is_inline(), given.content_id.is_some());
        let of = found.content_type().unwrap();
        let essence = format!("{}/{}", of.ctype(), of.subtype().unwrap());
        match given.content_type {
            Some("image/png") => assert_eq!(essence, "image/png"),
            Some(with) if with.starts_with("application/pdf") => {
                assert_eq!(
                    (&*essence, of.attribute("x"), of.attribute("y")),
                    ("application/pdf", Some("a;b"), Some("z"))
                );
            }
            _ => assert_eq!(essence, "application/octet-stream"),
        }
    }
}

fn assert_as_it_went_in(form: &Form, email: &Email) {
    let message = parsed(email);
    let mut seen: Vec<String> = Vec::new();
    let mut once = |list: &[Named]| {
        let mut kept = list.to_vec();
        kept.retain(|(_, address)| {
            !seen.contains(address) && {
                seen.push(address.clone());
                true
            }
        });
        kept
    };
    let (to, cc) = (once(&form.to), once(&form.cc));
    once(&form.bcc.iter().map(|address| (None, address.clone())).collect::<Vec<_>>());
    assert_eq!(mailboxes(message.to()), to);
    assert_eq!(mailboxes(message.cc()), cc);
    assert_eq!(email.recipients, seen);
    assert_eq!(mailboxes(message.reply_to()), form.reply_to.iter().cloned().collect::<Vec<_>>());
    let default = (Some("The Shop".to_owned()), "noreply@shop.example".to_owned());
    let from = form.from.clone().unwrap_or(default);
    assert_eq!(email.sender, from.1);
    assert_eq!(mailboxes(message.from()), [from]);
    assert_eq!(message.subject().map(str::to_owned), form.subject);
    let is_alone = form.files.is_empty() && (form.text.is_none() || form.html.is_none());
    assert_text(content(&message, "plain"), form.text.as_deref(), is_alone);
    assert_text(content(&message, "html"), form.html.as_deref(), is_alone);
    assert_files(&message, form);
    for (n, value) in form.free.iter().enumerate() {
        let (name, value) = (format!("X-Free-{n}"), value.trim_matches(' '));
        if value.is_ascii() && value.len() < 900 {
            assert_eq!(unfolded(email, &name), value);
        } else {
            let parser = MessageParser::default().header_text(name.clone());
            let message = parser.parse(&email.data).unwrap();
            assert_eq!(message.header(name).unwrap().as_text(), Some(value));
        }
    }
    if let Some(words) = &form.unsubscribe {
        assert_eq!(unfolded(email, "List-Unsubscribe"), words.join(" "));
        for word in words {
            assert!(memchr::memmem::find(&email.data, word.as_bytes()).is_some(), "not broken: {word}");
        }
    }
}

proptest! {
    #[test]
    fn any_job_comes_out_as_it_went_in(form in a_form()) {
        let job = form.json();
        let seven = compose_for(&job, BodyType::SevenBit);
        let eight = compose_for(&job, BodyType::EightBitMime);
        prop_assert_eq!(eight.body_type == BodyType::EightBitMime, eight.depends_on_body_type);
        prop_assert_eq!(seven.depends_on_body_type, eight.depends_on_body_type);
        for email in [&seven, &eight] {
            assert_as_it_went_in(&form, email);
        }
    }

    #[test]
    fn any_job_with_something_broken_in_it_is_an_e_mail_fit_for_the_wire_or_a_failure(
        form in a_form(),
        at in any::<prop::sample::Index>(),
        cut in 0..40_usize,
        instead in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..6),
            "[\"\\\\{}\\[\\]:,0-9=<>@/ \n\u{2028}é]{0,4}".prop_map(String::into_bytes),
            "\\\\u(00[0-9a-f]{2}|2028|d83d)".prop_map(String::into_bytes),
        ],
    ) {
        let mut bytes = form.json().to_string().into_bytes();
        let from = at.index(bytes.len());
        let to = bytes.len().min(from + cut);
        bytes.splice(from..to, instead);
        let record = record(bytes);
        let composer = composer();
        composer.expiry(&record, Utc::now());
        composer.tags(&record);
        for body_type in [BodyType::SevenBit, BodyType::EightBitMime] {
            match composer.compose(&record, body_type) {
                Ok(email) => assert_fit_for_the_wire(&email),
                Err(failure) => {
                    prop_assert!(!failure.spends_attempt);
                    prop_assert!(matches!(failure.cause, Cause::Malformed | Cause::Invalid), "{}", failure.reason);
                }
            }
        }
    }
}
