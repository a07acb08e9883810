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
/// (RFC 6531), and addresses that would end a command.
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
    if email.body_type == BodyType::EightBitMime && !extensions.eight_bit_mime {
        // The attempt composes for what the connection offers.
        return refused(Cause::Protocol, "the relay offers no 8BITMIME for an 8-bit body".into());
    }
    if !extensions.smtputf8 {
        if !email.sender.is_ascii() {
            return refused(Cause::InvalidSender, needs_smtputf8("the sender's address"));
        }
        if email.header_needs_smtputf8 {
            return refused(Cause::InvalidRecipient, needs_smtputf8("an address in the header"));
        }
    }
    let has_utf8_recipient = to.iter().any(|index| !email.recipients[*index].is_ascii());
    let needs_smtputf8 = email.header_needs_smtputf8 || has_utf8_recipient || !email.sender.is_ascii();
    let is_eight_bit = email.body_type == BodyType::EightBitMime || email.header_needs_smtputf8;
    Ok(Parameters {
        size: extensions.size.map(|_| size),
        smtputf8: extensions.smtputf8 && needs_smtputf8,
        eight_bit_mime: extensions.eight_bit_mime && is_eight_bit,
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
