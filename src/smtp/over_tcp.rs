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
            assert_eq!((failure.stage, failure.class), (stage, Class::Infrastructure), "{what}");
            if failure.stage != Stage::Auth {
                assert_eq!(failure.cause, Cause::SmtpUnreachable, "{what}");
            }
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

#[tokio::test]
async fn every_refusal_has_its_class_and_cause_for_one_recipient_and_for_two() {
    use Cause::{Ambiguous, InvalidRecipient, InvalidSender, Policy, Quota, SmtpAuth, Throttled, Unknown};
    use Class::{Infrastructure, Limited, Permanent, Temporary};
    let table = [
        (At::Mail, "421 4.7.0 bye", Limited, Throttled),
        (At::Mail, "450 later", Temporary, Throttled),
        (At::Mail, "451 4.7.1 slow", Limited, Throttled),
        (At::Mail, "454 slow", Limited, Throttled),
        (At::Mail, "530 5.7.0 log in", Infrastructure, SmtpAuth),
        (At::Mail, "550 5.4.5 quota", Limited, Throttled),
        (At::Mail, "553 not you", Permanent, InvalidSender),
        (At::Rcpt, "421 bye", Limited, Throttled),
        (At::Rcpt, "450 later", Temporary, Throttled),
        (At::Rcpt, "452 full", Temporary, Throttled),
        (At::Rcpt, "550 5.1.1 who?", Permanent, InvalidRecipient),
        (At::Rcpt, "552 full", Permanent, Quota),
        (At::Data, "421 bye", Limited, Throttled),
        (At::Data, "451 later", Temporary, Throttled),
        (At::Data, "454 Throttling failure", Limited, Throttled),
        (At::Data, "554 no", Permanent, Unknown),
        (At::Dot, "432 4.3.2 slow", Limited, Throttled),
        (At::Dot, "451 later", Temporary, Throttled),
        (At::Dot, "554 5.7.1 spam", Permanent, Policy),
        (At::Dot, "250-ok", Class::Ambiguous, Ambiguous),
    ];
    for pipelining in [Pipelining::Within, Pipelining::Off] {
        for (at, reply, class, cause) in table {
            for recipients in [1, 2] {
                let acts =
                    if class == Class::Ambiguous { vec![say(reply), Act::Close] } else { vec![say(reply)] };
                let server = Script::new().on(at, acts).start();
                let mut connection = open(&Smtp { pipelining, ..settings(&server) }).await.expect("open");
                for outcome in send(&mut connection, &email(recipients)).await {
                    let failure = failure(&outcome);
                    let what = format!("{at:?} {reply} {recipients} {pipelining:?}: {failure:?}");
                    let stage = STEPS.iter().find(|(step, _)| *step == at).expect("a step").1;
                    assert_eq!(
                        (failure.stage, failure.class, failure.cause),
                        (stage, class, cause),
                        "{what}"
                    );
                    if class != Class::Ambiguous {
                        assert_eq!(failure.reason, reply, "{what}");
                    }
                }
                let closing = reply.starts_with("421") || class == Class::Ambiguous;
                assert_eq!(connection.is_usable(), !closing, "{at:?} {reply}");
            }
        }
    }
}

#[tokio::test]
async fn whatever_goes_wrong_with_an_e_mail_has_its_stage_and_class() {
    let mishaps = [
        (vec![Act::Close], "Connection "),
        (vec![Act::Reset], "Connection "),
        (vec![Act::Silence], "Connection timed out (stage "),
        (vec![Act::Repeat(b"250-and so on\r\n".to_vec())], ""),
        (vec![Act::Repeat(b"250 a".to_vec())], ""),
        (vec![say("what?")], ""),
        (vec![say("220 what?")], ""),
        (vec![Act::Say(b"\xff\xfe\x00\r\n".to_vec())], ""),
    ];
    for (at, stage) in STEPS {
        for (acts, reason) in &mishaps {
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
                    let class = if failure.stage == Stage::FinalDot {
                        Class::Ambiguous
                    } else {
                        Class::Infrastructure
                    };
                    assert_eq!(failure.class, class, "{what}");
                    assert!(failure.reason.starts_with(reason), "{what}");
                }
                // Some that speak out of turn take the e-mail all the same: that is what is ambiguous.
                assert!(at == At::Text || server.log().taken().is_empty(), "{what}");
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
async fn a_connection_is_given_up_before_the_relay_loses_patience_with_refusals() {
    let server = Script::new().on(At::Rcpt, vec![say("550 5.1.1 no")]).start();
    let mut connection = open(&settings(&server)).await.expect("open");
    let mut sent = 0;
    while connection.is_usable() {
        send(&mut connection, &email(1)).await;
        sent += 1;
        assert!(sent < 10, "Postfix slows down at ten refusals");
    }
    // Each costs two refused commands: RCPT, and the DATA that went with it.
    assert_eq!(sent, 4);
}

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
