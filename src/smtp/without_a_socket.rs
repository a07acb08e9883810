//! The two conversations against a relay made of byte strings: every step and everything that may go wrong.

use mailroom_actors::domain::failure::{Cause, Class, Failure, Stage};
use mailroom_actors::ports::{BodyType, Email, Outcome};
use proptest::prelude::*;

use super::ehlo::Extensions;
use super::login::{Goal, Login};
use super::sasl::Sasl;
use super::session::{Conversation, Want, Wire};
use super::transaction::{Ending, Transaction};
use crate::config::AuthMechanism;

const PIECE_BYTES: usize = 64;

/// What the relay does each time it is waited for.
#[derive(Clone, Debug)]
enum Turn {
    /// Says this, in these pieces.
    Says(Vec<Vec<u8>>),
    Closes,
    IsSilent,
    /// Says this again and again.
    Repeats(&'static [u8]),
}

fn says(text: &str) -> Turn {
    Turn::Says(vec![text.as_bytes().to_vec()])
}

/// A connection made of byte strings.
struct Play {
    turns: std::vec::IntoIter<Turn>,
    /// What is still to come of the turn that has begun.
    pieces: std::vec::IntoIter<Vec<u8>>,
    repeats: Option<&'static [u8]>,
    gate_is_open: bool,
    gate_asked: u32,
    /// How many more bytes the connection takes, and what happens then.
    takes: Option<(usize, Turn)>,
    heard: Vec<u8>,
    said: Vec<u8>,
}

impl Play {
    fn new(turns: Vec<Turn>) -> Play {
        Play {
            turns: turns.into_iter(),
            pieces: Vec::new().into_iter(),
            repeats: None,
            gate_is_open: true,
            gate_asked: 0,
            takes: None,
            heard: Vec::new(),
            said: Vec::new(),
        }
    }

    /// Runs until the conversation is over or wants TLS.
    fn run(&mut self, conversation: &mut impl Conversation) -> Want {
        loop {
            let want = conversation.want();
            if let Some(piece) = self.pieces.next() {
                self.hear(conversation, &piece);
                continue;
            }
            match want {
                Want::Nothing | Want::StartTls => return want,
                Want::AskGate => {
                    self.gate_asked += 1;
                    conversation.gate_answered(self.gate_is_open);
                }
                Want::Write => self.write(conversation),
                Want::Read => match self.repeats {
                    Some(bytes) => self.hear(conversation, bytes),
                    None => {
                        let turn = self.turns.next().unwrap_or(Turn::IsSilent);
                        self.take(conversation, turn);
                    }
                },
            }
        }
    }

    fn take(&mut self, conversation: &mut impl Conversation, turn: Turn) {
        match turn {
            Turn::Says(pieces) => self.pieces = pieces.into_iter(),
            Turn::Closes => conversation.wire().ended("Connection closed by the relay"),
            Turn::IsSilent => conversation.expired(),
            Turn::Repeats(bytes) => self.repeats = Some(bytes),
        }
    }

    fn hear(&mut self, conversation: &mut impl Conversation, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        conversation.wire().received(bytes);
    }

    fn write(&mut self, conversation: &mut impl Conversation) {
        let pending = conversation.wire().pending();
        let count = match &mut self.takes {
            None => pending.len(),
            Some((0, turn)) => {
                let turn = turn.clone();
                return self.take(conversation, turn);
            }
            Some((left, _)) => {
                let count = pending.len().min(*left);
                *left -= count;
                count
            }
        };
        self.said.extend_from_slice(&pending[..count]);
        conversation.wire().wrote(count);
        conversation.wire().flushed();
    }
}

// ---- The login --------------------------------------------------------------------------------------------

const GREETING: &str = "220 relay.example ready\r\n";
const EHLO: &str = "250-relay.example\r\n250-STARTTLS\r\n250-PIPELINING\r\n250 AUTH PLAIN LOGIN XOAUTH2\r\n";

fn goal(mechanism: AuthMechanism) -> Goal {
    Goal {
        helo_name: "worker.example".into(),
        starttls: true,
        encrypted: false,
        sasl: Some(Sasl::new("ada".into(), "secret".into(), mechanism)),
        allow_plaintext_auth: false,
    }
}

fn log_in(goal: Goal, turns: Vec<Turn>) -> (Result<Extensions, Failure>, String) {
    let mut wire = Wire::default();
    let mut login = Login::new(&mut wire, goal);
    let mut play = Play::new(turns);
    while play.run(&mut login) == Want::StartTls {
        play.said.extend_from_slice(b"<TLS>\r\n");
        login.encrypted();
    }
    (login.result(), String::from_utf8(play.said).expect("plain text"))
}

#[test]
fn each_mechanism_logs_in_behind_starttls() {
    let table: [(AuthMechanism, &[&str], &str); 3] = [
        (AuthMechanism::Auto, &["235 ok\r\n"], "AUTH PLAIN AGFkYQBzZWNyZXQ=\r\n"),
        (
            AuthMechanism::Login,
            &["334 VXNlcm5hbWU6\r\n", "334\r\n", "235 2.7.0 ok\r\n"],
            "AUTH LOGIN\r\nYWRh\r\nc2VjcmV0\r\n",
        ),
        (
            AuthMechanism::Xoauth2,
            &["235 ok\r\n"],
            "AUTH XOAUTH2 dXNlcj1hZGEBYXV0aD1CZWFyZXIgc2VjcmV0AQE=\r\n",
        ),
    ];
    for (mechanism, replies, auth) in table {
        let mut turns = vec![says(GREETING), says(EHLO), says("220 go\r\n"), says(EHLO)];
        turns.extend(replies.iter().map(|reply| says(reply)));
        let (result, said) = log_in(goal(mechanism), turns);
        assert!(result.expect("logged in").pipelining);
        let hello = "EHLO worker.example\r\n";
        assert_eq!(said, format!("{hello}STARTTLS\r\n<TLS>\r\n{hello}{auth}"));
    }
}

#[test]
fn a_refused_token_is_answered_by_an_empty_line_and_the_refusal_read() {
    let turns = [GREETING, EHLO, "220 go\r\n", EHLO, "334 eyJzdGF0dXMiOiI0MDEifQ==\r\n", "535 5.7.8 bad\r\n"];
    let (result, said) = log_in(goal(AuthMechanism::Xoauth2), turns.map(says).to_vec());
    let failure = result.expect_err("refused");
    assert_eq!((failure.cause, failure.reason.as_str()), (Cause::SmtpAuth, "535 5.7.8 bad"));
    assert!(said.ends_with("AQE=\r\n\r\n"), "{said:?}");
}

#[test]
fn only_the_last_ehlo_counts() {
    let turns = [GREETING, EHLO, "220 go\r\n", "250-relay.example\r\n250 AUTH PLAIN\r\n", "235 ok\r\n"];
    let (result, _) = log_in(goal(AuthMechanism::Auto), turns.map(says).to_vec());
    let extensions = result.expect("logged in");
    assert!(!extensions.pipelining && !extensions.starttls);
}

#[test]
fn nothing_is_sent_in_plain_text_that_should_be_encrypted() {
    let no_tls = "250-relay.example\r\n250 AUTH PLAIN\r\n";
    let plain =
        |allowed| Goal { starttls: false, allow_plaintext_auth: allowed, ..goal(AuthMechanism::Auto) };
    let (result, said) = log_in(goal(AuthMechanism::Auto), vec![says(GREETING), says(no_tls)]);
    let failure = result.expect_err("no STARTTLS");
    assert_eq!((failure.stage, failure.class), (Stage::Tls, Class::Infrastructure));
    assert_eq!(said, "EHLO worker.example\r\n");

    let (result, said) = log_in(plain(false), vec![says(GREETING), says(no_tls)]);
    let failure = result.expect_err("no TLS");
    assert_eq!((failure.stage, failure.cause), (Stage::Auth, Cause::SmtpAuth));
    assert_eq!(said, "EHLO worker.example\r\n");

    let (result, said) = log_in(plain(true), vec![says(GREETING), says(no_tls), says("235 ok\r\n")]);
    assert!(result.is_ok() && said.contains("AUTH PLAIN"));
}

#[test]
fn a_relay_without_auth_or_without_the_mechanism_is_an_smtp_auth_failure() {
    for last in ["250 relay.example\r\n", "250-relay.example\r\n250 AUTH CRAM-MD5\r\n"] {
        let turns = [GREETING, EHLO, "220 go\r\n", last];
        let (result, said) = log_in(goal(AuthMechanism::Auto), turns.map(says).to_vec());
        let failure = result.expect_err("no AUTH");
        assert_eq!((failure.stage, failure.cause), (Stage::Auth, Cause::SmtpAuth));
        assert!(!said.contains("AUTH"), "{said}");
    }
}

#[test]
fn plain_text_behind_the_reply_to_starttls_is_an_injection() {
    for injected in ["250-relay.example\r\n250 AUTH PLAIN\r\n", "2"] {
        let turns = [GREETING, EHLO, &format!("220 go\r\n{injected}")].map(says).to_vec();
        let (result, said) = log_in(goal(AuthMechanism::Auto), turns);
        let failure = result.expect_err("refused");
        assert_eq!((failure.stage, failure.cause), (Stage::Tls, Cause::SmtpUnreachable));
        assert!(!said.contains("<TLS>"), "{said}");
    }
}

/// The steps of a login that goes well, each with its stage.
fn login_steps() -> [(&'static str, Stage); 5] {
    [
        (GREETING, Stage::Greeting),
        (EHLO, Stage::Ehlo),
        ("220 go\r\n", Stage::Tls),
        (EHLO, Stage::Ehlo),
        ("235 ok\r\n", Stage::Auth),
    ]
}

/// What may go wrong at any step, and whether the reason begins so.
fn mishaps() -> Vec<(Turn, &'static str)> {
    vec![
        (Turn::Closes, "Connection closed by the relay"),
        (Turn::IsSilent, "Connection timed out"),
        (says("hello?\r\n"), "not an SMTP reply"),
        (says("250 a\r\n250 a\r\n250 a\r\n250 a\r\n250 a\r\n"), ""),
        (says("354 go\r\n354 go\r\n354 go\r\n"), ""),
        (
            Turn::Repeats(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            "a reply of more than 65536 bytes",
        ),
        (Turn::Repeats(b"250-and so on, and so on\r\n"), "a reply of more than 65536 bytes"),
    ]
}

#[test]
fn whatever_goes_wrong_in_the_login_is_the_infrastructures_at_its_stage() {
    for (place, (_, stage)) in login_steps().iter().enumerate() {
        let refusals = ["421 4.3.2 busy\r\n", "454 4.7.0 later\r\n", "550 5.7.30 no\r\n", "599 odd\r\n"];
        let refused = refusals.map(|reply| (says(reply), reply.trim_end()));
        for (mishap, reason) in mishaps().into_iter().chain(refused) {
            let mut turns: Vec<Turn> = login_steps()[..place].iter().map(|(reply, _)| says(reply)).collect();
            turns.push(mishap.clone());
            let (result, _) = log_in(goal(AuthMechanism::Auto), turns);
            let failure = result.expect_err("it went wrong");
            let what = format!("step {place}: {mishap:?}: {failure:?}");
            assert_eq!(failure.class, Class::Infrastructure, "{what}");
            assert!(failure.reason.starts_with(reason), "{what}");
            // Surplus replies are found out where the next command would have gone out.
            if !reason.is_empty() {
                assert_eq!(failure.stage, *stage, "{what}");
            }
            if failure.stage != Stage::Auth {
                assert_eq!(failure.cause, Cause::SmtpUnreachable, "{what}");
            }
        }
    }
}

// ---- The transaction --------------------------------------------------------------------------------------

fn email(recipients: &[&str], data: &str) -> Email {
    Email {
        message_id: "<1@example.com>".into(),
        sender: "from@example.com".into(),
        recipients: recipients.iter().map(|address| (*address).to_owned()).collect(),
        data: data.as_bytes().to_vec(),
        ..Email::default()
    }
}

fn one() -> Email {
    email(&["a@example.com"], "Subject: x\r\n\r\nhello\r\n")
}

fn two() -> Email {
    email(&["a@example.com", "b@example.com"], "Subject: x\r\n\r\nhello\r\n")
}

fn extensions(grouped: bool) -> Extensions {
    Extensions { pipelining: grouped, ..Extensions::default() }
}

fn send_with(email: &Email, extensions: &Extensions, play: &mut Play) -> Ending {
    let to: Vec<usize> = (0..email.recipients.len()).collect();
    let mut wire = Wire::default();
    let mut transaction = Transaction::new(&mut wire, email, &to, extensions, true, PIECE_BYTES);
    assert_eq!(play.run(&mut transaction), Want::Nothing);
    transaction.result()
}

fn send(email: &Email, grouped: bool, turns: Vec<Turn>) -> (Ending, String) {
    let mut play = Play::new(turns);
    let ending = send_with(email, &extensions(grouped), &mut play);
    (ending, String::from_utf8(play.said).expect("plain text"))
}

/// Turns for a relay that gives these replies, one to each command or all to the group.
fn answers(grouped: bool, commands: &[&str], then: &[&str]) -> Vec<Turn> {
    let mut turns = if grouped {
        vec![says(&commands.concat())]
    } else {
        commands.iter().map(|reply| says(reply)).collect()
    };
    turns.extend(then.iter().map(|reply| says(reply)));
    turns
}

/// An outcome in short: `ok`, `back`, or stage and reason of the failure.
fn in_short(ending: &Ending) -> Vec<String> {
    let short = |outcome: &Outcome| match outcome {
        Outcome::Accepted => "ok".to_owned(),
        Outcome::TakenBack => "back".to_owned(),
        Outcome::Failed(failure) => format!("{}: {}", failure.stage, failure.reason),
    };
    ending.transaction.outcomes.iter().map(short).collect()
}

#[test]
fn an_e_mail_goes_out_in_two_writes_where_the_relay_pipelines() {
    let (ending, said) = send(&one(), true, answers(true, &["250\r\n", "250\r\n", "354\r\n"], &["250\r\n"]));
    assert_eq!(in_short(&ending), ["ok"]);
    assert!(ending.usable && ending.carried && ending.refusals == 0);
    let envelope = "MAIL FROM:<from@example.com>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n";
    assert_eq!(said, format!("{envelope}Subject: x\r\n\r\nhello\r\n.\r\n"));
}

#[test]
fn each_recipient_has_its_own_outcome() {
    let no = "550 5.1.1 no\r\n";
    let later = "451 later\r\n";
    let ok = "250 ok\r\n";
    let go = "354 go\r\n";
    let table: [(&[&str], &[&str], [&str; 2]); 8] = [
        (&[ok, ok, "251 forwarded\r\n", go], &[ok], ["ok", "ok"]),
        (&[ok, ok, no, go], &[ok], ["ok", "rcpt: 550 5.1.1 no"]),
        (&[ok, later, ok, go], &[ok], ["rcpt: 451 later", "ok"]),
        (&[ok, ok, no, go], &["554 bad\r\n"], ["final-dot: 554 bad", "rcpt: 550 5.1.1 no"]),
        (&[ok, ok, no, "451 later\r\n"], &[ok], ["data: 451 later", "rcpt: 550 5.1.1 no"]),
        (&[ok, no, ok, "421 bye\r\n"], &[], ["rcpt: 550 5.1.1 no", "data: 421 bye"]),
        (&[ok, ok, "421 bye\r\n"], &[], ["rcpt: 421 bye", "rcpt: 421 bye"]),
        (&[ok, no, "421 bye\r\n"], &[], ["rcpt: 550 5.1.1 no", "rcpt: 421 bye"]),
    ];
    for (commands, then, expected) in table {
        for grouped in [false, true] {
            let (ending, _) = send(&two(), grouped, answers(grouped, commands, then));
            assert_eq!(in_short(&ending), expected, "{commands:?} {then:?} grouped {grouped}");
            let closing = commands.contains(&"421 bye\r\n");
            assert_eq!(ending.usable, !closing, "{commands:?} {then:?} grouped {grouped}");
        }
    }
}

#[test]
fn a_wholly_refused_e_mail_leaves_the_connection_usable_behind_rset() {
    let (ok, no, bad) = ("250 ok\r\n", "550 no\r\n", "503 no recipients\r\n");
    let table: [(bool, &[&str], &str); 4] = [
        (false, &[no], "mail: 550 no"),
        (true, &[no, bad, bad, bad], "mail: 550 no"),
        (false, &[ok, no, no], "rcpt: 550 no"),
        (true, &[ok, no, no, bad], "rcpt: 550 no"),
    ];
    for (grouped, commands, expected) in table {
        for (rset, usable) in [("250 reset\r\n", true), ("500 what\r\n", false), ("421 bye\r\n", false)] {
            let (ending, said) = send(&two(), grouped, answers(grouped, commands, &[rset]));
            assert_eq!(in_short(&ending), [expected, expected]);
            assert_eq!(ending.usable, usable, "{commands:?} {rset:?}");
            assert!(said.ends_with("RSET\r\n"), "{said}");
            assert_eq!(said.contains("DATA"), grouped, "{said}");
        }
        let (ending, _) = send(&two(), grouped, answers(grouped, commands, &[]));
        assert_eq!(in_short(&ending), [expected, expected], "silence at RSET changes no outcome");
        assert!(!ending.usable);
    }
}

#[test]
fn a_relay_that_wants_text_for_nobody_gets_a_lone_dot_and_delivers_to_nobody() {
    let group = ["250 ok\r\n", "550 no\r\n", "551 no\r\n", "354 go\r\n"];
    for (answer, usable) in [
        ("250 ok\r\n", true),
        ("554 none\r\n", true),
        ("354 go\r\n", false),
        ("421 bye\r\n", false),
        ("what\r\n", false),
    ] {
        let (ending, said) = send(&two(), true, answers(true, &group, &[answer]));
        assert_eq!(in_short(&ending), ["rcpt: 550 no", "rcpt: 551 no"], "{answer:?}");
        assert_eq!(ending.usable, usable, "{answer:?}");
        assert!(said.ends_with("DATA\r\n.\r\n"), "{said}");
    }
    // After a refused MAIL a recipient was taken: a dot might deliver an empty e-mail.
    let group = ["550 no\r\n", "250 ok\r\n", "550 no\r\n", "354 go\r\n"];
    let (ending, said) = send(&two(), true, answers(true, &group, &["250 ok\r\n"]));
    assert_eq!(in_short(&ending), ["mail: 550 no", "mail: 550 no"]);
    assert!(!ending.usable && said.ends_with("DATA\r\n"), "{said}");
}

#[test]
fn whatever_goes_wrong_before_the_dot_is_not_the_e_mails_and_after_it_ambiguous() {
    let steps = [
        ("250 ok\r\n", Stage::Mail),
        ("250 ok\r\n", Stage::Rcpt),
        ("354 go\r\n", Stage::Data),
        ("", Stage::FinalDot),
    ];
    for (place, (_, stage)) in steps.iter().enumerate() {
        for grouped in [false, true] {
            for (mishap, reason) in mishaps() {
                let good: Vec<&str> = steps[..place].iter().map(|(reply, _)| *reply).collect();
                let mut turns = answers(grouped, &good, &[]);
                turns.push(mishap.clone());
                let (ending, said) = send(&one(), grouped, turns);
                let what = format!("{stage}, grouped {grouped}: {mishap:?}: {ending:?}");
                assert!(!ending.usable, "{what}");
                // A 250 where it is due is one, whatever follows.
                if reason.is_empty() && *stage == Stage::FinalDot && ending.carried {
                    continue;
                }
                let [Outcome::Failed(failure)] = ending.transaction.outcomes.as_slice() else {
                    panic!("no failure, {what}")
                };
                assert!(failure.reason.starts_with(reason), "{what}");
                let past_the_dot = failure.stage == Stage::FinalDot;
                assert_eq!(past_the_dot, said.ends_with("\r\n.\r\n"), "{what}");
                let class = if past_the_dot { Class::Ambiguous } else { Class::Infrastructure };
                assert_eq!(failure.class, class, "{what}");
                if !reason.is_empty() {
                    assert_eq!(failure.stage, *stage, "{what}");
                }
                let lost_or_late = matches!(mishap, Turn::Closes | Turn::IsSilent);
                let cause = match (past_the_dot, lost_or_late) {
                    (true, _) => Cause::Ambiguous,
                    (false, true) => Cause::SmtpUnreachable,
                    (false, false) => Cause::Protocol,
                };
                assert_eq!(failure.cause, cause, "{what}");
                let closed = matches!(mishap, Turn::Closes) && !past_the_dot;
                assert_eq!(failure.is_the_connections(), closed, "{what}");
            }
        }
    }
}

#[test]
fn any_clear_250_after_the_dot_is_success_whatever_follows() {
    for (answer, usable) in [
        ("250\r\n", true),
        ("250 \u{fffd}\u{1}\r\n", true),
        ("250-2.0.0 one\r\n250 2.0.0 two\r\n", true),
        ("250 ok\r\n250 again\r\n", false),
        ("250 ok\r\ngarbage", false),
        ("250 ok\r\n\r\n", false),
    ] {
        for grouped in [false, true] {
            let turns = answers(grouped, &["250\r\n", "250\r\n", "354\r\n"], &[answer]);
            let (ending, _) = send(&one(), grouped, turns);
            assert_eq!(in_short(&ending), ["ok"], "{answer:?}");
            assert_eq!(ending.usable, usable, "{answer:?}");
        }
    }
}

#[test]
fn any_other_answer_to_the_dot_is_a_refusal_or_ambiguous() {
    for (answer, class) in [
        ("251 ok\r\n", Class::Ambiguous),
        ("200 ok\r\n", Class::Ambiguous),
        ("354 go\r\n", Class::Ambiguous),
        ("250-ok\r\n251 ok\r\n", Class::Ambiguous),
        ("451 later\r\n", Class::Temporary),
        ("454 slow\r\n", Class::Limited),
        ("554 no\r\n", Class::Permanent),
    ] {
        let (ending, _) = send(&one(), true, answers(true, &["250\r\n", "250\r\n", "354\r\n"], &[answer]));
        let [Outcome::Failed(failure)] = ending.transaction.outcomes.as_slice() else { panic!("{ending:?}") };
        assert_eq!((failure.stage, failure.class), (Stage::FinalDot, class), "{answer:?}");
        assert_eq!(ending.usable, class != Class::Ambiguous, "{answer:?}");
    }
}

#[test]
fn a_reply_before_the_e_mail_has_left_is_never_taken_for_the_answer_to_it() {
    for grouped in [false, true] {
        for (unasked, expected) in [
            ("250 ok\r\n", "body: an unasked reply: 250 ok"),
            ("552 5.3.4 large\r\n", "body: 552 5.3.4 large"),
            ("what\r\n", "body: not an SMTP reply: \"what\""),
            ("25", "body: Connection timed out (stage body)"),
        ] {
            let group = ["250 ok\r\n", "250 ok\r\n", &format!("354 go\r\n{unasked}")];
            let (ending, said) = send(&one(), grouped, answers(grouped, &group, &[]));
            assert_eq!(in_short(&ending), [expected], "grouped {grouped}");
            assert!(!ending.usable && said.ends_with("DATA\r\n"), "{said}");
        }
    }
}

#[test]
fn a_closed_gate_takes_the_e_mail_back_unsent() {
    for (rcpt, expected) in [("250 ok\r\n", "back"), ("550 no\r\n", "rcpt: 550 no")] {
        let group = ["250 ok\r\n", "250 ok\r\n", rcpt, "354 go\r\n"];
        let mut play = Play::new(answers(true, &group, &["250 ok\r\n"]));
        play.gate_is_open = false;
        let ending = send_with(&two(), &extensions(true), &mut play);
        assert_eq!(in_short(&ending), ["back", expected]);
        assert_eq!(play.gate_asked, 1);
        assert!(!ending.usable && play.said.ends_with(b"DATA\r\n"));
    }
}

#[test]
fn the_gate_of_a_large_e_mail_is_asked_before_its_last_piece() {
    let email = email(&["a@example.com"], &".line\r\n".repeat(100));
    let mut play = Play::new(answers(true, &["250\r\n", "250\r\n", "354\r\n"], &["250\r\n"]));
    let ending = send_with(&email, &extensions(true), &mut play);
    assert_eq!((in_short(&ending), play.gate_asked), (vec!["ok".to_owned()], 1));
    assert!(play.said.ends_with(format!("DATA\r\n{}.\r\n", "..line\r\n".repeat(100)).as_bytes()));

    let mut play = Play::new(answers(true, &["250\r\n", "250\r\n", "354\r\n"], &["250\r\n"]));
    play.gate_is_open = false;
    let ending = send_with(&email, &extensions(true), &mut play);
    assert_eq!((in_short(&ending), play.gate_asked), (vec!["back".to_owned()], 1));
    assert!(!play.said.ends_with(b"\r\n.\r\n"));
}

#[test]
fn it_is_the_final_dots_first_byte_that_divides_lost_from_ambiguous() {
    let envelope = "MAIL FROM:<from@example.com>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n".len();
    for data in ["Subject: x\r\n\r\nhello\r\n".to_owned(), "a line of text\r\n".repeat(12), "\r\n".into()] {
        let email = email(&["a@example.com"], &data);
        let whole = data.len() + ".\r\n".len();
        for taken in 0..whole {
            for end in [Turn::Closes, Turn::IsSilent] {
                let mut play = Play::new(answers(true, &["250\r\n", "250\r\n", "354\r\n"], &[]));
                play.takes = Some((envelope + taken, end));
                let ending = send_with(&email, &extensions(true), &mut play);
                let [Outcome::Failed(failure)] = ending.transaction.outcomes.as_slice() else {
                    panic!("{ending:?}")
                };
                let past_the_dot = taken > whole - "\r\n.\r\n".len();
                let stage = if past_the_dot { Stage::FinalDot } else { Stage::Body };
                assert_eq!(failure.stage, stage, "{taken} of {whole}");
                assert_eq!(failure.class == Class::Ambiguous, past_the_dot);
            }
        }
    }
}

#[test]
fn what_the_relay_does_not_take_is_told_before_anything_is_sent() {
    let mut accented = two();
    accented.recipients[1] = "bé@example.com".into();
    let mut from_accented = two();
    from_accented.sender = "fé@example.com".into();
    let mut header_accented = two();
    header_accented.data = "To: é@example.com\r\n\r\nx\r\n".into();
    header_accented.header_needs_smtputf8 = true;
    let mut eight_bits = two();
    eight_bits.data = "To: a@example.com\r\n\r\né\r\n".into();
    eight_bits.body_type = BodyType::EightBitMime;
    let mut bare = two();
    bare.data = b"x\r\n.\nMAIL FROM:<>\r\n".to_vec();
    let mut smuggled = two();
    smuggled.sender = "a@example.com>\r\nRCPT TO:<b@example.com".into();
    let small = Extensions { size: Some(10), ..extensions(true) };
    let table: [(&Email, Extensions, Cause); 6] = [
        (&eight_bits, extensions(true), Cause::Render),
        (&two(), small, Cause::TooLarge),
        (&from_accented, extensions(true), Cause::InvalidSender),
        (&header_accented, extensions(true), Cause::InvalidRecipient),
        (&bare, extensions(true), Cause::Invalid),
        (&smuggled, extensions(true), Cause::InvalidSender),
    ];
    for (email, extensions, cause) in table {
        let mut play = Play::new(vec![]);
        let ending = send_with(email, &extensions, &mut play);
        for outcome in &ending.transaction.outcomes {
            let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
            let found = (failure.stage, failure.cause, failure.spends_attempt);
            assert_eq!(found, (Stage::Render, cause, false));
        }
        assert!(play.said.is_empty() && ending.usable);
    }
    let (ending, said) =
        send(&accented, true, answers(true, &["250 ok\r\n", "250 ok\r\n", "354 go\r\n"], &["250 ok\r\n"]));
    assert_eq!(ending.transaction.outcomes[0], Outcome::Accepted);
    let Outcome::Failed(failure) = &ending.transaction.outcomes[1] else { panic!("{ending:?}") };
    assert_eq!((failure.stage, failure.cause), (Stage::Render, Cause::InvalidRecipient));
    assert!(!said.contains("bé"), "{said}");
}

// ---- Properties -------------------------------------------------------------------------------------------

/// One turn of a relay gone mad: replies likely and unlikely, and bytes that are none.
fn mad_turn() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        6 => prop::sample::select(vec![
            "250 ok\r\n", "250\r\n", "251 f\r\n", "354 go\r\n", "550 no\r\n", "451 l\r\n", "421 b\r\n", "250-a\r\n",
        ]).prop_map(|reply| reply.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

/// What a relay says that is right but for a slip here and there.
fn turns() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let sane = prop::sample::select(vec!["250 ok\r\n", "250 ok\r\n", "550 no\r\n"]);
    let nearly =
        (sane.clone(), sane.clone(), sane.clone(), sane, any::<bool>()).prop_map(|(a, b, c, d, grouped)| {
            let turns: Vec<Vec<u8>> =
                [a, b, c, "354 go\r\n", d].iter().map(|reply| reply.as_bytes().to_vec()).collect();
            if grouped { vec![turns[..4].concat(), turns[4].clone()] } else { turns }
        });
    prop_oneof![proptest::collection::vec(mad_turn(), 0..7), nearly]
}

fn in_pieces(turn: &[u8], cuts: &[prop::sample::Index]) -> Turn {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(turn.len() + 1)).collect();
    at.extend([0, turn.len()]);
    at.sort_unstable();
    Turn::Says(at.windows(2).map(|w| turn[w[0]..w[1]].to_vec()).filter(|piece| !piece.is_empty()).collect())
}

/// The codes of the replies in `heard`, by a reading of its own: last lines only.
fn codes(heard: &[u8]) -> Vec<u16> {
    let complete = heard.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = heard[..complete].split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| line.get(3) != Some(&b'-'))
        .map(|line| {
            std::str::from_utf8(line.get(..3).unwrap_or(b"0")).ok().and_then(|t| t.parse().ok()).unwrap_or(0)
        })
        .collect()
}

proptest! {
    #[test]
    fn nothing_is_accepted_but_by_354_and_250_in_their_places(turns in turns(), grouped: bool, open: bool) {
        let mut play = Play::new(turns.iter().map(|turn| in_pieces(turn, &[])).collect());
        play.gate_is_open = open;
        let ending = send_with(&two(), &extensions(grouped), &mut play);
        prop_assert_eq!(ending.transaction.outcomes.len(), 2);
        prop_assert!(play.gate_asked <= 1);
        let whole = play.said.ends_with(b"hello\r\n.\r\n");
        prop_assert!(!whole || (play.gate_asked == 1 && open));
        let codes = codes(&play.heard);
        for (place, outcome) in ending.transaction.outcomes.iter().enumerate() {
            if *outcome == Outcome::Accepted {
                prop_assert!(whole && codes.len() >= 5, "{:?}", codes);
                prop_assert_eq!((codes[0], codes[3], codes[4]), (250, 354, 250));
                prop_assert!([250, 251].contains(&codes[1 + place]));
            }
        }
        // And the other way round: the relay that took it is believed.
        if whole && codes.get(4) == Some(&250) && [250, 251].contains(&codes[1]) {
            prop_assert_eq!(&ending.transaction.outcomes[0], &Outcome::Accepted);
        }
    }

    #[test]
    fn the_pieces_in_which_replies_come_change_no_outcome(
        turns in turns(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        grouped: bool,
    ) {
        let run = |cuts: &[prop::sample::Index]| {
            let mut play = Play::new(turns.iter().map(|turn| in_pieces(turn, cuts)).collect());
            let ending = send_with(&two(), &extensions(grouped), &mut play);
            (ending.transaction, ending.usable, play.said)
        };
        prop_assert_eq!(run(&cuts), run(&[]));
    }

    #[test]
    fn no_login_succeeds_but_by_235(turns in proptest::collection::vec(prop_oneof![
        mad_turn(),
        prop::sample::select(vec![GREETING, EHLO, "220 go\r\n", "235 ok\r\n", "334\r\n"]).prop_map(Into::into),
    ], 0..8)) {
        let turns: Vec<Turn> = turns.iter().map(|turn: &Vec<u8>| in_pieces(turn, &[])).collect();
        let (result, said) = log_in(goal(AuthMechanism::Auto), turns);
        prop_assert!(result.is_err() || said.contains("<TLS>\r\nEHLO worker.example\r\nAUTH PLAIN "));
        if let Err(failure) = result {
            prop_assert_eq!(failure.class, Class::Infrastructure);
        }
    }
}
