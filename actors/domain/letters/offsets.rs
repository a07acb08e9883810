//! A set of offsets of one partition, as small as it can be written: what a run's selection is kept as.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::domain::symbols::{Reader, Writer};

/// Offsets, ascending, kept as ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetSet {
    /// First and behind the last; not empty, neither touching nor overlapping.
    ranges: Vec<(i64, i64)>,
}

/// A set that spans more is damaged.
const MAX_SPAN: u64 = 1 << 32;

impl OffsetSet {
    /// Adds an offset above all others.
    pub fn push(&mut self, offset: i64) {
        match self.ranges.last_mut() {
            Some((_, end)) if *end == offset => *end += 1,
            last => {
                debug_assert!(last.is_none_or(|(_, end)| *end < offset), "offsets come in order");
                self.ranges.push((offset, offset + 1));
            }
        }
    }

    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(first, end)| end.abs_diff(*first)).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn contains(&self, offset: i64) -> bool {
        let behind = self.ranges.partition_point(|(first, _)| *first <= offset);
        behind > 0 && self.ranges[behind - 1].1 > offset
    }

    /// Those from `from` on, in order.
    pub fn iter_from(&self, from: i64) -> impl Iterator<Item = i64> + '_ {
        let skipped = self.ranges.partition_point(|(_, end)| *end <= from);
        self.ranges[skipped..].iter().flat_map(move |(first, end)| (*first).max(from)..*end)
    }

    /// How many lie below `offset`.
    pub fn count_below(&self, offset: i64) -> u64 {
        let below = self.ranges.iter().take_while(|(first, _)| *first < offset);
        below.map(|(first, end)| (*end).min(offset).abs_diff(*first)).sum()
    }

    /// Base64 of runs and packed bits.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        if let (Some((first, _)), Some((_, end))) = (self.ranges.first(), self.ranges.last()) {
            writer.number(first.unsigned_abs());
            writer.number(end.abs_diff(*first));
            let mut next = *first;
            for (first, end) in &self.ranges {
                writer.symbols(0, first.abs_diff(next));
                writer.symbols(1, end.abs_diff(*first));
                next = *end;
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
            if present == 1 {
                match set.ranges.last_mut() {
                    Some((_, last)) if *last == next => *last = end,
                    _ => set.ranges.push((next, end)),
                }
            } else if present > 1 {
                return None;
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
