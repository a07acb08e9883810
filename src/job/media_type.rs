//! Media types (RFC 2045, section 5.1): `type/subtype` and parameters.

use std::borrow::Cow;

use super::address::end_of_quoted;

const MAX_BYTES: usize = 256;
const DEFAULT: &str = "application/octet-stream";

/// What a file is, checked so that it can stand in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// `type/subtype`, two tokens.
    pub essence: Cow<'a, str>,
    /// `name=value` each, the value a token or a quoted string as it stands; no name twice, and never `name`,
    /// which is the file's.
    pub parameters: Vec<Cow<'a, str>>,
}

impl Default for MediaType<'_> {
    fn default() -> Self {
        MediaType { essence: Cow::Borrowed(DEFAULT), parameters: Vec::new() }
    }
}

impl<'a> MediaType<'a> {
    /// Reads `image/png` or `text/plain; charset="utf-8"`, spaces allowed around `;`. A composite type
    /// (`multipart`, `message`), which may not be base64 (RFC 2045, section 6.4), becomes the default.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that names the place.
    pub fn parse(text: &'a str) -> Result<MediaType<'a>, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("is longer than 256 bytes");
        }
        let end = text.find(';').unwrap_or(text.len());
        let (essence, mut rest) = (text[..end].trim_matches(' '), &text[end..]);
        let (kind, subtype) = essence.split_once('/').ok_or("is not a media type such as image/png")?;
        if !is_token(kind) || !is_token(subtype) {
            return Err("is not a media type such as image/png");
        }
        let mut names: Vec<&str> = Vec::new();
        let mut parameters = Vec::new();
        while let Some(behind) = rest.strip_prefix(';') {
            let (name, parameter, behind) = parameter(behind.trim_start_matches(' '))?;
            if names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err("has a parameter twice");
            }
            names.push(name);
            // RFC 2231 writes `name*`, `name*0` and so on.
            if !name.split('*').next().unwrap_or_default().eq_ignore_ascii_case("name") {
                parameters.push(Cow::Borrowed(parameter));
            }
            rest = behind.trim_start_matches(' ');
        }
        if !rest.is_empty() {
            return Err("has something behind a parameter that is none");
        }
        Ok(match kind.eq_ignore_ascii_case("multipart") || kind.eq_ignore_ascii_case("message") {
            true => MediaType::default(),
            false => MediaType { essence: Cow::Borrowed(essence), parameters },
        })
    }

    /// The same, apart from the text it was read from.
    pub fn into_owned(self) -> MediaType<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let essence = match &*self.essence {
            DEFAULT => Cow::Borrowed(DEFAULT),
            _ => owned(self.essence),
        };
        MediaType { essence, parameters: self.parameters.into_iter().map(owned).collect() }
    }
}

/// The parameter that `text` begins with: its name, all of it, and what stands behind.
fn parameter(text: &str) -> Result<(&str, &str, &str), &'static str> {
    const BAD: &str = "has a parameter that is not name=value";
    let (name, value) = text.split_once('=').ok_or(BAD)?;
    let length = match value.strip_prefix('"') {
        None => value.find([';', ' ']).unwrap_or(value.len()),
        Some(quoted) => 1 + end_of_quoted(quoted).ok_or("has a quote that is never closed")?,
    };
    let is_fit = if value.starts_with('"') {
        value[..length].bytes().all(|byte| (b' '..=b'~').contains(&byte))
    } else {
        is_token(&value[..length])
    };
    if !is_token(name) || !is_fit {
        return Err(BAD);
    }
    let (whole, behind) = text.split_at(name.len() + 1 + length);
    Ok((name, whole, behind))
}

/// RFC 2045, section 5.1.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_read_with_their_parameters() {
        let long = format!("text/{}", "x".repeat(251));
        let cases: [(&str, &str, &[&str]); 12] = [
            ("image/png", "image/png", &[]),
            (" image/png ", "image/png", &[]),
            ("Text/Plain;charset=UTF-8", "Text/Plain", &["charset=UTF-8"]),
            (
                "text/csv ; charset=\"utf-8\" ; header=present",
                "text/csv",
                &["charset=\"utf-8\"", "header=present"],
            ),
            ("text/calendar; method=REQUEST", "text/calendar", &["method=REQUEST"]),
            ("a/b; x=\"a;\\\"b=c\"; y=z", "a/b", &["x=\"a;\\\"b=c\"", "y=z"]),
            ("application/vnd.ms-excel.sheet+xml", "application/vnd.ms-excel.sheet+xml", &[]),
            ("application/pdf; name=\"x.pdf\"; NAME*0=x; a=b", "application/pdf", &["a=b"]),
            ("multipart/mixed; boundary=x", "application/octet-stream", &[]),
            ("message/rfc822", "application/octet-stream", &[]),
            ("Message/Partial", "application/octet-stream", &[]),
            (&long, &long, &[]),
        ];
        for (text, essence, parameters) in cases {
            let read = MediaType::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(
                (&*read.essence, &*read.parameters),
                (essence, &*parameters.iter().map(|p| Cow::Borrowed(*p)).collect::<Vec<_>>()),
                "{text}"
            );
            assert_eq!(read.clone().into_owned(), read);
        }
    }

    #[test]
    fn what_is_no_media_type_is_refused() {
        let long = format!("text/{}", "x".repeat(252));
        let cases = [
            "",
            "image",
            "image/",
            "/png",
            "image/png/x",
            "image png",
            "image/p ng",
            "image/ png",
            "image/png;",
            "image/png; charset",
            "image/png; =x",
            "image/png; a=",
            "image/png; a=b c",
            "image/png; a=b=c",
            "image/png; a=\"b",
            "image/png; a=\"b\"c",
            "image/png; a =b",
            "image/png; a=b; A=c",
            "image/png, text/plain",
            "text/plän",
            "text/plain; a=ä",
            "text/plain; a=\"ä\"",
            "text/plain\r\nBcc: x@y.z",
            "text/plain; a=\"b\r\n\"",
            "text/plain (comment)",
            &long,
        ];
        for text in cases {
            assert!(MediaType::parse(text).is_err(), "{text:?}");
        }
    }
}
