//! The kinds of values that a key may have: how each is read, and how what is allowed is said.

use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;

/// A value as a source gave it: its text, and what TOML says it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw {
    pub text: String,
    pub written_as: WrittenAs,
}

/// How a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenAs {
    /// The environment and `--set` know text only: it may become any kind.
    Untyped,
    /// TOML: `"…"`
    Quoted,
    Whole,
    Real,
    Flag,
    /// TOML: an array of strings, none of which holds a comma; the text has commas between them.
    List,
    /// TOML: another array, a table or a time; no key takes one.
    Other,
}

impl Raw {
    pub fn untyped(text: impl Into<String>) -> Raw {
        Raw { text: text.into(), written_as: WrittenAs::Untyped }
    }

    fn is(&self, typed: WrittenAs) -> bool {
        self.written_as == WrittenAs::Untyped || self.written_as == typed
    }
}

/// A value that has been read.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Flag(bool),
    Whole(u64),
    Real(f64),
    Duration(Duration),
    Bind(SocketAddr),
    List(Vec<String>),
}

/// What a key takes. Bounds are inclusive.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Text that `valid` takes; `allowed` says which, as the end of "must be …".
    Text {
        allowed: &'static str,
        valid: fn(&str) -> bool,
    },
    /// Text that is never shown, and that may be given as `KEY_file`.
    Secret {
        allowed: &'static str,
        valid: fn(&str) -> bool,
    },
    OneOf(&'static [&'static str]),
    Flag,
    Whole {
        min: u64,
        max: u64,
    },
    Real {
        min: f64,
        max: f64,
    },
    Duration {
        min: Duration,
        max: Duration,
    },
    /// So many a second; read as a real number.
    Rate {
        min: f64,
        max: f64,
    },
    /// Bytes.
    Size {
        min: u64,
        max: u64,
    },
    Bind,
    /// Any number of texts, each as `read` makes it; what it makes none of is not allowed.
    List {
        allowed: &'static str,
        read: fn(&str) -> Option<String>,
    },
}

/// Of what every rate may be, inclusive.
pub const MIN_RATE: f64 = 0.0001;
pub const MAX_RATE: f64 = 1_000_000.0;
pub const RATE: Kind = Kind::Rate { min: MIN_RATE, max: MAX_RATE };
/// The longest duration that anybody means. As durations are written: a year has 365.25 days.
pub const TEN_YEARS: Duration = Duration::from_secs(315_576_000);

impl Kind {
    /// The value, or none when it is not allowed.
    pub fn read(self, raw: &Raw) -> Option<Value> {
        let text = raw.text.as_str();
        match self {
            Kind::Text { valid, .. } | Kind::Secret { valid, .. } => {
                let taken = raw.is(WrittenAs::Quoted) && !text.is_empty() && valid(text);
                taken.then(|| Value::Text(text.to_owned()))
            }
            Kind::OneOf(words) => {
                let taken = raw.is(WrittenAs::Quoted) && words.contains(&text);
                taken.then(|| Value::Text(text.to_owned()))
            }
            Kind::Flag if raw.is(WrittenAs::Flag) => text.parse().ok().map(Value::Flag),
            Kind::Whole { min, max } if raw.is(WrittenAs::Whole) => {
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                let number = text.parse().ok().filter(|n| digits && (min..=max).contains(n))?;
                Some(Value::Whole(number))
            }
            Kind::Real { min, max } if raw.is(WrittenAs::Real) || raw.is(WrittenAs::Whole) => {
                // Neither NaN nor an infinity is within bounds.
                let number = text.parse().ok().filter(|n| (min..=max).contains(n))?;
                Some(Value::Real(number))
            }
            Kind::Rate { min, max } if raw.is(WrittenAs::Quoted) => {
                let number = rate(text).filter(|n| (min..=max).contains(n))?;
                Some(Value::Real(number))
            }
            Kind::Duration { min, max } if raw.is(WrittenAs::Quoted) => {
                let duration = duration(text).filter(|d| (min..=max).contains(d))?;
                Some(Value::Duration(duration))
            }
            Kind::Size { min, max } if raw.is(WrittenAs::Quoted) => {
                // What overflows is the largest number there is, which no bound allows.
                let size = text.parse::<ByteSize>().ok()?.as_u64();
                (min..=max).contains(&size).then_some(Value::Whole(size))
            }
            Kind::Bind if raw.is(WrittenAs::Quoted) => text.parse().ok().map(Value::Bind),
            Kind::List { .. } if raw.is(WrittenAs::List) && text.trim().is_empty() => {
                Some(Value::List(Vec::new()))
            }
            Kind::List { read, .. } if raw.is(WrittenAs::List) => {
                text.split(',').map(|item| read(item.trim())).collect::<Option<_>>().map(Value::List)
            }
            _ => None,
        }
    }

    /// "must be …", without the value.
    pub fn allowed(self) -> String {
        match self {
            Kind::Text { allowed, .. } | Kind::Secret { allowed, .. } => format!("must be {allowed}"),
            Kind::OneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("must be one of {}", words.join(", "))
            }
            Kind::Flag => "must be true or false".into(),
            Kind::Whole { min, max } => format!("must be a whole number from {min} to {max}"),
            Kind::Real { min, max } => format!("must be a number from {min} to {max}"),
            Kind::Rate { min, max } => {
                format!("must be a number a second such as \"14/s\", from {min}/s to {max}/s")
            }
            Kind::Duration { min, max } => {
                let (min, max) = (humantime::format_duration(min), humantime::format_duration(max));
                format!("must be a duration such as \"1s\" or \"500ms\", from {min} to {max}")
            }
            Kind::Size { min, max } => {
                let max = ByteSize::b(max).display().iec();
                format!("must be a size such as \"10MiB\", from {min} B to {max}")
            }
            Kind::Bind => "must be an IP address and a port, such as \"127.0.0.1:8080\"".into(),
            Kind::List { allowed, .. } => {
                format!(
                    "must be {allowed}: an array of strings in the file, elsewhere with commas between them"
                )
            }
        }
    }

    /// `text`, which this kind takes, as it stands in a TOML file.
    pub fn literal(self, text: &str) -> String {
        match self {
            Kind::Flag | Kind::Whole { .. } | Kind::Real { .. } => text.to_owned(),
            Kind::List { .. } => {
                let items = text.split(',').filter(|item| !item.is_empty());
                format!("[{}]", items.map(|item| format!("\"{item}\"")).collect::<Vec<_>>().join(", "))
            }
            _ => format!("\"{text}\""),
        }
    }
}

/// Reads `"14/s"`, `"0.5/s"`; none when it is no rate.
pub fn rate(text: &str) -> Option<f64> {
    let number = text.strip_suffix("/s")?;
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { number.parse().ok() } else { None }
}

/// Reads `"1s"`, `"1m 30s"`; none when it is no duration.
pub(super) fn duration(text: &str) -> Option<Duration> {
    // humantime 2.4 panics when seconds near 2^64 meet a second made of fractions ("…15s1000ms"). So few
    // digits, of years even, do not come near.
    let longest_number = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    if text.len() > 64 || longest_number > Some(10) {
        return None;
    }
    humantime::parse_duration(text).ok()
}
