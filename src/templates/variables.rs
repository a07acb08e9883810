//! The variables of a job, a JSON object, as values of the template engine.

use std::fmt;

use minijinja::Value;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// As deep as a job may be (contract, section 2); also what serde_json takes.
const MAX_DEPTH: usize = 128;

/// Fewer digits than these fit 64 bits, which serde_json reads exactly.
const DIGITS_OF_A_LONG_NUMBER: usize = 20;

/// The variables; none given: none there. Whole numbers of up to 128 bits are kept exactly, larger ones and all
/// others as floating point of 64 bits; members keep their order, the last of two with the same name counts.
///
/// # Errors
/// What can't be read, without any value: no object, a lone surrogate, a number that is out of range.
pub(super) fn read(variables: Option<&RawValue>) -> Result<Value, String> {
    let Some(json) = variables.map(|json| json.get().trim_ascii_start()) else {
        return Ok(Value::from_pairs([("", ""); 0]));
    };
    if !json.starts_with('{') {
        return Err("variables: must be an object".into());
    }
    // Only the place is told: the error's own text may show what stands there.
    exact(json, 0).map_err(|error| {
        let what = match error.to_string() {
            text if text.starts_with("number out of range") => "a number is out of range",
            text if text.contains("hex escape") => "a lone surrogate",
            _ => "no JSON that can be read",
        };
        format!("variables: {what} (line {}, column {})", error.line(), error.column())
    })
}

/// As serde_json reads it, but for whole numbers of more than 64 bits, of which that would lose digits.
fn exact(json: &str, depth: usize) -> Result<Value, serde_json::Error> {
    if depth > MAX_DEPTH {
        return Err(serde::de::Error::custom("too deep"));
    }
    if !has_long_number(json) {
        return serde_json::from_str(json);
    }
    match json.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(json)?;
            let members = members.into_iter().map(|(name, value)| Ok((name, exact(value.get(), depth + 1)?)));
            Ok(Value::from_pairs(members.collect::<Result<Vec<_>, serde_json::Error>>()?))
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json)?;
            elements.into_iter().map(|element| exact(element.get(), depth + 1)).collect()
        }
        Some(b'-' | b'0'..=b'9') => match (json.parse::<i128>(), json.parse::<u128>()) {
            (Ok(number), _) => Ok(Value::from(number)),
            (_, Ok(number)) => Ok(Value::from(number)),
            _ => serde_json::from_str(json),
        },
        _ => serde_json::from_str(json),
    }
}

fn has_long_number(json: &str) -> bool {
    json.as_bytes().split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() >= DIGITS_OF_A_LONG_NUMBER)
}

/// The members of an object in order, unread.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
