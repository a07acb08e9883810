//! Parameters of the Content headers: file names in whatever letters, short lines (RFC 2045, section 5.1; RFC 2231).

use std::fmt::Write as _;

use super::line::{Line, MAX_LINE};

/// What stands around a parameter on a line of its own: the space before it and the semicolon behind it.
const AROUND: usize = 2;

impl Line<'_> {
    /// Appends `; ` and the parameter, which stands as it is.
    pub fn parameter(&mut self, parameter: &str) -> &mut Self {
        self.push(";").space_before(parameter.len() + 1);
        self.push(parameter)
    }

    /// Appends the parameter `filename` of a Content-Disposition: in quotes where it is ASCII, else percent-encoded;
    /// a long one in sections.
    pub fn filename(&mut self, name: &str) {
        let is_plain = is_plain(name);
        let whole = if is_plain {
            format!("filename=\"{name}\"")
        } else {
            name.chars().fold("filename*=utf-8''".to_owned(), |mut whole, c| {
                push_percent_encoded(&mut whole, c);
                whole
            })
        };
        if whole.len() + AROUND <= MAX_LINE {
            self.parameter(&whole);
        } else {
            self.filename_in_sections(name, is_plain);
        }
    }

    /// RFC 2231, section 3. Each section holds whole characters.
    fn filename_in_sections(&mut self, name: &str, is_plain: bool) {
        let begin = |index: usize| match (is_plain, index) {
            (true, _) => format!("filename*{index}=\""),
            (false, 0) => "filename*0*=utf-8''".to_owned(),
            (false, _) => format!("filename*{index}*="),
        };
        let quote = if is_plain { "\"" } else { "" };
        let mut index = 0;
        let mut section = begin(index);
        let mut encoded = String::new();
        for c in name.chars() {
            encoded.clear();
            if is_plain {
                encoded.push(c)
            } else {
                push_percent_encoded(&mut encoded, c)
            }
            if section.len() + encoded.len() + quote.len() + AROUND > MAX_LINE {
                section.push_str(quote);
                self.parameter(&section);
                index += 1;
                section = begin(index);
            }
            section.push_str(&encoded);
        }
        section.push_str(quote);
        self.parameter(&section);
    }

    /// Appends the parameter `name` of a Content-Type, which older programs show in place of `filename`: in quotes,
    /// within them as encoded words where it is not plain. No standard has that; all but the strictest read it.
    pub fn name(&mut self, name: &str) {
        let whole = format!("name=\"{name}\"");
        if is_plain(name) && whole.len() + AROUND <= MAX_LINE {
            self.parameter(&whole);
            return;
        }
        self.push(";").fold();
        self.push("name=\"").push_encoded(name);
        self.push("\"");
    }
}

/// Whether the name can stand in quotes so that every reader takes exactly it.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\'))
        && !name.contains("=?")
        && name.trim_matches(' ').len() == name.len()
}

/// All but letters, digits and the signs that RFC 2231 (attribute-char) and RFC 5987 leave as they are.
fn push_percent_encoded(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() || "!#$&+-.^_`|~".contains(c) {
        return out.push(c);
    }
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        write!(out, "%{byte:02X}").expect("a String takes everything");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn filename(name: &str) -> String {
        let mut out = Vec::new();
        let mut line = Line::begin(&mut out, "Content-Disposition");
        line.push("attachment").filename(name);
        line.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn file_names_are_quoted_percent_encoded_or_in_sections() {
        let cases = [
            ("report.pdf", "attachment; filename=\"report.pdf\""),
            ("a b (1).pdf", "attachment; filename=\"a b (1).pdf\""),
            ("50%;x='y'.txt", "attachment; filename=\"50%;x='y'.txt\""),
            ("Größe.pdf", "attachment; filename*=utf-8''Gr%C3%B6%C3%9Fe.pdf"),
            ("a\"b.txt", "attachment; filename*=utf-8''a%22b.txt"),
            (" a", "attachment; filename*=utf-8''%20a"),
            ("=?utf-8?B?eA==?=", "attachment;\r\n filename*=utf-8''%3D%3Futf-8%3FB%3FeA%3D%3D%3F%3D"),
            ("it's*é", "attachment; filename*=utf-8''it%27s%2A%C3%A9"),
        ];
        for (name, expected) in cases {
            assert_eq!(filename(name), format!("Content-Disposition: {expected}\r\n"));
        }
        assert_eq!(
            filename(&format!("{}.pdf", "x".repeat(80))),
            format!(
                "Content-Disposition: attachment;\r\n filename*0=\"{}\";\r\n filename*1=\"{}.pdf\"\r\n",
                "x".repeat(61),
                "x".repeat(19)
            )
        );
    }

    #[test]
    fn no_line_of_a_parameter_is_over_76_columns_however_long_the_name() {
        for name in ["ü".repeat(3000), "x y".repeat(2000), "😀\"".repeat(500), "日本語".repeat(50)] {
            let mut out = Vec::new();
            let mut line = Line::begin(&mut out, "Content-Type");
            line.push("application/octet-stream").name(&name);
            line.end();
            for written in [filename(&name), String::from_utf8(out).unwrap()] {
                assert!(written.is_ascii() && written.lines().all(|line| line.len() <= 76), "{written}");
                assert!(written.lines().skip(1).all(|line| line.starts_with(' ')));
            }
        }
    }
}
