//! A set of offsets of one partition, as small as it can be written: what a run's selection is kept as.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::domain::symbols::{Reader, Writer};

/// Offsets, ascending, kept as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetSet {
    /// Not empty, neither touching nor overlapping.
    ranges: Vec<Range>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: i64,
    /// Behind the last.
    end: i64,
    /// How many offsets the ranges before it have: it is asked for each second, of sets with many ranges.
    before: u64,
}

impl Range {
    fn len(self) -> u64 {
        self.end.abs_diff(self.first)
    }
}

/// A set that spans more is damaged.
const MAX_SPAN: u64 = 1 << 32;

impl OffsetSet {
    /// Adds an offset above all others.
    pub fn push(&mut self, offset: i64) {
        debug_assert!(self.ranges.last().is_none_or(|last| last.end <= offset), "offsets come in order");
        self.extend(offset, offset + 1);
    }

    /// Adds those from `first` up to, not including, `end`, which are above all others.
    fn extend(&mut self, first: i64, end: i64) {
        let before = self.len();
        match self.ranges.last_mut() {
            Some(last) if last.end == first => last.end = end,
            _ => self.ranges.push(Range { first, end, before }),
        }
    }

    pub fn len(&self) -> u64 {
        self.ranges.last().map_or(0, |last| last.before + last.len())
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn contains(&self, offset: i64) -> bool {
        self.range_from(offset).is_some_and(|range| range.end > offset)
    }

    /// Those from `from` on, in order.
    pub fn iter_from(&self, from: i64) -> impl Iterator<Item = i64> + '_ {
        let skipped = self.ranges.partition_point(|range| range.end <= from);
        self.ranges[skipped..].iter().flat_map(move |range| range.first.max(from)..range.end)
    }

    /// How many lie below `offset`.
    pub fn count_below(&self, offset: i64) -> u64 {
        self.range_from(offset).map_or(0, |range| range.before + range.end.min(offset).abs_diff(range.first))
    }

    /// The last range that begins at `offset` or below it.
    fn range_from(&self, offset: i64) -> Option<Range> {
        let behind = self.ranges.partition_point(|range| range.first <= offset);
        behind.checked_sub(1).map(|at| self.ranges[at])
    }

    /// Base64 of runs and packed bits.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        if let (Some(lowest), Some(highest)) = (self.ranges.first(), self.ranges.last()) {
            writer.number(lowest.first.unsigned_abs());
            writer.number(highest.end.abs_diff(lowest.first));
            let mut next = lowest.first;
            for range in &self.ranges {
                writer.symbols(0, range.first.abs_diff(next));
                writer.symbols(1, range.len());
                next = range.end;
            }
            writer.flush(1);
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    /// What [`OffsetSet::encode`] made; none where it is damaged.
    pub fn decode(text: &str) -> Option<OffsetSet> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let mut set = OffsetSet::default();
        if bytes.is_empty() {
            return Some(set);
        }
        let mut reader = Reader::new(&bytes);
        let mut next = i64::try_from(reader.number()?).ok()?;
        let span = reader.number().filter(|span| (1..=MAX_SPAN).contains(span))?;
        for (present, count) in reader.runs(1, span)? {
            let end = next.checked_add(i64::try_from(count).ok()?)?;
            match present {
                0 => {}
                1 => set.extend(next, end),
                _ => return None,
            }
            next = end;
        }
        reader.is_at_the_end().then_some(set)
    }
}

impl FromIterator<i64> for OffsetSet {
    /// In ascending order.
    fn from_iter<I: IntoIterator<Item = i64>>(offsets: I) -> OffsetSet {
        let mut set = OffsetSet::default();
        offsets.into_iter().for_each(|offset| set.push(offset));
        set
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_is_what_was_put_in(
            start in 0i64..1_000_000, gaps in prop::collection::vec(0i64..50, 0..300), probe in 0i64..16_000,
        ) {
            let mut offset = start;
            let plain: BTreeSet<i64> = gaps.iter().map(|gap| { offset += 1 + gap; offset }).collect();
            let set: OffsetSet = plain.iter().copied().collect();
            prop_assert_eq!(set.len(), plain.len() as u64);
            let probe = start + probe;
            prop_assert_eq!(set.contains(probe), plain.contains(&probe));
            prop_assert_eq!(set.count_below(probe), plain.range(..probe).count() as u64);
            prop_assert!(set.iter_from(probe).eq(plain.range(probe..).copied()));
            prop_assert_eq!(OffsetSet::decode(&set.encode()), Some(set));
        }

        #[test]
        fn what_is_damaged_is_no_set_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _whatever = OffsetSet::decode(&STANDARD_NO_PAD.encode(bytes));
        }
    }

    #[test]
    fn a_million_offsets_take_less_than_a_record() {
        let every_other: OffsetSet = (0..1_000_000).map(|number| number * 2).collect();
        assert!(every_other.encode().len() < 400_000, "{}", every_other.encode().len());
        let all: OffsetSet = (0..1_000_000).collect();
        assert!(all.encode().len() < 20, "{}", all.encode());
        let thirds: OffsetSet = (0..1_000_000).filter(|number| number % 3 > 0).collect();
        assert!(thirds.encode().len() < 200_000, "{}", thirds.encode().len());
    }
}
