//! The envelope of an e-mail: what can be told before it is offered, and its MAIL and RCPT commands.

use std::io::Write as _;

use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use mailroom_actors::ports::{BodyType, Email};

use super::ehlo::Extensions;

/// The parameters of `MAIL FROM` that this e-mail needs and this relay offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    size: Option<usize>,
    smtputf8: bool,
    eight_bit_mime: bool,
}

/// Checks all that concerns the whole e-mail against what the relay offers: SIZE (RFC 1870), SMTPUTF8
/// (RFC 6531), 8BITMIME (RFC 6152), and addresses that would end a command. `to` are those of its recipients
/// that it is offered to.
///
/// # Errors
/// The failure of the e-mail for all its recipients; no attempt is spent on it.
pub fn check(email: &Email, to: &[usize], extensions: &Extensions) -> Result<Parameters, Failure> {
    let refused = |cause, reason: String| Err(Failure::before_attempt(Stage::Render, cause, reason));
    if has_control(&email.sender) {
        return refused(Cause::InvalidSender, "a control character in the sender's address".into());
    }
    let size = email.data.len();
    if let Some(limit) = extensions.size
        && limit > 0
        && size as u64 > limit
    {
        return refused(
            Cause::TooLarge,
            format!("the e-mail has {size} bytes, the relay takes {limit} (SIZE)"),
        );
    }
    if !extensions.smtputf8 {
        if !email.sender.is_ascii() {
            return refused(Cause::InvalidSender, needs_smtputf8("the sender's address"));
        }
        if email.header_needs_smtputf8 {
            return refused(Cause::InvalidRecipient, needs_smtputf8("an address in the header"));
        }
    }
    let has_eight_bits = email.body_type == BodyType::EightBitMime;
    if has_eight_bits && !extensions.eight_bit_mime {
        // Whoever composes asks the connection first.
        let reason = "the e-mail is written for 8BITMIME, which the relay does not offer";
        return refused(Cause::Render, reason.into());
    }
    let plain_recipients = to.iter().all(|index| email.recipients[*index].is_ascii());
    let plain_header = email.sender.is_ascii() && !email.header_needs_smtputf8;
    Ok(Parameters {
        size: extensions.size.map(|_| size),
        smtputf8: extensions.smtputf8 && !(plain_header && plain_recipients),
        eight_bit_mime: extensions.eight_bit_mime && (has_eight_bits || email.header_needs_smtputf8),
    })
}

/// Checks what concerns one recipient alone.
///
/// # Errors
/// The failure of this recipient; no attempt is spent on it.
pub fn check_recipient(recipient: &str, extensions: &Extensions) -> Result<(), Failure> {
    let refused = |reason| Err(Failure::before_attempt(Stage::Render, Cause::InvalidRecipient, reason));
    if recipient.is_empty() || has_control(recipient) {
        return refused("an empty address, or a control character in it".to_owned());
    }
    if !recipient.is_ascii() && !extensions.smtputf8 {
        return refused(needs_smtputf8("the address"));
    }
    Ok(())
}

fn needs_smtputf8(what: &str) -> String {
    format!("{what} needs SMTPUTF8, which the relay does not offer")
}

fn has_control(address: &str) -> bool {
    address.chars().any(char::is_control)
}

/// Appends `MAIL FROM:<…>` with its parameters.
pub fn write_mail(out: &mut Vec<u8>, sender: &str, parameters: Parameters) {
    out.extend_from_slice(b"MAIL FROM:<");
    out.extend_from_slice(sender.as_bytes());
    out.push(b'>');
    if let Some(size) = parameters.size {
        write!(out, " SIZE={size}").expect("a Vec takes everything");
    }
    if parameters.eight_bit_mime {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if parameters.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `RCPT TO:<…>`.
pub fn write_rcpt(out: &mut Vec<u8>, recipient: &str) {
    out.extend_from_slice(b"RCPT TO:<");
    out.extend_from_slice(recipient.as_bytes());
    out.extend_from_slice(b">\r\n");
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOTHING: Extensions = Extensions {
        pipelining: false,
        size: None,
        smtputf8: false,
        eight_bit_mime: false,
        starttls: false,
        auth: None,
    };
    const SMTPUTF8: Extensions = Extensions { smtputf8: true, ..NOTHING };
    const EIGHT_BITS: Extensions = Extensions { eight_bit_mime: true, ..NOTHING };
    const BOTH: Extensions = Extensions { smtputf8: true, eight_bit_mime: true, ..NOTHING };

    /// An e-mail whose parts of these letters need more than ASCII: `s`ender, `h`eader, `b`ody, `r`ecipient.
    fn email(parts: &str) -> Email {
        let address = |letter: &str, plain: &str| {
            if parts.contains(letter) { format!("é{plain}") } else { plain.to_owned() }
        };
        Email {
            sender: address("s", "from@example.com"),
            recipients: vec!["a@example.com".into(), address("r", "b@example.com")],
            header_needs_smtputf8: parts.contains('h') || parts.contains('s'),
            body_type: if parts.contains('b') { BodyType::EightBitMime } else { BodyType::SevenBit },
            data: b"0123456789".to_vec(),
            ..Email::default()
        }
    }

    fn mail(parts: &str, to: &[usize], extensions: &Extensions) -> Result<String, Cause> {
        let email = email(parts);
        let parameters = check(&email, to, extensions).map_err(|failure| {
            assert_eq!((failure.stage, failure.spends_attempt), (Stage::Render, false));
            failure.cause
        })?;
        let mut out = Vec::new();
        write_mail(&mut out, &email.sender, parameters);
        let line = String::from_utf8(out).unwrap();
        Ok(line.trim_end().split_once('>').unwrap().1.to_owned())
    }

    #[test]
    fn parameters_are_given_where_they_are_needed_and_what_is_not_offered_is_refused() {
        let given = |text: &str| Ok(text.to_owned());
        let (utf8, eight, all) = (" SMTPUTF8", " BODY=8BITMIME", " BODY=8BITMIME SMTPUTF8");
        for (parts, nothing, smtputf8, eight_bits, both) in [
            ("", given(""), given(""), given(""), given("")),
            ("b", Err(Cause::Render), Err(Cause::Render), given(eight), given(eight)),
            ("h", Err(Cause::InvalidRecipient), given(utf8), Err(Cause::InvalidRecipient), given(all)),
            ("s", Err(Cause::InvalidSender), given(utf8), Err(Cause::InvalidSender), given(all)),
            ("sh", Err(Cause::InvalidSender), given(utf8), Err(Cause::InvalidSender), given(all)),
            (
                "hb",
                Err(Cause::InvalidRecipient),
                Err(Cause::Render),
                Err(Cause::InvalidRecipient),
                given(all),
            ),
            // That recipient alone is unfit where it is not offered.
            ("r", given(""), given(utf8), given(""), given(utf8)),
            ("rb", Err(Cause::Render), Err(Cause::Render), given(eight), given(all)),
        ] {
            for (extensions, expected) in
                [(&NOTHING, nothing), (&SMTPUTF8, smtputf8), (&EIGHT_BITS, eight_bits), (&BOTH, both)]
            {
                assert_eq!(mail(parts, &[0, 1], extensions), expected, "{parts} {extensions:?}");
            }
        }
        assert_eq!(mail("r", &[0], &BOTH), given(""), "nobody left needs it");
    }

    #[test]
    fn only_the_recipient_that_needs_smtputf8_is_unfit() {
        assert!(check_recipient("a@example.com", &NOTHING).is_ok());
        assert!(check_recipient("é@example.com", &SMTPUTF8).is_ok());
        let failure = check_recipient("é@example.com", &EIGHT_BITS).unwrap_err();
        assert_eq!((failure.stage, failure.cause), (Stage::Render, Cause::InvalidRecipient));
        assert!(!failure.reason.contains('é'));
    }

    #[test]
    fn the_size_is_told_and_kept() {
        let with = |size| Extensions { size: Some(size), ..NOTHING };
        assert_eq!(mail("", &[0], &with(0)), Ok(" SIZE=10".to_owned()));
        assert_eq!(mail("", &[0], &with(10)), Ok(" SIZE=10".to_owned()));
        assert_eq!(mail("", &[0], &with(9)), Err(Cause::TooLarge));
    }
}
