//! E-mail addresses (RFC 5321, section 4.1.2) and mailboxes, an address with the name of its owner.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest address that fits a path with its angle brackets: RFC 5321, section 4.5.3.1.3.
const MAX_ADDRESS_BYTES: usize = 254;
/// RFC 5321, section 4.5.3.1.1.
const MAX_LOCAL_BYTES: usize = 64;

/// One bare address, checked; its domain is ASCII (A-labels).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
    at: usize,
}

impl Address {
    /// Reads `local@domain`: a dot-atom or quoted string, then a domain (U-labels become A-labels) or an
    /// address literal.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that names the place; never the address itself.
    pub fn parse(text: &str) -> Result<Address, &'static str> {
        if has_control(text) {
            return Err("holds a control character");
        }
        let at = match text.strip_prefix('"') {
            Some(quoted) => 1 + end_of_quoted(quoted).ok_or("has a quote that is never closed")?,
            None => text.rfind('@').ok_or("is not an e-mail address: there is no @")?,
        };
        let (local, domain) = text.split_at(at);
        let domain = domain.strip_prefix('@').ok_or("is not an e-mail address: there is no @")?;
        check_local(local)?;
        let text = match ascii_domain(domain)? {
            None => text.to_owned(),
            Some(ascii) => format!("{local}@{ascii}"),
        };
        if text.len() > MAX_ADDRESS_BYTES {
            return Err("is not an e-mail address: it is longer than 254 bytes");
        }
        Ok(Address { text, at })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn into_string(self) -> String {
        self.text
    }

    /// All before the `@`, quotes included.
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }

    /// All behind the `@`, brackets of a literal included.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// Whether both reach the same mailbox: domains compare without case, local parts with it.
    pub fn is_same(&self, other: &Address) -> bool {
        self.local() == other.local() && self.domain().eq_ignore_ascii_case(other.domain())
    }

    /// Whether it can only be sent by SMTPUTF8 (RFC 6531): its local part is not ASCII.
    pub fn needs_smtputf8(&self) -> bool {
        !self.text.is_ascii()
    }
}

/// An address and, perhaps, the name to show for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Not empty, no white space around it, no control character.
    pub name: Option<String>,
    pub address: Address,
}

impl Mailbox {
    /// Reads `a@b.c`, `<a@b.c>`, `Ada <a@b.c>` or `"Lovelace, Ada" <a@b.c>`, spaces around it allowed.
    ///
    /// # Errors
    /// As [`Address::parse`]; also for a list in one string.
    pub fn parse(text: &str) -> Result<Mailbox, &'static str> {
        if has_control(text) {
            return Err("holds a control character");
        }
        let text = text.trim_matches(' ');
        let Some(inner) = text.strip_suffix('>') else {
            return Ok(Mailbox { name: None, address: Address::parse(text)? });
        };
        let (name, rest) = match inner.strip_prefix('"') {
            Some(quoted) => {
                let end = end_of_quoted(quoted).ok_or("has a quote that is never closed")?;
                (unquoted(&quoted[..end - 1]), &quoted[end..])
            }
            None => {
                let open = inner.find('<').ok_or("is not an e-mail address: there is no <")?;
                (inner[..open].to_owned(), &inner[open..])
            }
        };
        let is_quoted = inner.starts_with('"');
        if !is_quoted && name.contains([',', ';', '>']) {
            return Err("holds several addresses, or a name that must be quoted; give an array of \
                        addresses, or an object with email and name");
        }
        if !is_quoted && name.contains('"') {
            return Err("has a name that is quoted in part; quote the whole name, or give an object with \
                        email and name");
        }
        let address = rest.trim_start_matches(' ').strip_prefix('<');
        let address = address.ok_or("is not an e-mail address: there is no < behind the name")?;
        Mailbox::from_parts(Some(&name), address)
    }

    /// A mailbox of a name as it is to be shown and a bare address.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn from_parts(name: Option<&str>, address: &str) -> Result<Mailbox, &'static str> {
        let name = name.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Mailbox { name, address: Address::parse(address)? })
    }
}

/// C0, DEL, C1 and the two Unicode line ends: nothing that goes into a header may hold one.
pub fn has_control(text: &str) -> bool {
    text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

/// How many bytes of `text`, which stands behind an opening quote, are up to and with the closing one.
pub(super) fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes()
        .position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        })
        .map(|at| at + 1)
}

fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

fn check_local(local: &str) -> Result<(), &'static str> {
    if local.len() > MAX_LOCAL_BYTES {
        return Err("is not an e-mail address: more than 64 bytes before the @");
    }
    if let Some(quoted) = local.strip_prefix('"') {
        return match quoted {
            "\"" => Err("is not an e-mail address: nothing before the @"),
            _ => Ok(()),
        };
    }
    if local.is_empty() {
        return Err("is not an e-mail address: nothing before the @");
    }
    if local.contains([',', ';']) {
        return Err("holds several addresses; give an array of addresses");
    }
    if local.split('.').any(str::is_empty) {
        return Err("is not an e-mail address: a dot too many before the @");
    }
    let is_atext = |c: char| {
        c.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~.".contains(c)
            || (!c.is_ascii() && !c.is_whitespace())
    };
    match local.chars().all(is_atext) {
        true => Ok(()),
        false => Err("is not an e-mail address: a character that must not stand before the @ unquoted"),
    }
}

/// The domain as A-labels; none where it is ASCII already.
fn ascii_domain(domain: &str) -> Result<Option<String>, &'static str> {
    const BAD_DOMAIN: &str = "is not an e-mail address: the domain behind the @ is not one";
    if let Some(literal) = domain.strip_prefix('[') {
        let literal = literal.strip_suffix(']').ok_or(BAD_DOMAIN)?;
        let is_address = match literal.strip_prefix("IPv6:") {
            Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
            None => literal.parse::<Ipv4Addr>().is_ok(),
        };
        return if is_address { Ok(None) } else { Err(BAD_DOMAIN) };
    }
    let ascii = match domain.is_ascii() {
        true => None,
        false => Some(idna::domain_to_ascii_strict(domain).map_err(|_| BAD_DOMAIN)?),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    match ascii.as_deref().unwrap_or(domain).split('.').all(is_label) {
        true => Ok(ascii),
        false => Err(BAD_DOMAIN),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
