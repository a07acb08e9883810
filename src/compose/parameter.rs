//! The name of a file as parameters of Content headers, for readers of every age.

use super::header::{encoded_word, quoted};

/// Longer names, and others than printable ASCII, are written as RFC 2231 has it.
const MAX_QUOTED: usize = 60;
/// So many characters of an encoded value stand in one line.
const MAX_SECTION: usize = 54;

/// `filename`, as a quoted string or by RFC 2231: what every present mail program reads.
pub fn filename(name: &str) -> Vec<String> {
    if is_plain(name) {
        return vec![format!("filename={}", quoted(name))];
    }
    let sections = sections(name);
    match &sections[..] {
        [only] => vec![format!("filename*=utf-8''{only}")],
        _ => {
            let numbered = sections.iter().enumerate();
            numbered
                .map(|(number, section)| {
                    let charset = if number == 0 { "utf-8''" } else { "" };
                    format!("filename*{number}*={charset}{section}")
                })
                .collect()
        }
    }
}

/// `name`, the older one that stands beside the media type, for programs that don't know RFC 2231: in the form that mail
/// programs have always written, an encoded word between quotes. None where it would take more than one word.
pub fn name(name: &str) -> Option<String> {
    if is_plain(name) {
        return Some(format!("name={}", quoted(name)));
    }
    encoded_word(name).map(|word| format!("name=\"{word}\""))
}

/// Whether every program reads it as it stands between quotes.
fn is_plain(name: &str) -> bool {
    name.len() <= MAX_QUOTED && name.bytes().all(|b| (b' '..=b'~').contains(&b)) && !name.contains("=?")
}

/// The name percent-encoded, cut between its characters.
fn sections(name: &str) -> Vec<String> {
    let mut sections = vec![String::new()];
    let mut bytes = [0; 4];
    for c in name.chars() {
        let encoded: String = if c.is_ascii_alphanumeric() || "-._~".contains(c) {
            c.into()
        } else {
            c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
        };
        let last = sections.last_mut().expect("there is always one");
        if last.len() + encoded.len() > MAX_SECTION {
            sections.push(encoded);
        } else {
            last.push_str(&encoded);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_quoted_and_others_encoded() {
        let cases: [(&str, &[&str]); 4] = [
            ("report 1.pdf", &["filename=\"report 1.pdf\""]),
            ("a\";b=c\\", &["filename=\"a\\\";b=c\\\\\""]),
            ("Prüfung 1.pdf", &["filename*=utf-8''Pr%C3%BCfung%201.pdf"]),
            ("=?x?=", &["filename*=utf-8''%3D%3Fx%3F%3D"]),
        ];
        for (name, expected) in cases {
            assert_eq!(filename(name), expected, "{name}");
        }
        assert_eq!(super::name("a.pdf").as_deref(), Some("name=\"a.pdf\""));
        assert_eq!(super::name("ä").as_deref(), Some("name=\"=?utf-8?B?w6Q=?=\""));
        assert_eq!(super::name(&"ä".repeat(100)), None);
    }

    #[test]
    fn long_names_are_continued() {
        let parameters = filename(&"длинное имя ".repeat(20));
        assert!(parameters.len() > 10);
        assert!(parameters[0].starts_with("filename*0*=utf-8''%D0%B4"), "{}", parameters[0]);
        assert!(parameters[1].starts_with("filename*1*=%D"), "{}", parameters[1]);
        assert!(parameters.iter().all(|parameter| parameter.len() < 76));
    }
}
