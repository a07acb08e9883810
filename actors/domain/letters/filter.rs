//! Which letters are meant.

use std::collections::BTreeSet;

use super::decision::State;
use super::interned::{Symbol, Texts};
use super::name::LetterName;
use super::row::{self, Columns};
use crate::domain::failure::{Cause, Stage};

/// All that is given must hold; nothing given means every letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub cause: Option<Cause>,
    /// The SMTP reply code.
    pub code: Option<u16>,
    pub stage: Option<Stage>,
    pub state: Option<State>,
    /// Of any recipient that was not reached; compared without case.
    pub domain: Option<String>,
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
    cause: Option<Cause>,
    names: Vec<u64>,
    /// The symbol and the name of a domain.
    domain: Option<(Option<Symbol>, u64)>,
    template: Option<Option<Symbol>>,
    text: Option<Text>,
}

struct Text {
    in_texts: Vec<bool>,
    names: [u64; 2],
}

impl<'a> Matcher<'a> {
    pub fn new(filter: &'a Filter, texts: &Texts) -> Matcher<'a> {
        let names = filter.tags.iter().map(|(name, value)| row::tag(name, value)).collect();
        let domain = filter.domain.as_deref().map(|domain| {
            let domain = domain.to_lowercase();
            (texts.find(&domain), row::named("domain", &domain))
        });
        let text = filter.q.as_deref().filter(|q| !q.is_empty()).map(|q| {
            let lower = q.to_lowercase();
            Text {
                in_texts: texts.which(|text| text.to_lowercase().contains(&lower)),
                names: [row::named("address", &lower), row::named("key", q)],
            }
        });
        let template = filter.template.as_deref().map(|template| texts.find(template));
        let fits_all = *filter == Filter::default();
        Matcher { filter, fits_all, cause: filter.cause, names, domain, template, text }
    }

    /// Whether the letter at `at` of that partition is meant.
    pub fn fits(&self, partition: i32, columns: &Columns, at: usize) -> bool {
        if self.fits_all {
            return true;
        }
        let filter = self.filter;
        let timestamp = columns.timestamps[at];
        filter.since_ms.is_none_or(|since| timestamp >= since)
            && filter.until_ms.is_none_or(|until| timestamp < until)
            && filter.state.is_none_or(|state| columns.states[at] == state)
            && self.cause.is_none_or(|cause| columns.cause(at) == Some(cause))
            && filter.stage.is_none_or(|stage| columns.stage(at) == Some(stage))
            && filter.code.is_none_or(|code| columns.codes[at] == code)
            && self.template.is_none_or(|template| template == Some(columns.templates[at]))
            && self.domain.is_none_or(|(symbol, name)| columns.has_domain(at, symbol, name))
            && (self.names.is_empty() || self.has_names(columns, at))
            && self.text.as_ref().is_none_or(|text| text.fits(columns, at))
            && (filter.letters.is_empty()
                || filter.letters.contains(&LetterName { partition, offset: columns.offsets[at] }))
    }

    fn has_names(&self, columns: &Columns, at: usize) -> bool {
        let names = columns.names(at);
        self.names.iter().all(|name| names.contains(name))
    }
}

impl Text {
    fn fits(&self, columns: &Columns, at: usize) -> bool {
        let texts = [columns.reasons[at], columns.domains[at], columns.templates[at]];
        texts.iter().any(|symbol| self.in_texts[*symbol as usize])
            || columns.names(at).iter().any(|name| self.names.contains(name))
    }
}
