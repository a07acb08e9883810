//! Takes the addresses out of texts that go into health answers.

/// `text` with the local part of each e-mail address cut to its first character: `a***@example.com`.
pub(super) fn mask_text(text: &str) -> String {
    let ends_address =
        |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '\'' | '(' | ')' | ',' | ';' | ':');
    text.split_inclusive(ends_address).map(mask_word).collect()
}

fn mask_word(word: &str) -> String {
    match (word.rsplit_once('@'), word.chars().next()) {
        (Some((local, domain)), Some(first)) if !local.is_empty() => format!("{first}***@{domain}"),
        _ => word.to_owned(),
    }
}
