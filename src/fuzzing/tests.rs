//! The fuzzers' corpus, its files damaged and mixed at random: what a few seconds without a fuzzer can find.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::schema;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// All files in it and below, in the order of their names.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("an entry can be read").path())
        .collect();
    entries.sort();
    let read = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => {
            let bytes = std::fs::read(&path).expect("a file of the repository can be read");
            vec![(path, bytes)]
        }
    };
    entries.into_iter().flat_map(read).collect()
}

static CORPUS: LazyLock<Vec<(PathBuf, Vec<u8>)>> =
    LazyLock::new(|| ["seeds", "corpus"].map(folder).iter().flat_map(|folder| files(folder)).collect());

static DEAD_LETTER: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(&schema::dead_letter()).expect("it is JSON");
    jsonschema::validator_for(&schema).expect("it is a schema")
});

fn check(value: &[u8]) {
    compose(value);
    if let Some(letter) = decode(value) {
        // What is deeper than most parsers read is still a letter.
        if let Ok(letter) = serde_json::from_slice::<Value>(&letter) {
            let wrong: Vec<_> = DEAD_LETTER.iter_errors(&letter).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{wrong:?}: {letter}");
        }
    }
}

#[test]
fn every_seed_becomes_what_its_folder_says() {
    let seeds = files(&folder("seeds"));
    assert!(seeds.len() > 100);
    for (path, value) in seeds {
        let record = record(&value);
        let became = match COMPOSER.compose(&record, BodyType::SevenBit) {
            Ok(_) => "sent",
            Err(failure) => failure.cause.as_str(),
        };
        assert!(
            path.parent().expect("it lies in a folder").ends_with(became),
            "{}: {became}",
            path.display()
        );
    }
}

#[test]
fn whatever_the_fuzzers_kept_keeps_the_invariants() {
    for (path, value) in CORPUS.iter() {
        let checked = std::panic::catch_unwind(|| check(value));
        assert!(checked.is_ok(), "{}", path.display());
    }
}

/// One thing done to a file of the corpus; places are fractions of its length.
#[derive(Clone, Debug)]
enum Damage {
    Change(prop::sample::Index, u8),
    Truncate(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Cut(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    /// Goes on as another file from some place on.
    Splice(prop::sample::Index, prop::sample::Index, prop::sample::Index),
    /// Two members of the job, or of an object in it, change their values.
    Swap(prop::sample::Index, prop::sample::Index),
    /// Takes a member of another file.
    Borrow(prop::sample::Index, prop::sample::Index),
}

impl Damage {
    fn to(&self, mut value: Vec<u8>) -> Vec<u8> {
        let place = |index: &prop::sample::Index, value: &[u8]| index.index(value.len() + 1);
        match self {
            Damage::Change(at, byte) => {
                let at = place(at, &value);
                if let Some(old) = value.get_mut(at) {
                    *old = *byte;
                }
            }
            Damage::Truncate(at) => value.truncate(place(at, &value)),
            Damage::Insert(at, bytes) => {
                let at = place(at, &value);
                value.splice(at..at, bytes.iter().copied());
            }
            Damage::Cut(at, length) => {
                let at = place(at, &value);
                let end = value.len().min(at + length);
                value.drain(at..end);
            }
            Damage::Repeat(at, length) => {
                let at = place(at, &value);
                let part = value[at..value.len().min(at + length)].to_vec();
                value.splice(at..at, part);
            }
            Damage::Splice(at, other, from) => {
                let other = &CORPUS[other.index(CORPUS.len())].1;
                value.truncate(place(at, &value));
                value.extend_from_slice(&other[place(from, other)..]);
            }
            Damage::Swap(one, other) => return changed(value, |job| swap(job, one, other)),
            Damage::Borrow(other, member) => {
                let other = &CORPUS[other.index(CORPUS.len())].1;
                let Ok(Value::Object(lender)) = serde_json::from_slice(other) else { return value };
                let members: Vec<_> = lender.into_iter().collect();
                return changed(value, |job| {
                    if !members.is_empty() {
                        job.extend([members[member.index(members.len())].clone()]);
                    }
                });
            }
        }
        value
    }
}

/// The job with a change, where it is one.
fn changed(value: Vec<u8>, change: impl FnOnce(&mut Map<String, Value>)) -> Vec<u8> {
    match serde_json::from_slice(&value) {
        Ok(Value::Object(mut job)) => {
            change(&mut job);
            Value::Object(job).to_string().into_bytes()
        }
        _ => value,
    }
}

fn swap(job: &mut Map<String, Value>, one: &prop::sample::Index, other: &prop::sample::Index) {
    let mut values: Vec<_> = job.values_mut().collect();
    if !values.is_empty() {
        let (one, other) = (one.index(values.len()), other.index(values.len()));
        let kept = values[one].clone();
        *values[one] = std::mem::replace(values[other], kept);
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..6),
        "[\"\\\\{}\\[\\]:,0-9=<>@/;? \n\u{2028}é\u{1f600}]{1,4}".prop_map(String::into_bytes),
        "\\\\(u(00[0-9a-f]{2}|2028|d83d)|[rnt\"\\\\])".prop_map(String::into_bytes),
        ("[a-zé.,\"@]", 1..2000_usize).prop_map(|(letter, count)| letter.repeat(count).into_bytes()),
    ];
    prop_oneof![
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Change(at, byte)),
        1 => index().prop_map(Damage::Truncate),
        4 => (index(), bytes).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        2 => (index(), 1..40_usize).prop_map(|(at, length)| Damage::Cut(at, length)),
        1 => (index(), 1..200_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        1 => (index(), index(), index()).prop_map(|(at, other, from)| Damage::Splice(at, other, from)),
        4 => (index(), index()).prop_map(|(one, other)| Damage::Swap(one, other)),
        4 => (index(), index()).prop_map(|(other, member)| Damage::Borrow(other, member)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_corpus_damaged_and_mixed_keeps_the_invariants(
        file in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let value = CORPUS[file.index(CORPUS.len())].1.clone();
        check(&damages.iter().fold(value, |value, damage| damage.to(value)));
    }
}
