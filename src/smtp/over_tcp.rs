//! Connections over real sockets against the scripted server: every SMTP fault that concerns one attempt.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mailroom_actors::domain::failure::{Cause, Class, Failure, Stage};
use mailroom_actors::ports::{Connection as _, Email, Gate, Outcome, Relay as _};

use super::SmtpRelay;
use super::connection::SmtpConnection;
use super::scripted_smtp::{Act, At, Encryption, Script, ScriptedSmtp, say};
use crate::config::{AuthMechanism, Login, Pipelining, Secret, Security, Smtp, Timeouts};

const LONG: Duration = Duration::from_secs(60);
/// For a step before which no other has the same limit.
const SHORT: Duration = Duration::from_millis(50);
/// For a step whose limit holds for steps before it too, which must not run out of it on a busy machine.
const MIDDLING: Duration = Duration::from_millis(1500);

/// A gate that counts how often it was asked.
struct Counted {
    open: bool,
    asked: Cell<u32>,
}

impl Gate for Counted {
    fn pass_the_dot(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.open
    }
}

fn gate(open: bool) -> Counted {
    Counted { open, asked: Cell::new(0) }
}

fn timeouts(all: Duration) -> Timeouts {
    Timeouts { connect: all, greeting: all, command: all, data: all, final_dot: all }
}

fn settings(server: &ScriptedSmtp) -> Smtp {
    Smtp {
        host: "127.0.0.1".into(),
        port: server.port(),
        security: Security::Plain,
        from: "from@example.com".into(),
        login: None,
        allow_plaintext_auth: false,
        helo_name: "worker.example".into(),
        ca_file: None,
        pipelining: Pipelining::Auto,
        max_rate: None,
        max_emails_per_connection: 1000,
        idle_timeout: LONG,
        timeouts: timeouts(LONG),
    }
}

/// With a login and the server's certificate trusted. The folder holds the certificate.
fn encrypted(server: &ScriptedSmtp, security: Security) -> (Smtp, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, server.certificate_pem()).expect("written");
    let login = Login {
        username: "ada".into(),
        password: Secret::Value("secret".into()),
        mechanism: AuthMechanism::Auto,
    };
    let smtp = Smtp { security, login: Some(login), ca_file: Some(path), ..settings(server) };
    (smtp, folder)
}

async fn open(smtp: &Smtp) -> Result<SmtpConnection, Failure> {
    SmtpRelay::new(smtp).expect("a usable configuration").open().await
}

async fn why_not(smtp: &Smtp) -> Failure {
    open(smtp).await.err().expect("no connection")
}

fn email(recipients: usize) -> Email {
    Email {
        message_id: "<1@example.com>".into(),
        sender: "from@example.com".into(),
        recipients: (0..recipients).map(|number| format!("r{number}@example.com")).collect(),
        data: b"Subject: x\r\n\r\n.hello\r\n".to_vec(),
        ..Email::default()
    }
}

async fn send(connection: &mut SmtpConnection, email: &Email) -> Vec<Outcome> {
    let to: Vec<usize> = (0..email.recipients.len()).collect();
    connection.send(email, &to, &gate(true)).await.outcomes
}

fn failure(outcome: &Outcome) -> &Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

// ---- What goes well ---------------------------------------------------------------------------------------

#[tokio::test]
async fn many_e_mails_go_over_one_connection_with_and_without_pipelining() {
    for pipelining in [Pipelining::Auto, Pipelining::Off] {
        let server = Script::new().start();
        let mut connection = open(&Smtp { pipelining, ..settings(&server) }).await.expect("open");
        for _ in 0..20 {
            assert_eq!(send(&mut connection, &email(2)).await, vec![Outcome::Accepted; 2]);
        }
        assert!(connection.is_usable());
        assert_eq!(connection.carried(), 20);
        Box::new(connection).quit().await;
        let log = server.wait_until("the end", |log| log.ended == 1);
        assert_eq!((log.connections, log.taken().len()), (1, 20));
        for delivery in log.taken() {
            assert_eq!(delivery.data, email(2).data);
            assert_eq!(delivery.recipients, email(2).recipients);
            assert_eq!(delivery.sender, "from@example.com");
        }
        assert_eq!(log.lines().last(), Some(&"QUIT"));
    }
}

#[tokio::test]
async fn only_the_recipients_asked_for_are_offered() {
    let server = Script::new().start();
    let mut connection = open(&settings(&server)).await.expect("open");
    let outcomes = connection.send(&email(3), &[0, 2], &gate(true)).await.outcomes;
    assert_eq!(outcomes, vec![Outcome::Accepted; 2]);
    assert_eq!(server.log().taken()[0].recipients, ["r0@example.com", "r2@example.com"]);
}

#[tokio::test]
async fn mail_goes_over_tls_and_starttls_and_the_password_never_in_plain_text() {
    for (security, encryption) in
        [(Security::Tls, Encryption::Tls), (Security::Starttls, Encryption::Starttls)]
    {
        for mechanism in [AuthMechanism::Plain, AuthMechanism::Login, AuthMechanism::Xoauth2] {
            let server = Script::new().encryption(encryption).start();
            let (mut smtp, _folder) = encrypted(&server, security);
            smtp.login.as_mut().expect("a login").mechanism = mechanism;
            let mut connection = open(&smtp).await.expect("open");
            let mut large = email(1);
            large.data = b"a line of some length\r\n".repeat(20_000);
            for email in [&email(1), &large, &email(1)] {
                assert_eq!(send(&mut connection, email).await, [Outcome::Accepted], "{mechanism:?}");
            }
            let log = server.log();
            assert_eq!(log.taken()[1].data, large.data);
            assert!(log.commands.iter().any(|command| command.line.starts_with("AUTH")));
            for command in log.commands.iter().filter(|command| !command.encrypted) {
                assert!(["EHLO worker.example", "STARTTLS"].contains(&command.line.as_str()), "{command:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_password_is_read_again_at_each_connect() {
    let server = Script::new().encryption(Encryption::Tls).start();
    let (mut smtp, folder) = encrypted(&server, Security::Tls);
    let path: PathBuf = folder.path().join("password");
    smtp.login.as_mut().expect("a login").password = Secret::File(path.clone());
    let relay = SmtpRelay::new(&smtp).expect("the password is not read yet");
    for password in ["one\n", "two\n"] {
        std::fs::write(&path, password).expect("written");
        relay.connect().await.expect("open");
    }
    let log = server.log();
    let logins: Vec<_> = log.lines().into_iter().filter(|line| line.starts_with("AUTH")).collect();
    assert_eq!(logins, ["AUTH PLAIN AGFkYQBvbmU=", "AUTH PLAIN AGFkYQB0d28="]);
    std::fs::remove_file(&path).expect("removed");
    let failure = relay.connect().await.err().expect("no password");
    assert_eq!((failure.stage, failure.cause), (Stage::Auth, Cause::SmtpAuth));
    assert!(failure.reason.starts_with("the SMTP password can't be read: "), "{}", failure.reason);
    assert_eq!(server.log().connections, 2);
}

// ---- No connection ----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_relay_that_is_down_or_has_no_name_is_told_in_words() {
    let server = Script::new().start();
    let mut smtp = settings(&server);
    drop(server);
    assert_eq!(why_not(&smtp).await, Failure::refused());
    smtp.host = "localhost".into();
    assert_eq!(why_not(&smtp).await.reason, "Connection refused");
    smtp.host = "no-such-host.invalid".into();
    let failure = why_not(&smtp).await;
    let found = (failure.stage, failure.class, failure.cause);
    assert_eq!(found, (Stage::Connect, Class::Infrastructure, Cause::SmtpUnreachable));
    assert!(failure.reason.contains("no-such-host.invalid"), "{}", failure.reason);
}

#[tokio::test]
async fn whatever_goes_wrong_up_to_the_login_has_its_stage() {
    let steps = [
        (At::Greeting, Stage::Greeting),
        (At::Ehlo, Stage::Ehlo),
        (At::Starttls, Stage::Tls),
        (At::Handshake, Stage::Tls),
        (At::Auth, Stage::Auth),
    ];
    let mishaps = [
        (vec![say("421 4.3.2 busy"), Act::Close], "421 4.3.2 busy"),
        (vec![say("550 5.7.30 no")], "550 5.7.30 no"),
        (vec![say("454 4.7.0 later")], "454 4.7.0 later"),
        (vec![say("535 5.7.8 no")], "535 5.7.8 no"),
        (vec![say("554 no")], "554 no"),
        (vec![Act::Close], "Connection "),
        (vec![Act::Reset], "Connection lost"),
        (vec![Act::Silence], "Connection timed out (stage "),
        (vec![Act::Repeat(b"220-and so on\r\n".to_vec())], ""),
        (vec![Act::Repeat(b"220 a".to_vec())], ""),
        (vec![say("HTTP/1.1 400 Bad Request")], "not an SMTP reply"),
        (vec![say("354 go")], "an answer that may not stand here: 354 go"),
    ];
    for (at, stage) in steps {
        for (acts, reason) in &mishaps {
            let in_handshake = at == At::Handshake;
            let server = Script::new().encryption(Encryption::Starttls).on(at, acts.clone()).start();
            let (mut smtp, _folder) = encrypted(&server, Security::Starttls);
            if matches!(acts[0], Act::Silence) {
                let limits = &mut smtp.timeouts;
                match stage {
                    Stage::Greeting => limits.greeting = SHORT,
                    _ => limits.command = MIDDLING,
                }
            }
            let begun = Instant::now();
            let failure = why_not(&smtp).await;
            let what = format!("{at:?}: {acts:?}: {failure:?}");
            // A reset this early may still be one of connecting.
            let reset_at_once = at == At::Greeting && matches!(acts[0], Act::Reset);
            let early = reset_at_once && failure.stage == Stage::Connect;
            assert!(failure.stage == stage || early, "{what}");
            assert_eq!(failure.class, Class::Infrastructure, "{what}");
            let cause = match &acts[0] {
                _ if failure.stage != Stage::Auth => Cause::SmtpUnreachable,
                Act::Close | Act::Reset | Act::Silence => Cause::SmtpUnreachable,
                _ if failure.code.is_some() => Cause::SmtpAuth,
                _ => Cause::Protocol,
            };
            assert_eq!(failure.cause, cause, "{what}");
            let tells_otherwise = in_handshake && matches!(acts[0], Act::Say(_));
            assert!(tells_otherwise || failure.reason.starts_with(reason), "{what}");
            if matches!(acts[0], Act::Silence) {
                assert!(begun.elapsed() >= SHORT, "{what}");
            }
            let log = server.log();
            let secret_went = log.commands.iter().any(|c| c.line.starts_with("AUTH") && !c.encrypted);
            assert!(!secret_went && log.deliveries.is_empty(), "{what}");
        }
    }
}

#[tokio::test]
async fn a_greeting_that_drips_is_not_given_more_time_for_each_byte() {
    let drip = Act::Drip(b"220-".repeat(1000), Duration::from_millis(5));
    let server = Script::new().on(At::Greeting, vec![drip]).start();
    let mut smtp = settings(&server);
    smtp.timeouts.greeting = SHORT;
    assert_eq!(why_not(&smtp).await, Failure::timed_out(Stage::Greeting));
}

#[tokio::test]
async fn a_certificate_that_is_expired_for_another_name_or_of_an_unknown_ca_is_refused() {
    let expired = Script::new().expired_certificate();
    let other_name = Script::new().certificate_for(&["other.example"]);
    let unknown = Script::new();
    for (number, script) in [expired, other_name, unknown].into_iter().enumerate() {
        let server = script.encryption(Encryption::Tls).start();
        let other = Script::new().start();
        let trusted = if number == 2 { &other } else { &server };
        let (mut smtp, _folder) = encrypted(trusted, Security::Tls);
        smtp.port = server.port();
        let failure = why_not(&smtp).await;
        let found = (failure.stage, failure.class, failure.cause);
        assert_eq!(found, (Stage::Tls, Class::Infrastructure, Cause::SmtpUnreachable), "{failure:?}");
        assert!(failure.reason.starts_with("TLS failed: "), "{failure:?}");
        assert!(server.log().commands.is_empty());
    }
}

#[tokio::test]
async fn starttls_that_is_not_offered_or_injected_into_is_never_gone_without() {
    let missing = Script::new();
    let injected = Script::new()
        .encryption(Encryption::Starttls)
        .on(At::Starttls, vec![Act::Say(b"220 go\r\n250 AUTH PLAIN\r\n".to_vec())]);
    for script in [missing, injected] {
        let server = script.start();
        let (smtp, _folder) = encrypted(&server, Security::Starttls);
        let failure = why_not(&smtp).await;
        assert_eq!((failure.stage, failure.class), (Stage::Tls, Class::Infrastructure), "{failure:?}");
        let log = server.log();
        assert!(log.lines().iter().all(|line| ["EHLO worker.example", "STARTTLS"].contains(line)), "{log:?}");
    }
}

#[tokio::test]
async fn a_relay_without_auth_is_an_smtp_auth_failure() {
    let server = Script::new().encryption(Encryption::Tls).keywords(&["PIPELINING"]).start();
    let (smtp, _folder) = encrypted(&server, Security::Tls);
    let failure = why_not(&smtp).await;
    assert_eq!((failure.stage, failure.cause), (Stage::Auth, Cause::SmtpAuth));
}

#[tokio::test]
async fn a_refused_token_is_read_to_its_end() {
    let server = Script::new()
        .encryption(Encryption::Tls)
        .on(At::Auth, vec![say("334 eyJzdGF0dXMiOiI0MDEifQ==")])
        .on(At::AuthAnswer, vec![say("535 5.7.8 token expired")])
        .start();
    let (mut smtp, _folder) = encrypted(&server, Security::Tls);
    smtp.login.as_mut().expect("a login").mechanism = AuthMechanism::Xoauth2;
    let failure = why_not(&smtp).await;
    assert_eq!((failure.cause, failure.reason.as_str()), (Cause::SmtpAuth, "535 5.7.8 token expired"));
}

// ---- One e-mail -------------------------------------------------------------------------------------------

const STEPS: [(At, Stage); 5] = [
    (At::Mail, Stage::Mail),
    (At::Rcpt, Stage::Rcpt),
    (At::Data, Stage::Data),
    (At::Text, Stage::FinalDot),
    (At::Dot, Stage::FinalDot),
];

/// What a refusal is at MAIL, at RCPT, at DATA and after the dot (contract, sections 3 and 4).
fn refusals() -> Vec<(&'static str, [(Class, Cause); 4])> {
    use Cause::{InvalidRecipient, InvalidSender, Policy, Quota, SmtpAuth, Throttled, TooLarge, Unknown};
    use Class::{Infrastructure, Limited, Permanent, Temporary};
    let slower = (Limited, Throttled);
    let later = (Temporary, Throttled);
    let unknown = (Permanent, Unknown);
    let sender = (Permanent, InvalidSender);
    let recipient = (Permanent, InvalidRecipient);
    let quota = (Permanent, Quota);
    vec![
        ("421 bye", [slower; 4]),
        ("421 4.7.0 bye", [slower; 4]),
        ("451 4.4.5 slow", [slower; 4]),
        ("550 5.4.5 quota", [slower; 4]),
        ("432 slow", [slower, (Temporary, Unknown), slower, slower]),
        ("454 Throttling failure", [slower, (Temporary, Unknown), slower, slower]),
        ("432 4.3.2 slow", [slower, later, slower, slower]),
        ("554 5.3.2 slow", [slower, (Permanent, Throttled), slower, slower]),
        ("451 4.7.1 slow", [slower, later, later, later]),
        ("450 later", [later; 4]),
        ("451 later", [later; 4]),
        ("452 full", [later; 4]),
        ("530 5.7.0 log in", [(Infrastructure, SmtpAuth); 4]),
        ("534 5.7.9 log in", [(Infrastructure, SmtpAuth); 4]),
        ("535 log in", [(Infrastructure, SmtpAuth); 4]),
        ("538 log in", [(Infrastructure, SmtpAuth); 4]),
        ("550 no", [sender, recipient, unknown, unknown]),
        ("551 no", [sender, recipient, unknown, unknown]),
        ("552 no", [sender, quota, quota, quota]),
        ("553 no", [sender, recipient, unknown, unknown]),
        ("554 no", [sender, unknown, unknown, unknown]),
        ("550 5.1.1 who?", [recipient; 4]),
        ("552 5.3.4 too large", [(Permanent, TooLarge); 4]),
        ("554 5.7.1 spam", [(Permanent, Policy); 4]),
    ]
}

#[tokio::test]
async fn every_refusal_has_its_class_and_cause_for_one_recipient_and_for_two() {
    let steps = [
        (At::Mail, Stage::Mail),
        (At::Rcpt, Stage::Rcpt),
        (At::Data, Stage::Data),
        (At::Dot, Stage::FinalDot),
    ];
    for (reply, expected) in refusals() {
        for ((at, stage), expected) in steps.into_iter().zip(expected) {
            let server = Script::new().on(at, vec![say(reply)]).start();
            for (pipelining, recipients) in
                [(Pipelining::Within, 1), (Pipelining::Within, 2), (Pipelining::Off, 1), (Pipelining::Off, 2)]
            {
                let mut connection = open(&Smtp { pipelining, ..settings(&server) }).await.expect("open");
                for outcome in send(&mut connection, &email(recipients)).await {
                    let failure = failure(&outcome);
                    let what = format!("{at:?} {reply} {recipients} {pipelining:?}: {failure:?}");
                    assert_eq!(failure.stage, stage, "{what}");
                    assert_eq!((failure.class, failure.cause), expected, "{what}");
                    assert_eq!(failure.reason, reply, "{what}");
                }
                assert_eq!(connection.is_usable(), !reply.starts_with("421"), "{at:?} {reply}");
            }
            assert!(server.log().taken().is_empty(), "{at:?} {reply}");
        }
    }
}

#[tokio::test]
async fn whatever_goes_wrong_with_an_e_mail_has_its_stage_and_class() {
    let mishaps = [
        (vec![Act::Close], "Connection ", Cause::SmtpUnreachable),
        (vec![Act::Reset], "Connection ", Cause::SmtpUnreachable),
        (vec![Act::Silence], "Connection timed out (stage ", Cause::SmtpUnreachable),
        (vec![Act::Repeat(b"250-and so on\r\n".to_vec())], "", Cause::Protocol),
        (vec![Act::Repeat(b"250 a".to_vec())], "", Cause::Protocol),
        (vec![say("what?")], "", Cause::Protocol),
        (vec![say("220 what?")], "", Cause::Protocol),
        (vec![say("354 what?")], "", Cause::Protocol),
        (vec![Act::Say(b"\xff\xfe\x00\r\n".to_vec())], "", Cause::Protocol),
        // An answer that never ends.
        (vec![say("250-ok"), Act::Close], "", Cause::SmtpUnreachable),
    ];
    for (at, stage) in STEPS {
        for (acts, reason, cause) in &mishaps {
            // This is what DATA waits for.
            if at == At::Data && matches!(&acts[0], Act::Say(bytes) if bytes.starts_with(b"354")) {
                continue;
            }
            for recipients in [1, 2] {
                let server = Script::new().on(at, acts.clone()).start();
                let mut smtp = settings(&server);
                if matches!(acts[0], Act::Silence) {
                    let limits = &mut smtp.timeouts;
                    match stage {
                        Stage::FinalDot => limits.final_dot = SHORT,
                        Stage::Data => limits.data = MIDDLING,
                        _ => limits.command = MIDDLING,
                    }
                }
                let mut connection = open(&smtp).await.expect("open");
                let outcomes = send(&mut connection, &email(recipients)).await;
                let what = format!("{at:?}: {acts:?}: {outcomes:?}");
                assert!(!connection.is_usable(), "{what}");
                for outcome in &outcomes {
                    let failure = failure(outcome);
                    // A relay that breaks off behind its 354 may do so before the e-mail has left.
                    let found =
                        if at == At::Text && failure.stage == Stage::Body { stage } else { failure.stage };
                    assert_eq!(found, stage, "{what}");
                    let expected = match failure.stage {
                        Stage::FinalDot => (Class::Ambiguous, Cause::Ambiguous),
                        _ => (Class::Infrastructure, *cause),
                    };
                    assert_eq!((failure.class, failure.cause), expected, "{what}");
                    assert!(failure.reason.starts_with(reason), "{what}");
                }
                // Some that speak out of turn take the e-mail all the same: that is what is ambiguous.
                let half_a_reply = matches!(&acts[0], Act::Say(bytes) if bytes.starts_with(b"250-"));
                assert!(at == At::Text || half_a_reply || server.log().taken().is_empty(), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn stray_replies_never_shift_a_refusal_out_of_sight() {
    for at in [At::Ehlo, At::Mail, At::Rcpt, At::Data] {
        for pipelining in [Pipelining::Within, Pipelining::Off] {
            let stray = Act::Say(b"250 stray\r\n250 stray\r\n".to_vec());
            let acts = match at {
                // In one write: what comes once the e-mail has left can't be told from the answer to it.
                At::Data => vec![Act::Say(b"354 go\r\n250 stray\r\n".to_vec())],
                _ => vec![Act::GoOn, stray],
            };
            let server = Script::new().on(at, acts).on(At::Dot, vec![say("554 5.6.0 refused")]).start();
            let smtp = Smtp { pipelining, ..settings(&server) };
            let failure = match open(&smtp).await {
                Err(failure) => failure,
                Ok(mut connection) => {
                    let outcomes = send(&mut connection, &email(1)).await;
                    assert!(!connection.is_usable());
                    failure(&outcomes[0]).clone()
                }
            };
            assert_eq!(failure.class, Class::Infrastructure, "{at:?} {pipelining:?}: {failure:?}");
            assert!(server.log().taken().is_empty());
        }
    }
}

#[tokio::test]
async fn two_recipients_have_two_outcomes_and_the_first_is_delivered_once() {
    for reply in ["550 5.1.1 no such user", "451 4.2.0 later"] {
        for pipelining in [Pipelining::Within, Pipelining::Off] {
            let server = Script::new().on(At::Rcpt, vec![say(reply)]).for_recipient("r1@example.com").start();
            let mut connection = open(&Smtp { pipelining, ..settings(&server) }).await.expect("open");
            let outcomes = send(&mut connection, &email(2)).await;
            assert_eq!(outcomes[0], Outcome::Accepted);
            assert_eq!(failure(&outcomes[1]).reason, reply);
            assert!(connection.is_usable());
            let log = server.log();
            assert_eq!(log.taken().len(), 1);
            assert_eq!(log.taken()[0].recipients, ["r0@example.com"]);
        }
    }
}

#[tokio::test]
async fn a_connection_that_the_relay_ended_between_two_e_mails_is_known_as_such() {
    for acts in [
        vec![Act::GoOn, Act::Close],
        vec![Act::GoOn, Act::Hold("seen"), Act::Reset],
        vec![Act::GoOn, Act::Hold("seen"), say("421 4.4.2 idle"), Act::Close],
    ] {
        let server = Script::new().on(At::Dot, acts.clone()).start();
        let mut connection = open(&settings(&server)).await.expect("open");
        assert_eq!(send(&mut connection, &email(1)).await, [Outcome::Accepted], "{acts:?}");
        server.release("seen");
        server.wait_until("the end", |log| log.ended == 1);
        let outcomes = send(&mut connection, &email(1)).await;
        let failure = failure(&outcomes[0]);
        assert_eq!(failure.stage, Stage::Mail, "{acts:?}: {failure:?}");
        assert!(failure.is_the_connections() && !connection.is_usable(), "{acts:?}: {failure:?}");
        assert_eq!(server.log().taken().len(), 1);
    }
}

#[tokio::test]
async fn a_relay_that_ends_after_so_many_e_mails_says_so_at_mail() {
    let bye = vec![say("421 4.7.0 enough"), Act::Close];
    let server = Script::new().on(At::Mail, bye).after_mails(3).start();
    let mut connection = open(&settings(&server)).await.expect("open");
    for _ in 0..3 {
        assert_eq!(send(&mut connection, &email(1)).await, [Outcome::Accepted]);
    }
    let outcomes = send(&mut connection, &email(1)).await;
    assert_eq!(failure(&outcomes[0]).reason, "421 4.7.0 enough");
    assert!(failure(&outcomes[0]).is_the_connections() && !connection.is_usable());
}

#[tokio::test]
async fn refused_commands_in_a_row_are_counted_until_an_e_mail_is_taken() {
    let server = Script::new()
        .on(At::Mail, vec![say("450 later")])
        .for_sender("mail@example.com")
        .on(At::Rcpt, vec![say("550 5.1.1 no")])
        .for_sender("rcpt@example.com")
        .on(At::Rcpt, vec![say("550 5.1.1 no")])
        .for_recipient("r1@example.com")
        .on(At::Data, vec![say("451 later")])
        .for_sender("data@example.com")
        .on(At::Dot, vec![say("554 no")])
        .for_sender("dot@example.com")
        .start();
    // The sender, the recipients, and the count after it: pipelined, where what follows a refusal is refused
    // too, and one by one.
    let rows = [
        ("rcpt", 1, 2, 1),
        ("rcpt", 3, 6, 4),
        ("mail", 1, 9, 5),
        ("data", 1, 10, 6),
        ("dot", 1, 11, 7),
        // One of its recipients is refused, but the e-mail is taken.
        ("from", 2, 0, 0),
        ("dot", 2, 2, 2),
        ("from", 1, 0, 0),
    ];
    for pipelining in [Pipelining::Within, Pipelining::Off] {
        let mut connection = open(&Smtp { pipelining, ..settings(&server) }).await.expect("open");
        assert_eq!(connection.refused_in_a_row(), 0);
        for (number, (sender, recipients, grouped, one_by_one)) in rows.into_iter().enumerate() {
            let email = Email { sender: format!("{sender}@example.com"), ..email(recipients) };
            send(&mut connection, &email).await;
            let expected = if pipelining == Pipelining::Off { one_by_one } else { grouped };
            assert_eq!(connection.refused_in_a_row(), expected, "{pipelining:?}, row {number}");
            assert!(connection.is_usable(), "that is for others to decide");
        }
    }
}

#[tokio::test]
async fn a_250_with_odd_bytes_without_text_or_on_several_lines_is_a_250() {
    for odd in [b"250 \xff\xfe\x80\r\n".as_slice(), b"250\r\n", b"250 \r\n", b"250-a\r\n250-b\r\n250 c\r\n"] {
        let server = Script::new()
            .on(At::Mail, vec![Act::Say(odd.to_vec())])
            .on(At::Rcpt, vec![Act::Say(odd.to_vec())])
            .on(At::Dot, vec![Act::Say(odd.to_vec())])
            .start();
        let mut connection = open(&settings(&server)).await.expect("open");
        for recipients in [1, 2] {
            let outcomes = send(&mut connection, &email(recipients)).await;
            assert_eq!(outcomes, vec![Outcome::Accepted; recipients], "{odd:?}");
            assert!(connection.is_usable(), "{odd:?}");
        }
        assert_eq!(server.log().taken().len(), 2);
    }
}

// ---- Too many connections ---------------------------------------------------------------------------------

/// A relay that takes three connections, and does this to any more.
fn three(encryption: Encryption, at: At, acts: &[Act]) -> ScriptedSmtp {
    Script::new().encryption(encryption).on(at, acts.to_vec()).when(|moment| moment.open > 3).start()
}

#[tokio::test]
async fn a_fourth_connection_is_limited_while_one_of_the_three_that_stand_is_answered() {
    let refusals = [
        (At::Greeting, vec![say("421 4.3.2 Too many connections"), Act::Close], Stage::Greeting),
        (At::Greeting, vec![Act::Close], Stage::Greeting),
        (At::Greeting, vec![Act::Reset], Stage::Greeting),
        (At::Ehlo, vec![say("450 4.3.2 Too many connections"), Act::Close], Stage::Ehlo),
        (At::Ehlo, vec![Act::Close], Stage::Ehlo),
    ];
    for encryption in [Encryption::None, Encryption::Tls] {
        for (at, acts, stage) in &refusals {
            let server = three(encryption, *at, acts);
            let (encrypted, _folder) = encrypted(&server, Security::Tls);
            let smtp = if encryption == Encryption::Tls { encrypted } else { settings(&server) };
            let relay = SmtpRelay::new(&smtp).expect("a usable configuration");
            let mut standing = Vec::new();
            for _ in 0..3 {
                standing.push(relay.open().await.expect("open"));
            }
            // One after the other over two of the three: the verdict waits for what is under way.
            let (email, gate) = (email(1), gate(true));
            let (refused, sent) = tokio::join!(relay.open(), standing[1].send(&email, &[0], &gate));
            assert_eq!(sent.outcomes, [Outcome::Accepted]);
            let failure = refused.err().expect("no fourth connection");
            let found = (failure.class, failure.cause);
            assert_eq!(found, (Class::Limited, Cause::SmtpUnreachable), "{acts:?}: {failure:?}");
            // A reset this early may still be one of connecting.
            let is_reset = matches!(acts[0], Act::Reset) && failure.stage == Stage::Connect;
            assert!(failure.stage == *stage || is_reset, "{acts:?}: {failure:?}");

            // Nothing is answered meanwhile: the relay may as well be down.
            let failure = relay.open().await.err().expect("no fourth connection");
            assert_eq!(failure.class, Class::Infrastructure, "{acts:?}");

            // Those that stand are none of its business: another relay's connections are judged apart.
            let other = SmtpRelay::new(&smtp).expect("a usable configuration");
            let (refused, sent) = tokio::join!(other.open(), standing[2].send(&email, &[0], &gate));
            assert_eq!(sent.outcomes, [Outcome::Accepted]);
            assert_eq!(refused.err().expect("no connection").class, Class::Infrastructure);

            drop(standing.pop());
            server.wait_until("the slot", |log| log.ended + 2 == log.connections);
            relay.open().await.expect("the third slot is free again");
        }
    }
}

#[tokio::test]
async fn a_refusal_with_a_5xx_is_the_relays_and_so_is_one_while_the_others_only_fail() {
    let server = three(Encryption::None, At::Greeting, &[say("554 5.3.2 no"), Act::Close]);
    let relay = SmtpRelay::new(&settings(&server)).expect("a usable configuration");
    let mut standing = [relay.open().await.expect("open"), relay.open().await.expect("open")];
    let _third = relay.open().await.expect("open");
    let (email, gate) = (email(1), gate(true));
    let (refused, _) = tokio::join!(relay.open(), standing[0].send(&email, &[0], &gate));
    assert_eq!(refused.err().expect("no fourth connection").class, Class::Infrastructure);

    let server = Script::new()
        .on(At::Greeting, vec![say("421 4.3.2 no"), Act::Close])
        .on_connection(2)
        .on(At::Mail, vec![Act::Close])
        .start();
    let relay = SmtpRelay::new(&settings(&server)).expect("a usable configuration");
    let mut standing = relay.open().await.expect("open");
    let (refused, sent) = tokio::join!(relay.open(), standing.send(&email, &[0], &gate));
    assert_eq!(failure(&sent.outcomes[0]).class, Class::Infrastructure);
    assert_eq!(refused.err().expect("no second connection").class, Class::Infrastructure);
}

// ---- Dots, pieces and patience ----------------------------------------------------------------------------

#[tokio::test]
async fn a_closed_gate_leaves_the_e_mail_unsent() {
    let server = Script::new().start();
    let mut connection = open(&settings(&server)).await.expect("open");
    let gate = gate(false);
    let outcomes = connection.send(&email(2), &[0, 1], &gate).await.outcomes;
    assert_eq!(outcomes, vec![Outcome::TakenBack; 2]);
    assert_eq!(gate.asked.get(), 1);
    assert!(!connection.is_usable());
    drop(connection);
    let log = server.wait_until("the end", |log| log.ended == 1);
    assert!(log.deliveries.is_empty());
}

#[tokio::test]
async fn a_relay_that_stops_reading_a_large_e_mail_costs_an_attempt_but_no_ambiguity() {
    for (acts, reason) in [
        (vec![Act::Stall], "Connection timed out (stage body)"),
        (vec![say("552 5.3.4 too large"), Act::Stall], "552 5.3.4 too large"),
        (vec![Act::Reset], "Connection "),
    ] {
        for encryption in [Encryption::None, Encryption::Tls] {
            let server = Script::new().encryption(encryption).on(At::Text, acts.clone()).start();
            let (smtp, _folder) = encrypted(&server, Security::Tls);
            let mut smtp = if encryption == Encryption::Tls { smtp } else { settings(&server) };
            if reason.contains("timed out") {
                smtp.timeouts.data = MIDDLING;
            }
            let mut connection = open(&smtp).await.expect("open");
            let mut large = email(1);
            // More than the kernel's buffers on both sides hold.
            large.data = b"a line of some length\r\n".repeat(1_500_000);
            let outcomes = send(&mut connection, &large).await;
            let failure = failure(&outcomes[0]);
            assert_eq!(failure.stage, Stage::Body, "{encryption:?} {failure:?}");
            assert!(failure.reason.starts_with(reason), "{encryption:?} {failure:?}");
            assert!(!connection.is_usable());
        }
    }
}

#[tokio::test]
async fn each_reply_of_a_slow_group_has_its_own_time() {
    let slow = vec![Act::Pause(MIDDLING / 4), Act::GoOn];
    let server =
        Script::new().on(At::Mail, slow.clone()).on(At::Rcpt, slow.clone()).on(At::Data, slow).start();
    let mut smtp = settings(&server);
    smtp.timeouts = Timeouts { command: MIDDLING, data: MIDDLING, ..timeouts(LONG) };
    let mut connection = open(&smtp).await.expect("open");
    let begun = Instant::now();
    assert_eq!(send(&mut connection, &email(4)).await, vec![Outcome::Accepted; 4]);
    assert!(begun.elapsed() > MIDDLING);
}

#[tokio::test]
async fn a_future_that_is_dropped_on_the_way_leaves_the_connection_unusable() {
    let server = Script::new().on(At::Mail, vec![Act::Hold("never")]).start();
    let mut connection = open(&settings(&server)).await.expect("open");
    let (email, gate) = (email(1), gate(true));
    let dropped = tokio::time::timeout(SHORT, connection.send(&email, &[0], &gate)).await;
    assert!(dropped.is_err());
    assert!(!connection.is_usable());
    let outcomes = connection.send(&email, &[0], &gate).await.outcomes;
    assert_eq!(failure(&outcomes[0]).stage, Stage::Mail);
    assert!(server.log().deliveries.is_empty());
}
