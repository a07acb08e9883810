//! Texts that many letters share, each kept once.

use std::collections::HashMap;
use std::sync::Arc;

/// Stands for a text of one [`Texts`]; 0 is the empty one.
pub type Symbol = u32;

/// The texts and their symbols. Never forgets: what comes in must be bounded or masked before.
#[derive(Clone, Debug)]
pub struct Texts {
    texts: Vec<Arc<str>>,
    symbols: HashMap<Arc<str>, Symbol>,
}

/// What comes in may be anything, and is kept for ever.
const MAX_BYTES: usize = 200;
/// Of more different texts than this the rest is one: [`Texts::OTHERS`].
const MAX_TEXTS: usize = 200_000;

impl Default for Texts {
    fn default() -> Texts {
        let mut texts = Texts { texts: Vec::new(), symbols: HashMap::new() };
        texts.symbol("");
        texts
    }
}

impl Texts {
    /// What stands for texts that there is no more room for.
    pub const OTHERS: &str = "(others)";

    /// Of a long text its beginning counts.
    pub fn symbol(&mut self, text: &str) -> Symbol {
        let text = beginning(text);
        if let Some(symbol) = self.symbols.get(text) {
            return *symbol;
        }
        if self.texts.len() >= MAX_TEXTS && text != Texts::OTHERS {
            return self.symbol(Texts::OTHERS);
        }
        let text: Arc<str> = text.into();
        let symbol = self.texts.len() as Symbol;
        self.texts.push(Arc::clone(&text));
        self.symbols.insert(text, symbol);
        symbol
    }

    /// None where nothing has that text.
    pub fn find(&self, text: &str) -> Option<Symbol> {
        self.symbols.get(beginning(text)).copied()
    }

    pub fn text(&self, symbol: Symbol) -> &str {
        &self.texts[symbol as usize]
    }

    /// For each symbol whether its text fits.
    pub fn which(&self, fits: impl Fn(&str) -> bool) -> Vec<bool> {
        self.texts.iter().map(|text| fits(text)).collect()
    }
}

/// At most [`MAX_BYTES`] of the text, cut between characters.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_has_the_same_symbol_and_too_many_have_one() {
        let mut texts = Texts::default();
        let ada = texts.symbol("ada");
        assert_eq!((texts.symbol("ada"), texts.find("ada"), texts.text(ada)), (ada, Some(ada), "ada"));
        assert_eq!((texts.symbol(""), texts.find("bob")), (0, None));
        for number in 0..MAX_TEXTS {
            texts.symbol(&number.to_string());
        }
        let (one, another) = (texts.symbol("one"), texts.symbol("another"));
        assert_eq!((texts.text(one), one), (Texts::OTHERS, another));
        assert_eq!(texts.symbol("ada"), ada);
    }
}
