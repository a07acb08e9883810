//! The commit's metadata: it reads back what was written, is never too long, and never says more than is so.

use proptest::prelude::*;

use super::*;

fn pasts() -> impl Strategy<Value = Past> {
    let served = prop_oneof![3 => Just(0u128), 1 => any::<u128>(), 1 => 0u128..8];
    (prop_oneof![2 => Just(0u32), 3 => 0u32..3, 1 => 0u32..256], served)
        .prop_map(|(attempts, bits)| Past { attempts, served: RecipientSet::from_bits(bits) })
}

/// Whatever a partition may say, for a commit of 1000.
fn any_metadata() -> impl Strategy<Value = Metadata> {
    let unfinished = proptest::collection::btree_map(1000i64..1400, pasts(), 0..200);
    let culprits = proptest::collection::btree_set(1000i64..1400, 0..3);
    let state = (any::<bool>(), 0i64..100_000, 0u32..10, proptest::option::of(1000i64..1400), culprits);
    (state, 1000i64..1500, unfinished).prop_map(
        |((open, ahead, unclean_ends, trying, culprits), finished_to, mut unfinished)| {
            // Beyond what is finished only those with a history are worth a word.
            unfinished.retain(|offset, past| *offset < finished_to || !past.is_empty());
            Metadata { open, taken_to: 1000 + ahead, unclean_ends, trying, culprits, finished_to, unfinished }
        },
    )
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(metadata in any_metadata()) {
        let text = metadata.encode(1000, usize::MAX);
        prop_assert!(text.is_ascii());
        prop_assert_eq!(Metadata::decode(&text, 1000), Ok(metadata));
    }

    #[test]
    fn a_text_is_never_longer_than_allowed_and_never_says_that_more_is_finished(
        metadata in any_metadata(), limit in 0usize..700,
    ) {
        let text = metadata.encode(1000, limit);
        prop_assert!(text.len() <= limit);
        if text.is_empty() {
            return Ok(());
        }
        let read = Metadata::decode(&text, 1000).expect("readable");
        let same = Metadata { finished_to: 0, unfinished: BTreeMap::new(), ..metadata.clone() };
        prop_assert_eq!(Metadata { finished_to: 0, unfinished: BTreeMap::new(), ..read.clone() }, same);
        let is_finished = |of: &Metadata, offset| offset < of.finished_to && !of.unfinished.contains_key(&offset);
        for offset in 1000..1500 {
            prop_assert!(!is_finished(&read, offset) || is_finished(&metadata, offset));
        }
        for (offset, past) in &read.unfinished {
            let true_past = metadata.unfinished.get(offset).copied().unwrap_or_default();
            prop_assert!(past.attempts <= true_past.attempts);
            prop_assert!(past.served.bits() & !true_past.served.bits() == 0);
        }
    }

    #[test]
    fn no_text_is_a_panic(text in "\\PC{0,60}", base64 in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Metadata::decode(&text, 1000);
        let ours = format!("{PREFIX}{}", STANDARD_NO_PAD.encode(base64));
        for offset in [0, 1000, i64::MAX] {
            let _ = Metadata::decode(&ours, offset);
        }
    }
}

#[test]
fn what_is_not_ours_of_a_newer_version_or_cut_off_is_unreadable() {
    let metadata = Metadata { taken_to: 1500, finished_to: 1200, ..Metadata::default() };
    let text = metadata.encode(1000, usize::MAX);
    for text in ["", "checkpoint 7", "mailroom2:AAAA", "mailroom1:", "mailroom1:?", &text[..text.len() - 2]] {
        assert_eq!(Metadata::decode(text, 1000), Err(Unreadable), "{text}");
    }
}

#[test]
fn ten_thousand_jobs_of_which_every_other_is_finished_and_the_rest_tried_once_fit() {
    let past = Past { attempts: 1, served: RecipientSet::default() };
    let unfinished: BTreeMap<i64, Past> = (0..10_000).step_by(2).map(|offset| (offset, past)).collect();
    let metadata =
        Metadata { open: true, taken_to: 14_096, finished_to: 10_000, unfinished, ..Metadata::default() };
    let text = metadata.encode(0, MAX_CHARACTERS);
    assert_eq!(Metadata::decode(&text, 0), Ok(metadata));
}

#[test]
fn a_long_row_of_finished_jobs_behind_one_that_hangs_costs_next_to_nothing() {
    let unfinished = [(7, Past::default())].into();
    let metadata = Metadata {
        open: true,
        taken_to: 20_000_000,
        finished_to: 18_000_000,
        unfinished,
        ..Metadata::default()
    };
    assert!(metadata.encode(7, MAX_CHARACTERS).len() < 50);
}
