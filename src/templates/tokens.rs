//! The tags of a Jinja source as words, strings and signs: enough to see which names a template uses.

/// One `{{ … }}` or `{% … %}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    /// `{% … %}`
    pub is_block: bool,
    pub tokens: Vec<Token<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// From 1.
    pub line: usize,
    pub kind: TokenKind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind<'a> {
    /// A name, a keyword or a number.
    Word(&'a str),
    /// A string literal, as it is written between its quotes.
    Text(&'a str),
    Sign(u8),
}

/// The engine reads a tag, and a row of elifs, by recursion without a limit of its own: with more than these its
/// stack could overflow, which ends the process.
const MAX_TOKENS_OF_A_TAG: usize = 1000;
const MAX_ELIFS: usize = 200;
/// Each may nest a value one level deeper (`{% set x = [x] %}`), and values are freed by recursion, too.
const MAX_BRACKETS: usize = 5000;

/// The line of what must not be given to the engine, and what it is; none where all may be.
pub(super) fn excess(source: &str) -> Option<(usize, String)> {
    let (mut elifs, mut brackets) = (0, 0);
    for Tag { is_block, tokens } in tags(source) {
        let line = tokens.first().map_or(1, |token| token.line);
        if tokens.len() > MAX_TOKENS_OF_A_TAG {
            return Some((line, format!("a tag of more than {MAX_TOKENS_OF_A_TAG} words and signs")));
        }
        elifs += usize::from(
            is_block && tokens.first().is_some_and(|token| token.kind == TokenKind::Word("elif")),
        );
        if elifs > MAX_ELIFS {
            return Some((line, format!("more than {MAX_ELIFS} elifs in one file")));
        }
        let opens = |token: &&Token<'_>| matches!(token.kind, TokenKind::Sign(b'[' | b'{'));
        brackets += tokens.iter().filter(opens).count();
        if brackets > MAX_BRACKETS {
            return Some((
                line,
                format!("more than {MAX_BRACKETS} opening brackets in the tags of one file"),
            ));
        }
    }
    None
}

/// The tags of `source`; of what is no Jinja anything may be made.
pub(super) fn tags(source: &str) -> Vec<Tag<'_>> {
    let mut tags = Vec::new();
    let mut cursor = Cursor { source, at: 0, line: 1 };
    while let Some(open) = cursor.next_opening() {
        match open {
            b'#' => cursor.skip_behind("#}"),
            b'%' => {
                let tag = Tag { is_block: true, tokens: cursor.tokens(b'%') };
                if let [Token { kind: TokenKind::Word("raw"), .. }] = tag.tokens[..] {
                    cursor.skip_raw();
                } else {
                    tags.push(tag);
                }
            }
            _ => tags.push(Tag { is_block: false, tokens: cursor.tokens(b'}') }),
        }
    }
    tags
}

struct Cursor<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.source.as_bytes()[self.at..]
    }

    fn advance(&mut self, by: usize) {
        let passed = &self.rest()[..by];
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.at += by;
    }

    /// Goes behind the next `{{`, `{%` or `{#`; returns its second byte.
    fn next_opening(&mut self) -> Option<u8> {
        let is_opening = |pair: &[u8]| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#');
        let at = self.rest().windows(2).position(is_opening)?;
        let open = self.rest()[at + 1];
        self.advance(at + 2);
        Some(open)
    }

    fn skip_behind(&mut self, end: &str) {
        let end = self.source[self.at..].find(end).map_or(self.rest().len(), |at| at + end.len());
        self.advance(end);
    }

    fn skip_raw(&mut self) {
        while let Some(open) = self.next_opening() {
            let rest = self.source[self.at..].trim_start_matches(['-', '+']).trim_start();
            if open == b'%' && rest.starts_with("endraw") {
                return self.skip_behind("%}");
            }
        }
    }

    /// The tokens up to the tag's end, `%}` or `}}`; the cursor goes behind it.
    fn tokens(&mut self, end: u8) -> Vec<Token<'a>> {
        let mut tokens = Vec::new();
        // A brace of a map is not the end of the tag.
        let mut open = 0_usize;
        while let Some(&byte) = self.rest().first() {
            if open == 0 && self.rest().starts_with(&[end, b'}']) {
                self.advance(2);
                break;
            }
            let line = self.line;
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
            let kind = match byte {
                b'"' | b'\'' => TokenKind::Text(self.string(byte)),
                byte if is_word(&byte) => {
                    let length = self.rest().iter().take_while(|byte| is_word(byte)).count();
                    let word = &self.source[self.at..self.at + length];
                    self.advance(length);
                    TokenKind::Word(word)
                }
                byte => {
                    self.advance(1);
                    match byte {
                        b'(' | b'[' | b'{' => open += 1,
                        b')' | b']' | b'}' => open = open.saturating_sub(1),
                        _ => {}
                    }
                    TokenKind::Sign(byte)
                }
            };
            if !matches!(kind, TokenKind::Sign(byte) if byte.is_ascii_whitespace()) {
                tokens.push(Token { line, kind });
            }
        }
        // What stands at the border (`{%-`, `-%}`) trims white space.
        let trims = |token: &Token| matches!(token.kind, TokenKind::Sign(b'-' | b'+'));
        if tokens.last().is_some_and(trims) {
            tokens.pop();
        }
        if tokens.first().is_some_and(trims) {
            tokens.remove(0);
        }
        tokens
    }

    /// The string that begins at the cursor with `quote`, without its quotes.
    fn string(&mut self, quote: u8) -> &'a str {
        let inner = &self.rest()[1..];
        let mut escaped = false;
        let length = inner.iter().position(|byte| {
            let closes = *byte == quote && !escaped;
            escaped = *byte == b'\\' && !escaped;
            closes
        });
        let length = length.unwrap_or(inner.len());
        let text = &self.source[self.at + 1..self.at + 1 + length];
        self.advance((length + 2).min(self.rest().len()));
        text
    }
}
