//! What a relay answers or does, step by step, and what the dead letter then says: stage, cause, attempts
//! (contract, sections 3 and 4). What a relay does to the rate and to the connections is in `relay_limits.rs`.

use serde_json::{Value, json};

use crate::harness::queue::DeadLetter;
use crate::harness::{Kafka, Queue, Settings, TestWorker, process};
use crate::scripted_smtp::{Act, At, Encryption, Log, Script, ScriptedSmtp, say};

/// What the relay does at one step to every e-mail of one sender, and what comes of it.
struct Row {
    at: At,
    acts: Vec<Act>,
    stage: &'static str,
    cause: &'static str,
    /// Attempts spent until it is dead-lettered.
    attempts: usize,
    /// What the reason begins with.
    reason: String,
}

impl Row {
    fn refusal(at: At, reply: &str, cause: &'static str, attempts: usize) -> Row {
        Row { at, acts: vec![say(reply)], stage: stage(at), cause, attempts, reason: reply.into() }
    }

    fn mishap(at: At, acts: Vec<Act>, stage: &'static str, cause: &'static str, reason: &str) -> Row {
        Row { at, acts, stage, cause, attempts: 3, reason: reason.into() }
    }
}

const STEPS: [At; 4] = [At::Mail, At::Rcpt, At::Data, At::Dot];
const RECIPIENTS: [usize; 2] = [1, 3];

fn stage(at: At) -> &'static str {
    match at {
        At::Greeting => "greeting",
        At::Ehlo => "ehlo",
        At::Starttls | At::Handshake => "tls",
        At::Auth | At::AuthAnswer => "auth",
        At::Mail => "mail",
        At::Rcpt => "rcpt",
        At::Data => "data",
        _ => "final-dot",
    }
}

fn sender(row: usize) -> String {
    format!("row{row}@mailroom.example")
}

fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("r{number}@example.com")).collect()
}

/// The job of a row with so many recipients; it is known by its id.
fn job(row: usize, recipients: usize) -> String {
    let id = format!("{row}-{recipients}");
    json!({"id": id, "from": sender(row), "to": addresses(recipients), "text": "Hello"}).to_string()
}

fn settings(queue: &Queue<'_>, relay: &ScriptedSmtp) -> Settings {
    // Row after row fails: that is what the circuit is for, and not what is asked here.
    let settings = Settings::new(queue, relay.port()).set("breaker.failures", "0");
    settings.set("retry.base", "10ms").set("retry.jitter", "0")
}

/// Every row's letter, for one recipient and for several, is as the row says; nobody got an e-mail but the
/// one to whom nothing was done.
fn assert_rows(rows: &[Row], set: impl Fn(Settings) -> Settings) {
    let queue = Queue::new(Kafka::shared(), 1);
    let mut script = Script::new();
    for (number, row) in rows.iter().enumerate() {
        script = script.on(row.at, row.acts.clone()).for_sender(&sender(number));
    }
    let relay = script.start();
    let jobs = (0..rows.len()).flat_map(|number| RECIPIENTS.map(|recipients| job(number, recipients)));
    queue.put(jobs.chain([r#"{"to": "fine@example.com", "text": "Hello"}"#.to_owned()]));
    let worker = TestWorker::start(&set(settings(&queue, &relay)));
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    let letters = queue.dead_letters();
    let log = relay.log();
    assert_eq!(letters.len(), rows.len() * RECIPIENTS.len());
    for (number, row) in rows.iter().enumerate() {
        for recipients in RECIPIENTS {
            let id = format!("{number}-{recipients}");
            let letter = letters.iter().find(|letter| letter.value["idempotency_key"] == id.as_str());
            assert_row(row, recipients, letter.unwrap_or_else(|| panic!("no letter {id}")));
        }
        let mail = format!("MAIL FROM:<{}>", sender(number));
        let offers = log.lines().iter().filter(|line| line.starts_with(&mail)).count();
        let spent = row.attempts * RECIPIENTS.len();
        // Each attempt over a connection that was used before may have one free try.
        assert!((spent..=2 * spent).contains(&offers), "{offers} offers: {:?} {:?}", row.at, row.acts);
    }
    let taken: Vec<_> = log.taken().iter().flat_map(|delivery| delivery.recipients.clone()).collect();
    assert_eq!(taken, ["fine@example.com"]);
    let attempts = |result| metrics.get("mailroom_send_attempts_total", &[("result", result)]) as usize;
    let all = ["temporary", "permanent", "infrastructure", "limited", "ambiguous"].map(attempts);
    let spent: usize = rows.iter().map(|row| row.attempts * RECIPIENTS.len()).sum();
    assert_eq!(all.iter().sum::<usize>(), spent);
    assert_eq!(attempts("limited"), 0);
}

fn assert_row(row: &Row, recipients: usize, letter: &DeadLetter) {
    let what = format!("{:?} {:?} {recipients}: {}", row.at, row.acts, letter.value);
    assert_eq!(letter.text("stage"), row.stage, "{what}");
    assert_eq!(letter.text("cause"), row.cause, "{what}");
    assert_eq!(letter.value["retry_count"], row.attempts, "{what}");
    assert!(letter.text("error_reason").starts_with(&row.reason), "{what}");
    assert_eq!(strings(&letter.value["recipients"]), addresses(recipients), "{what}");
    let attempts = letter.value["attempts"].as_array().expect("an array");
    assert_eq!(attempts.len(), row.attempts, "{what}");
    for (number, attempt) in attempts.iter().enumerate() {
        assert_eq!(attempt["number"], number + 1, "{what}");
        assert_eq!(attempt["stage"], row.stage, "{what}");
        assert_eq!(attempt["error"], letter.value["error_reason"], "{what}");
    }
    let code = row.reason.get(..3).and_then(|code| code.parse::<u16>().ok());
    assert_eq!(letter.value["smtp_code"], json!(code), "{what}");
    let second = row.reason.split(' ').nth(1).filter(|word| code.is_some() && word.contains('.'));
    assert_eq!(letter.value["enhanced_code"], json!(second), "{what}");
}

fn strings(array: &Value) -> Vec<String> {
    let array = array.as_array().expect("an array");
    array.iter().map(|value| value.as_str().expect("a string").to_owned()).collect()
}

// ---- Refusals ---------------------------------------------------------------------------------------------

#[test]
fn a_4xx_about_the_e_mail_is_tried_three_times_and_dead_lettered() {
    let mut rows = Vec::new();
    for at in STEPS {
        for reply in ["450 later", "451 later", "452 full", "452 4.2.2 mailbox full"] {
            let cause = if reply.contains("4.2.2") { "quota" } else { "throttled" };
            rows.push(Row::refusal(at, reply, cause, 3));
        }
    }
    for reply in ["432 slow", "454 slow"] {
        rows.push(Row::refusal(At::Rcpt, reply, "unknown", 3));
    }
    for at in [At::Rcpt, At::Data, At::Dot] {
        rows.push(Row::refusal(at, "451 4.7.1 greylisted", "throttled", 3));
    }
    rows.push(Row::refusal(At::Rcpt, "451 4.3.2 slow", "throttled", 3));
    assert_rows(&rows, |settings| settings);
}

#[test]
fn a_5xx_about_the_e_mail_is_dead_lettered_after_one_attempt() {
    let mut rows = Vec::new();
    for at in STEPS {
        for reply in ["550 no", "551 no", "552 no", "553 no", "554 no"] {
            let cause = match (at, &reply[..3]) {
                (At::Mail, _) => "invalid_sender",
                (_, "552") => "quota",
                (At::Rcpt, "550" | "551" | "553") => "invalid_recipient",
                _ => "unknown",
            };
            rows.push(Row::refusal(at, reply, cause, 1));
        }
        for (reply, cause) in [
            ("550 5.1.1 who?", "invalid_recipient"),
            ("550 5.1.2 where?", "bad_domain"),
            ("550 5.2.1 disabled", "inactive_mailbox"),
            ("552 5.2.2 full", "quota"),
            ("550 5.1.8 you?", "invalid_sender"),
            ("552 5.3.4 too large", "too_large"),
            ("554 5.7.1 spam", "policy"),
            ("501 5.5.4 syntax", "protocol"),
        ] {
            rows.push(Row::refusal(at, reply, cause, 1));
        }
    }
    assert_rows(&rows, |settings| settings);
}

#[test]
fn a_relay_that_wants_a_login_after_all_is_not_the_e_mails_fault() {
    let mut rows = Vec::new();
    for at in STEPS {
        for reply in ["530 5.7.0 log in", "534 5.7.9 log in", "535 log in", "538 log in"] {
            rows.push(Row::refusal(at, reply, "smtp_auth", 3));
        }
    }
    assert_rows(&rows, |settings| settings);
}

#[test]
fn of_several_recipients_the_first_is_delivered_once_and_only_the_second_is_tried_again() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new()
        .on(At::Rcpt, vec![say("550 5.1.1 no such user")])
        .for_recipient("never@example.com")
        .on(At::Rcpt, vec![say("451 4.2.0 later")])
        .for_recipient("later@example.com")
        .on(At::Rcpt, vec![say("451 4.2.0 later")])
        .for_recipient("once@example.com")
        .times(1)
        .start();
    let second = ["never@example.com", "later@example.com", "once@example.com"];
    queue.put(second.map(|second| {
        let first = second.replace('@', "-first@");
        json!({"id": second, "to": [first, second], "text": "Hello"}).to_string()
    }));
    let worker = TestWorker::start(&settings(&queue, &relay));
    queue.wait_until_settled();
    worker.stop();
    let mut reached: Vec<_> = relay.log().taken().iter().flat_map(|mail| mail.recipients.clone()).collect();
    reached.sort();
    let expected =
        ["later-first@example.com", "never-first@example.com", "once-first@example.com", "once@example.com"];
    assert_eq!(reached, expected);
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), 2);
    for (id, cause, attempts) in
        [("never@example.com", "invalid_recipient", 1), ("later@example.com", "throttled", 3)]
    {
        let letter = letters.iter().find(|letter| letter.value["idempotency_key"] == id).expect("a letter");
        assert_eq!(letter.text("cause"), cause, "{}", letter.value);
        assert_eq!(letter.text("stage"), "rcpt", "{}", letter.value);
        assert_eq!(letter.value["retry_count"], attempts, "{}", letter.value);
        assert_eq!(strings(&letter.value["recipients"]), [id], "{}", letter.value);
    }
}

// ---- Mishaps ----------------------------------------------------------------------------------------------

#[test]
fn a_lost_connection_or_a_senseless_answer_is_the_relays_before_the_dot_and_ambiguous_after_it() {
    let mut rows = Vec::new();
    for at in STEPS {
        for (acts, cause) in [
            (vec![Act::Close], "smtp_unreachable"),
            (vec![Act::Reset], "smtp_unreachable"),
            (vec![say("250-half a reply"), Act::Close], "smtp_unreachable"),
            (vec![say("what?")], "protocol"),
            (vec![say("220 what?")], "protocol"),
            (vec![Act::Say(b"\xff\xfe\x00\r\n".to_vec())], "protocol"),
            (vec![Act::Repeat(b"250-and so on\r\n".to_vec())], "protocol"),
            (vec![Act::Repeat(b"250 a".to_vec())], "protocol"),
        ] {
            let half = matches!(&acts[0], Act::Say(bytes) if bytes.starts_with(b"250-"));
            if at == At::Dot && half {
                // The scripted server takes this for its own 250, and so would count the e-mail as taken.
                continue;
            }
            let cause = if at == At::Dot { "ambiguous" } else { cause };
            rows.push(Row::mishap(at, acts, stage(at), cause, ""));
        }
        if at != At::Data {
            let cause = if at == At::Dot { "ambiguous" } else { "protocol" };
            rows.push(Row::mishap(at, vec![say("354 go")], stage(at), cause, ""));
        }
    }
    // A reply too many shifts all that follow: the 354 is missed, and nothing is taken for granted.
    for at in [At::Mail, At::Rcpt] {
        rows.push(Row::mishap(at, vec![Act::GoOn, say("250 stray")], "data", "protocol", ""));
    }
    assert_rows(&rows, |settings| settings);
}

#[test]
fn silence_is_a_time_out_that_names_its_stage() {
    let reason = |stage: &str| format!("Connection timed out (stage {stage})");
    let mut rows: Vec<_> = [At::Mail, At::Rcpt, At::Data]
        .map(|at| Row::mishap(at, vec![Act::Silence], stage(at), "smtp_unreachable", &reason(stage(at))))
        .into();
    for at in [At::Text, At::Dot] {
        rows.push(Row::mishap(at, vec![Act::Silence], "final-dot", "ambiguous", &reason("final-dot")));
    }
    assert_rows(&rows, |settings| {
        // Long enough for the steps that do get their answer.
        let settings = settings.set("smtp.timeouts.command", "2s").set("smtp.timeouts.data", "2s");
        settings.set("smtp.timeouts.final_dot", "500ms").set("mailers.size", "16")
    });
}

#[test]
fn a_250_with_odd_bytes_without_text_or_on_several_lines_delivers() {
    let queue = Queue::new(Kafka::shared(), 1);
    let odd = [b"250 \xff\xfe\x80\r\n".as_slice(), b"250\r\n", b"250-a\r\n250-b\r\n250 c\r\n"];
    let mut script = Script::new();
    let mut jobs = Vec::new();
    for bytes in odd {
        for at in [At::Mail, At::Rcpt, At::Dot] {
            script = script.on(at, vec![Act::Say(bytes.to_vec())]).for_sender(&sender(jobs.len() / 2));
            jobs.extend(RECIPIENTS.map(|recipients| job(jobs.len() / 2, recipients)));
        }
    }
    let relay = script.start();
    queue.put(jobs.clone());
    let worker = TestWorker::start(&settings(&queue, &relay));
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    assert_eq!(relay.log().deliveries.len(), jobs.len());
    assert_eq!(metrics.get("mailroom_send_attempts_total", &[("result", "ok")]), jobs.len() as f64);
    assert!(queue.dead_letters().is_empty());
}

#[test]
fn what_the_relay_does_not_offer_is_found_before_an_attempt() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = Script::new().keywords(&["PIPELINING", "SIZE 3000"]).start();
    let large = "a line of text\n".repeat(300);
    queue.put([
        json!({"id": "large-1", "to": "a@example.com", "text": large}).to_string(),
        json!({"id": "large-2", "to": ["a@example.com", "b@example.com"], "text": large}).to_string(),
        json!({"id": "to", "to": "grün@example.com", "text": "Hello"}).to_string(),
        json!({"id": "cc", "to": "a@example.com", "cc": "grün@example.com", "text": "Hello"}).to_string(),
        json!({"id": "bcc", "to": "b@example.com", "bcc": "grün@example.com", "text": "Hello"}).to_string(),
        json!({"id": "from", "from": "grün@mailroom.example", "to": "a@example.com", "text": "Hello"})
            .to_string(),
    ]);
    let worker = TestWorker::start(&settings(&queue, &relay));
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    let letters = queue.dead_letters();
    let rows: [(&str, &str, &[&str]); 6] = [
        ("large-1", "too_large", &["a@example.com"]),
        ("large-2", "too_large", &["a@example.com", "b@example.com"]),
        ("to", "invalid_recipient", &["grün@example.com"]),
        ("cc", "invalid_recipient", &["a@example.com", "grün@example.com"]),
        ("bcc", "invalid_recipient", &["grün@example.com"]),
        ("from", "invalid_sender", &["a@example.com"]),
    ];
    assert_eq!(letters.len(), rows.len());
    for (id, cause, missed) in rows {
        let letter = letters.iter().find(|letter| letter.value["idempotency_key"] == id).expect("a letter");
        assert_eq!(letter.text("cause"), cause, "{}", letter.value);
        assert_eq!(letter.text("stage"), "render", "{}", letter.value);
        assert_eq!(letter.value["smtp_code"], json!(null), "{}", letter.value);
        assert_eq!(strings(&letter.value["recipients"]), missed, "{}", letter.value);
        // The one whose `bcc` alone fails has had its attempt, which delivered to the other.
        if id != "bcc" {
            assert_eq!(letter.value["retry_count"], 0, "{}", letter.value);
            assert_eq!(letter.value["attempts"], json!([]), "{}", letter.value);
        }
    }
    let taken: Vec<_> = relay.log().taken().iter().flat_map(|mail| mail.recipients.clone()).collect();
    assert_eq!(taken, ["b@example.com"]);
    assert_eq!(metrics.sum("mailroom_send_attempts_total"), 1.0);
}

// ---- No connection ----------------------------------------------------------------------------------------

/// What the relay does to one connection, and how the attempt's error begins.
type Refusal = (At, Vec<Act>, &'static str);

/// Each attempt of one job meets the next of these; returns its letter.
fn meet(refusals: &[Refusal], recipients: usize) -> (DeadLetter, Log) {
    let queue = Queue::new(Kafka::shared(), 1);
    let mut script = Script::new().encryption(Encryption::Starttls);
    for (number, (at, acts, _)) in refusals.iter().enumerate() {
        script = script.on(*at, acts.clone()).on_connection(number + 1);
    }
    let relay = script.start();
    let settings = logging_in(settings(&queue, &relay), &relay)
        .set("mailers.size", "1")
        .set("retry.max_attempts", refusals.len())
        .set("retry.max_delay", "20ms")
        .set("smtp.timeouts.greeting", "500ms")
        .set("smtp.timeouts.command", "2s");
    queue.put([job(0, recipients)]);
    let worker = TestWorker::start(&settings);
    queue.wait_until_settled();
    let metrics = worker.metrics();
    worker.stop();
    let failures = metrics.get("mailroom_send_attempts_total", &[("result", "infrastructure")]);
    assert_eq!(failures, refusals.len() as f64);
    let mut letters = queue.dead_letters();
    assert_eq!(letters.len(), 1);
    (letters.remove(0), relay.log())
}

fn logging_in(settings: Settings, relay: &ScriptedSmtp) -> Settings {
    let ca_file = process::scratch("ca").join("ca.pem");
    std::fs::write(&ca_file, relay.certificate_pem()).expect("scratch is writable");
    settings
        .set("smtp.security", "starttls")
        .set("smtp.ca_file", ca_file.display())
        .set("smtp.username", "ada")
        .set("smtp.password", "secret")
}

fn assert_met(refusals: &[Refusal], cause: &str) {
    for recipients in RECIPIENTS {
        let (letter, log) = meet(refusals, recipients);
        assert_eq!(letter.text("cause"), cause, "{}", letter.value);
        assert_eq!(letter.value["retry_count"], refusals.len(), "{}", letter.value);
        assert_eq!(strings(&letter.value["recipients"]), addresses(recipients), "{}", letter.value);
        let attempts = letter.value["attempts"].as_array().expect("an array");
        assert_eq!(attempts.len(), refusals.len(), "{}", letter.value);
        for (attempt, (at, acts, error)) in attempts.iter().zip(refusals) {
            assert_eq!(attempt["stage"], stage(*at), "{acts:?}: {attempt}");
            let found = attempt["error"].as_str().expect("a string");
            assert!(found.starts_with(error), "{acts:?}: {attempt}");
        }
        for command in log.commands.iter().filter(|command| !command.encrypted) {
            let is_harmless = command.line.starts_with("EHLO ") || command.line == "STARTTLS";
            assert!(is_harmless, "in plain text: {}", command.line);
        }
        assert!(log.deliveries.is_empty());
    }
}

#[test]
fn a_relay_that_lets_nobody_in_is_unreachable_whatever_its_code() {
    let drip = Act::Drip(b"220-".repeat(1000), std::time::Duration::from_millis(10));
    assert_met(
        &[
            (At::Greeting, vec![say("421 4.3.2 busy"), Act::Close], "421 4.3.2 busy"),
            (At::Greeting, vec![say("450 later")], "450 later"),
            (At::Greeting, vec![say("554 5.7.1 go away")], "554 5.7.1 go away"),
            (At::Greeting, vec![Act::Close], "Connection closed"),
            (At::Greeting, vec![Act::Silence], "Connection timed out (stage greeting)"),
            (At::Greeting, vec![drip], "Connection timed out (stage greeting)"),
            (At::Greeting, vec![say("HTTP/1.1 400 Bad Request")], "not an SMTP reply"),
            (At::Greeting, vec![say("354 go")], "an answer that may not stand here"),
            (At::Greeting, vec![Act::Repeat(b"220-and so on\r\n".to_vec())], "a reply of more than"),
            (At::Ehlo, vec![say("421 4.3.2 busy"), Act::Close], "421 4.3.2 busy"),
            (At::Ehlo, vec![say("502 5.5.1 what?")], "502 5.5.1 what?"),
            (At::Ehlo, vec![say("550 5.7.30 no")], "550 5.7.30 no"),
            (At::Ehlo, vec![Act::Close], "Connection closed"),
            (At::Ehlo, vec![Act::Silence], "Connection timed out (stage ehlo)"),
            (At::Ehlo, vec![say("what?")], "not an SMTP reply"),
            (At::Starttls, vec![say("454 4.7.0 later")], "454 4.7.0 later"),
            (At::Starttls, vec![say("502 no")], "502 no"),
            (At::Starttls, vec![Act::Close], "Connection closed"),
            (At::Starttls, vec![Act::Say(b"220 go\r\n250 AUTH PLAIN\r\n".to_vec())], "plain text behind"),
            (At::Handshake, vec![say("no TLS here")], ""),
            (At::Handshake, vec![Act::Close], ""),
        ],
        "smtp_unreachable",
    );
}

#[test]
fn any_refusal_of_the_login_is_smtp_auth_whatever_its_code() {
    assert_met(
        &[
            (At::Auth, vec![Act::Close], "Connection closed"),
            (At::Auth, vec![say("what?")], "not an SMTP reply"),
            (At::Auth, vec![say("421 4.7.0 bye"), Act::Close], "421 4.7.0 bye"),
            (
                At::Auth,
                vec![say("451 Authentication failed: Maximum credits exceeded")],
                "451 Authentication",
            ),
            (At::Auth, vec![say("454 4.7.0 later")], "454 4.7.0 later"),
            (At::Auth, vec![say("535 5.7.8 wrong")], "535 5.7.8 wrong"),
            (At::Auth, vec![say("550 5.7.30 no")], "550 5.7.30 no"),
        ],
        "smtp_auth",
    );
}

#[test]
fn a_relay_that_can_not_be_reached_or_trusted_costs_three_attempts_and_says_why() {
    let expired = Script::new().encryption(Encryption::Starttls).expired_certificate().start();
    let other_name =
        Script::new().encryption(Encryption::Starttls).certificate_for(&["other.example"]).start();
    let plain = Script::new().start();
    let without_auth = Script::new().encryption(Encryption::Starttls).keywords(&["PIPELINING"]).start();
    let rows: [(&str, &ScriptedSmtp, &str, &str, &str, &str); 6] = [
        ("127.0.0.1", &expired, "", "tls", "smtp_unreachable", "TLS failed: "),
        ("127.0.0.1", &other_name, "", "tls", "smtp_unreachable", "TLS failed: "),
        ("127.0.0.1", &plain, "", "tls", "smtp_unreachable", "the relay does not offer STARTTLS"),
        ("127.0.0.1", &without_auth, "", "auth", "smtp_auth", ""),
        ("127.0.0.1", &plain, "closed", "connect", "smtp_unreachable", "Connection refused"),
        ("no-such-host.invalid", &plain, "", "connect", "smtp_unreachable", "the name no-such-host.invalid"),
    ];
    for (host, relay, port, stage, cause, reason) in rows {
        let queue = Queue::new(Kafka::shared(), 1);
        let mut settings = logging_in(settings(&queue, relay), relay).set("smtp.host", host);
        if port == "closed" {
            settings = settings.set("smtp.port", process::free_port());
        }
        queue.put(RECIPIENTS.map(|recipients| job(0, recipients)));
        let worker = TestWorker::start(&settings);
        queue.wait_until_settled();
        worker.stop();
        let letters = queue.dead_letters();
        assert_eq!(letters.len(), 2, "{reason}");
        for letter in letters {
            let what = &letter.value;
            assert_eq!((letter.text("stage"), letter.text("cause")), (stage, cause), "{what}");
            assert_eq!(letter.value["retry_count"], 3, "{what}");
            assert!(letter.text("error_reason").starts_with(reason), "{what}");
            assert_eq!(letter.value["attempts"].as_array().map(Vec::len), Some(3), "{what}");
        }
        let log = relay.log();
        assert!(log.lines().iter().all(|line| !line.starts_with("MAIL")), "{reason}");
        assert!(log.commands.iter().all(|command| command.encrypted || !command.line.starts_with("AUTH")));
    }
}
