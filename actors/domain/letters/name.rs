//! A letter's name: where it lies on the dead letter queue.

use std::fmt;
use std::str::FromStr;

/// `PARTITION-OFFSET`, as in `0-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterName {
    pub partition: i32,
    pub offset: i64,
}

impl fmt::Display for LetterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

/// A text that names no letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoName(String);

impl fmt::Display for NoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' names no letter: it is PARTITION-OFFSET, such as 0-17", self.0)
    }
}

impl std::error::Error for NoName {}

impl FromStr for LetterName {
    type Err = NoName;

    fn from_str(text: &str) -> Result<LetterName, NoName> {
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let parts = text.split_once('-').filter(|(partition, offset)| digits(partition) && digits(offset));
        parts
            .and_then(|(partition, offset)| {
                Some(LetterName { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
            })
            .ok_or_else(|| NoName(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let name = LetterName { partition: 3, offset: 1 << 40 };
        assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn what_is_no_name_is_told_with_an_example() {
        for text in ["", "-", "1-", "-1", "1--1", "1-+1", "1-2-3", "a-1", "1 -2", "99999999999-1"] {
            let error = text.parse::<LetterName>().unwrap_err().to_string();
            assert!(error.contains("such as 0-17"), "{text}: {error}");
        }
    }
}
