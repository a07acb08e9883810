//! Which letters are meant.

use std::collections::BTreeSet;
use std::ops::Range;

use super::columns::{Columns, DOMAINS_IN_NAMES};
use super::decision::State;
use super::interned::{Symbol, Texts};
use super::name::LetterName;
use super::row;
use crate::domain::failure::{Cause, Stage};

/// All that is given must hold; nothing given means every letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub cause: Option<Cause>,
    /// Those alone that can't be read.
    pub is_unreadable: bool,
    /// The SMTP reply code; 0: of letters without one.
    pub code: Option<u16>,
    pub stage: Option<Stage>,
    pub state: Option<State>,
    /// Of any recipient that was not reached; compared without case. The empty one is that of a letter without recipients too.
    pub domain: Option<String>,
    /// The empty one is that of a job that names none.
    pub template: Option<String>,
    pub tags: Vec<(String, String)>,
    /// The letter's time stamp, milliseconds since the epoch, this one included.
    pub since_ms: Option<i64>,
    /// This one not included.
    pub until_ms: Option<i64>,
    /// A part of the reason (numbers and addresses taken out), the domain or the template; or a whole address or
    /// idempotency key. Compared without case, the key aside.
    pub q: Option<String>,
    /// By name; none given means no restriction.
    pub letters: BTreeSet<LetterName>,
}

/// A filter in the symbols of one index.
pub struct Matcher<'a> {
    filter: &'a Filter,
    /// Nothing is asked for.
    fits_all: bool,
    tags: Vec<u64>,
    /// The symbol and the name of a domain.
    domain: Option<(Symbol, u64)>,
    template: Option<Symbol>,
    text: Option<Text>,
}

/// No text has it.
const NO_SYMBOL: Symbol = Symbol::MAX;
/// So many letters are judged at once, column by column: a processor does that several letters at a time.
const BLOCK: usize = if cfg!(test) { 5 } else { 4096 };

/// All letters of a partition, in blocks.
pub fn blocks(columns: &Columns) -> impl DoubleEndedIterator<Item = Range<usize>> {
    let letters = columns.len();
    (0..letters.div_ceil(BLOCK)).map(move |block| block * BLOCK..letters.min((block + 1) * BLOCK))
}

impl<'a> Matcher<'a> {
    pub fn new(filter: &'a Filter, texts: &Texts) -> Matcher<'a> {
        let symbol = |text: &str| texts.find(text).unwrap_or(NO_SYMBOL);
        let domain = filter.domain.as_deref().map(|domain| {
            let domain = domain.to_lowercase();
            // Of a long one only the beginning is kept as a text.
            let symbol = texts.find(&domain).filter(|symbol| texts.text(*symbol) == domain);
            (symbol.unwrap_or(NO_SYMBOL), row::named("domain", &domain))
        });
        Matcher {
            filter,
            fits_all: *filter == Filter::default(),
            tags: filter.tags.iter().map(|(name, value)| row::tag(name, value)).collect(),
            domain,
            template: filter.template.as_deref().map(symbol),
            text: filter.q.as_deref().filter(|q| !q.is_empty()).map(|q| Text::new(q, texts)),
        }
    }

    /// Where the letters of that block of a partition are that are meant.
    pub fn places(
        &self,
        partition: i32,
        columns: &Columns,
        block: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = usize> {
        let marks = (!self.fits_all).then(|| self.marks(partition, columns, block.clone()));
        let first = block.start;
        block.filter(move |at| marks.as_ref().is_none_or(|marks| marks[at - first]))
    }

    /// Which of the block's letters are meant.
    fn marks(&self, partition: i32, columns: &Columns, block: Range<usize>) -> Vec<bool> {
        let filter = self.filter;
        let mut marks = vec![true; block.len()];
        if let Some(since) = filter.since_ms {
            keep(&mut marks, &columns.timestamps[block.clone()], |timestamp| timestamp >= since);
        }
        if let Some(until) = filter.until_ms {
            keep(&mut marks, &columns.timestamps[block.clone()], |timestamp| timestamp < until);
        }
        if let Some(state) = filter.state {
            keep(&mut marks, &columns.states[block.clone()], |each| each as u8 == state as u8);
        }
        if let Some(cause) = filter.cause.map(row::cause_number) {
            keep(&mut marks, &columns.causes[block.clone()], |each| each == cause);
        }
        if filter.is_unreadable {
            keep(&mut marks, &columns.causes[block.clone()], |each| each == row::NONE);
        }
        if let Some(stage) = filter.stage.map(row::stage_number) {
            keep(&mut marks, &columns.stages[block.clone()], |each| each == stage);
        }
        if let Some(code) = filter.code {
            keep(&mut marks, &columns.codes[block.clone()], |each| each == code);
        }
        if let Some(template) = self.template {
            keep(&mut marks, &columns.templates[block.clone()], |each| each == template);
        }
        let both = |marks: &mut [bool], others: &[bool]| keep(marks, others, |other| other);
        if let Some((symbol, name)) = self.domain {
            let domains = columns.domains[block.clone()].iter().zip(&columns.flags[block.clone()]);
            for (mark, (domain, flags)) in marks.iter_mut().zip(domains) {
                *mark &= (*domain == symbol) | (flags & DOMAINS_IN_NAMES > 0);
            }
            let marked = marks.iter_mut().zip(block.clone()).filter(|(mark, _)| **mark);
            marked.for_each(|(mark, at)| *mark = columns.has_domain(at, symbol, name));
        }
        for tag in &self.tags {
            both(&mut marks, &columns.named(block.clone(), &[*tag]));
        }
        if let Some(text) = &self.text {
            both(&mut marks, &text.marks(columns, block.clone()));
        }
        let letters = &filter.letters;
        if !letters.is_empty() {
            let names = columns.offsets[block].iter().map(|offset| LetterName { partition, offset: *offset });
            marks.iter_mut().zip(names).for_each(|(mark, name)| *mark = *mark && letters.contains(&name));
        }
        marks
    }
}

fn keep<T: Copy>(marks: &mut [bool], column: &[T], fits: impl Fn(T) -> bool) {
    for (mark, value) in marks.iter_mut().zip(column) {
        *mark &= fits(*value);
    }
}

/// What is asked for in one word.
struct Text {
    /// By symbol; empty where no text has it.
    in_texts: Vec<bool>,
    names: [u64; 2],
}

impl Text {
    fn new(q: &str, texts: &Texts) -> Text {
        let lower = q.to_lowercase();
        let mut in_texts = texts.which(|text| text.to_lowercase().contains(&lower));
        if !in_texts.contains(&true) {
            in_texts.clear();
        }
        Text { in_texts, names: [row::named("address", &lower), row::named("key", q)] }
    }

    /// Which of the block's letters have it.
    fn marks(&self, columns: &Columns, block: Range<usize>) -> Vec<bool> {
        let mut marks = columns.named(block.clone(), &self.names);
        if !self.in_texts.is_empty() {
            for (mark, at) in marks.iter_mut().zip(block) {
                let texts = [columns.reasons[at], columns.domains[at], columns.templates[at]];
                *mark = *mark || texts.iter().any(|symbol| self.in_texts[*symbol as usize]);
            }
        }
        marks
    }
}
