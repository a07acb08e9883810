//! Reading the members of a JSON object by name and type, with reasons that say where and never what.

use std::borrow::Cow;
use std::fmt;

use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The bytes are no job.
pub(super) fn malformed(reason: impl Into<String>) -> Failure {
    Failure::before_attempt(Stage::Decode, Cause::Malformed, reason)
}

/// A job, but no e-mail can be made of it.
pub(super) fn invalid(reason: impl Into<String>) -> Failure {
    Failure::before_attempt(Stage::Decode, Cause::Invalid, reason)
}

/// The values of those members of the object that are in `names`, in that order; `null` counts as absent.
/// Other members are skipped.
///
/// # Errors
/// Malformed when it is no object, or has one of the names twice. `place` says where it is (`to[2]`); it is
/// empty for the job itself.
pub(super) fn members<'a, const N: usize>(
    object: &'a RawValue,
    names: &'static [&'static str; N],
    place: &str,
) -> Result<[Option<&'a RawValue>; N], Failure> {
    if Kind::of(object) != Kind::Object {
        let place = if place.is_empty() { "the value" } else { place };
        return Err(malformed(format!("{place}: must be an object, not {}", Kind::of(object))));
    }
    let found = Names(names)
        .deserialize(&mut serde_json::Deserializer::from_str(object.get()))
        .map_err(|e| malformed(format!("the value is not JSON: {e}")))?;
    match found.twice {
        Some(index) => Err(malformed(format!("{}: appears twice", inside(place, names[index])))),
        None => Ok(found.values.map(|value| value.filter(|value| value.get() != "null"))),
    }
}

/// `to[2]` and `email` make `to[2].email`.
pub(super) fn inside(place: &str, member: &str) -> String {
    if place.is_empty() { member.to_owned() } else { format!("{place}.{member}") }
}

/// The string that `value` is. Malformed when it is anything else.
pub(super) fn string<'a>(value: &'a RawValue, place: impl fmt::Display) -> Result<Cow<'a, str>, Failure> {
    let text = value.get();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        None => Err(malformed(format!("{place}: must be a string, not {}", Kind::of(value)))),
        Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
        Some(_) => serde_json::from_str(text)
            .map(Cow::Owned)
            .map_err(|e| malformed(format!("{place}: is not a JSON string: {e}"))),
    }
}

/// The elements of an array.
pub(super) fn elements<'a>(value: &'a RawValue, place: &str) -> Result<Vec<&'a RawValue>, Failure> {
    serde_json::from_str(value.get()).map_err(|e| malformed(format!("{place}: is not a JSON array: {e}")))
}

/// All members of an object whose names are the job's own to choose, in their order, doubles too.
pub(super) struct Entries<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// What a JSON value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Object,
    Array,
    Boolean,
    Number,
    Null,
}

impl Kind {
    /// By its first character, which decides.
    pub fn of(value: &RawValue) -> Kind {
        match value.get().as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::String => "a string",
            Kind::Object => "an object",
            Kind::Array => "an array",
            Kind::Boolean => "true or false",
            Kind::Number => "a number",
            Kind::Null => "null",
        })
    }
}

struct Found<'a, const N: usize> {
    values: [Option<&'a RawValue>; N],
    twice: Option<usize>,
}

struct Names<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Names<N> {
    type Value = Found<'de, N>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Names<N> {
    type Value = Found<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Found { values: [None; N], twice: None };
        while let Some(index) = map.next_key_seed(Name(self.0))? {
            match index {
                Some(index) if found.values[index].is_some() => {
                    found.twice = found.twice.or(Some(index));
                    map.next_value::<IgnoredAny>()?;
                }
                Some(index) => found.values[index] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Looks a key up without making a string of it.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}
