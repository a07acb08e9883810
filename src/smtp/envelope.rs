//! The envelope of an e-mail: what can be told before it is offered, and its MAIL and RCPT commands.

use std::io::Write as _;

use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use mailroom_actors::ports::Email;

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
    let plain_header = email.data.is_ascii();
    if !extensions.smtputf8 {
        if !email.sender.is_ascii() {
            return refused(Cause::InvalidSender, needs_smtputf8("the sender's address"));
        }
        if !plain_header {
            return refused(Cause::InvalidRecipient, needs_smtputf8("an address in the header"));
        }
    }
    let plain_recipients = to.iter().all(|index| email.recipients[*index].is_ascii());
    Ok(Parameters {
        size: extensions.size.map(|_| size),
        smtputf8: extensions.smtputf8 && !(plain_header && plain_recipients && email.sender.is_ascii()),
        eight_bit_mime: extensions.eight_bit_mime && !plain_header,
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
