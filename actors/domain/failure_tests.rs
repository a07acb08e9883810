//! The contract's tables (sections 3 and 4), row by row.

use super::*;

fn reply(code: u16, enhanced: &str) -> Reply {
    let enhanced = EnhancedCode::split_from(enhanced).map(|(code, _)| code);
    Reply { code, enhanced, text: "text".into() }
}

fn cause(stage: Stage, code: u16, enhanced: &str) -> Cause {
    Failure::replied(stage, &reply(code, enhanced)).cause
}

fn class(stage: Stage, code: u16, enhanced: &str) -> Class {
    Failure::replied(stage, &reply(code, enhanced)).class
}

#[test]
fn every_row_of_the_cause_table_names_its_cause() {
    let rows = [
        (Stage::Auth, 535, "5.7.8", Cause::SmtpAuth),
        (Stage::Auth, 451, "", Cause::SmtpAuth),
        (Stage::Greeting, 554, "", Cause::SmtpUnreachable),
        (Stage::Ehlo, 550, "5.7.30", Cause::SmtpUnreachable),
        (Stage::Tls, 454, "", Cause::SmtpUnreachable),
        (Stage::Mail, 530, "5.7.0", Cause::SmtpAuth),
        (Stage::Rcpt, 535, "", Cause::SmtpAuth),
        (Stage::Rcpt, 421, "", Cause::Throttled),
        (Stage::FinalDot, 554, "5.3.2", Cause::Throttled),
        (Stage::Rcpt, 452, "4.4.5", Cause::Throttled),
        (Stage::Rcpt, 550, "5.1.1", Cause::InvalidRecipient),
        (Stage::FinalDot, 550, "5.1.3", Cause::InvalidRecipient),
        (Stage::Rcpt, 550, "5.1.2", Cause::BadDomain),
        (Stage::Rcpt, 556, "5.1.10", Cause::BadDomain),
        (Stage::Rcpt, 450, "4.4.4", Cause::BadDomain),
        (Stage::Rcpt, 550, "5.2.1", Cause::InactiveMailbox),
        (Stage::Rcpt, 452, "4.2.2", Cause::Quota),
        (Stage::FinalDot, 552, "5.2.3", Cause::Quota),
        (Stage::FinalDot, 452, "4.3.1", Cause::Quota),
        (Stage::Mail, 550, "5.1.7", Cause::InvalidSender),
        (Stage::FinalDot, 552, "5.3.4", Cause::TooLarge),
        (Stage::Rcpt, 450, "4.2.1", Cause::Throttled),
        (Stage::Rcpt, 451, "4.7.1", Cause::Throttled),
        (Stage::Rcpt, 550, "5.7.1", Cause::Policy),
        (Stage::Mail, 503, "5.5.1", Cause::Protocol),
        (Stage::Rcpt, 550, "", Cause::InvalidRecipient),
        (Stage::Rcpt, 551, "", Cause::InvalidRecipient),
        (Stage::Rcpt, 553, "", Cause::InvalidRecipient),
        (Stage::Mail, 550, "", Cause::InvalidSender),
        (Stage::FinalDot, 552, "", Cause::Quota),
        (Stage::Mail, 432, "", Cause::Throttled),
        (Stage::Data, 454, "", Cause::Throttled),
        (Stage::Rcpt, 454, "", Cause::Unknown),
        (Stage::Rcpt, 451, "", Cause::Throttled),
        (Stage::FinalDot, 554, "", Cause::Unknown),
    ];
    for (stage, code, enhanced, expected) in rows {
        assert_eq!(cause(stage, code, enhanced), expected, "{stage} {code} {enhanced}");
    }
}

#[test]
fn every_row_of_the_class_table_names_whose_failure_it_is() {
    let rows = [
        (Stage::Greeting, 421, "", Class::Infrastructure),
        (Stage::Auth, 550, "5.7.30", Class::Infrastructure),
        (Stage::Auth, 454, "", Class::Infrastructure),
        (Stage::Rcpt, 530, "", Class::Infrastructure),
        (Stage::FinalDot, 534, "", Class::Infrastructure),
        (Stage::Rcpt, 421, "", Class::Limited),
        (Stage::Rcpt, 550, "5.4.5", Class::Limited),
        (Stage::Mail, 432, "", Class::Limited),
        (Stage::Data, 454, "", Class::Limited),
        (Stage::FinalDot, 554, "5.3.2", Class::Limited),
        (Stage::Rcpt, 454, "", Class::Temporary),
        (Stage::Rcpt, 550, "5.3.2", Class::Permanent),
        (Stage::Mail, 450, "4.7.1", Class::Limited),
        (Stage::Rcpt, 451, "4.7.1", Class::Temporary),
        (Stage::FinalDot, 451, "", Class::Temporary),
        (Stage::Mail, 550, "", Class::Permanent),
        (Stage::Rcpt, 550, "5.1.1", Class::Permanent),
        (Stage::FinalDot, 552, "", Class::Permanent),
    ];
    for (stage, code, enhanced, expected) in rows {
        assert_eq!(class(stage, code, enhanced), expected, "{stage} {code} {enhanced}");
    }
}

#[test]
fn without_a_reply_it_is_infrastructure_before_the_dot_and_ambiguous_after_it() {
    for stage in [
        Stage::Connect,
        Stage::Greeting,
        Stage::Ehlo,
        Stage::Tls,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Body,
    ] {
        for failure in
            [Failure::timed_out(stage), Failure::lost(stage, "reset"), Failure::senseless(stage, "xyz")]
        {
            assert_eq!(failure.class, Class::Infrastructure, "{failure:?}");
            assert_ne!(failure.cause, Cause::Ambiguous, "{failure:?}");
        }
        assert_eq!(Failure::timed_out(stage).cause, Cause::SmtpUnreachable);
    }
    for failure in [
        Failure::timed_out(Stage::FinalDot),
        Failure::lost(Stage::FinalDot, "reset"),
        Failure::senseless(Stage::FinalDot, "354"),
    ] {
        assert_eq!((failure.class, failure.cause), (Class::Ambiguous, Cause::Ambiguous), "{failure:?}");
    }
    assert_eq!(Failure::senseless(Stage::Mail, "354").cause, Cause::Protocol);
    assert!(Failure::timed_out(Stage::Rcpt).reason.starts_with("Connection timed out"));
    assert!(Failure::timed_out(Stage::Rcpt).reason.contains("rcpt"));
}

#[test]
fn a_used_connections_end_is_not_the_e_mails_failure() {
    assert!(Failure::replied(Stage::Rcpt, &reply(421, "")).is_the_connections());
    assert!(Failure::replied(Stage::Mail, &reply(452, "4.5.3")).is_the_connections());
    assert!(Failure::lost(Stage::Mail, "closed").is_the_connections());
    assert!(!Failure::replied(Stage::Rcpt, &reply(452, "")).is_the_connections());
    assert!(!Failure::replied(Stage::Mail, &reply(550, "")).is_the_connections());
    assert!(!Failure::timed_out(Stage::Mail).is_the_connections());
    assert!(!Failure::lost(Stage::FinalDot, "closed").is_the_connections());
}

#[test]
fn a_reply_in_words_has_each_code_once() {
    assert_eq!(reply(550, "5.1.1").to_string(), "550 5.1.1 text");
    assert_eq!(reply(550, "").to_string(), "550 text");
}
