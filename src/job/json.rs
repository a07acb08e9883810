//! Whether a record's bytes are JSON as this worker takes it: strict UTF-8, no lone surrogate, not too deep.

use serde_json::value::RawValue;

/// How deep objects and arrays may lie in each other, the outermost counted.
pub const MAX_DEPTH: usize = 128;

/// The bytes as text that is surely one JSON value, white space around it cut off; else why not, in words
/// that hold nothing of the content.
///
/// serde_json alone would not do: it skips ignored values without a limit on their depth, refuses the 128th
/// level of the others, and lets lone surrogates in ignored strings pass.
pub fn read(bytes: &[u8]) -> Result<&RawValue, String> {
    match bytes {
        [] => return Err("the value is empty".into()),
        [0, ..] => {
            return Err("the value is in Avro or another format of a schema registry (its first byte is \
                        0x00); send plain JSON"
                .into());
        }
        [0xEF, 0xBB, 0xBF, ..] => {
            return Err("the value begins with a byte order mark; send plain UTF-8".into());
        }
        _ => {}
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|e| format!("the value is not UTF-8 (at byte {})", e.valid_up_to()))?;
    check_depth_and_surrogates(bytes)?;
    serde_json::from_str(text).map_err(|e| format!("the value is not JSON: {e}"))
}

/// One pass over the bytes, which need not be JSON: what it does not understand it leaves to the parser.
fn check_depth_and_surrogates(bytes: &[u8]) -> Result<(), String> {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(format!("the value is more than {MAX_DEPTH} levels deep"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = skip_string(bytes, at)?,
            _ => {}
        }
    }
    Ok(())
}

/// Where the string that begins at `at` (behind its quote) has ended.
fn skip_string(bytes: &[u8], mut at: usize) -> Result<usize, String> {
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => break,
            b'\\' => {
                match escaped_unit(bytes, at) {
                    Some(0xD800..=0xDBFF) => {
                        let low = (bytes.get(at + 5) == Some(&b'\\'))
                            .then(|| escaped_unit(bytes, at + 6))
                            .flatten();
                        if !matches!(low, Some(0xDC00..=0xDFFF)) {
                            return Err(format!("the value is not JSON: a lone surrogate at byte {at}"));
                        }
                        at += 11;
                        continue;
                    }
                    Some(0xDC00..=0xDFFF) => {
                        return Err(format!("the value is not JSON: a lone surrogate at byte {at}"));
                    }
                    _ => {}
                }
                at += 1;
            }
            _ => {}
        }
    }
    Ok(at)
}

/// The UTF-16 unit of `uXXXX` at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 5)?.strip_prefix(b"u")?;
    digits.iter().try_fold(0u16, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn nested(levels: usize, inner: &str) -> String {
        format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_is_json_is_given_back_byte_for_byte_without_the_space_around_it() {
        for text in
            ["{}", "[1, 2.50e3]", "\"\\ud83d\\ude00\"", "\"\\\\ud800\"", "{ \"a\":1 , \"a\":2}", "null"]
        {
            let around = format!(" \r\n\t{text} \n");
            assert_eq!(read(around.as_bytes()).map(RawValue::get), Ok(text));
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_a_reason() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (b"\0\0\0\0\x01\x02", "Avro"),
            (b"\xEF\xBB\xBF{}", "byte order mark"),
            (b"{\"to\":\"\xFF\"}", "not UTF-8 (at byte 7)"),
            (b"hello", "not JSON"),
            (b"{\"to\":", "not JSON"),
            (b"{} {}", "not JSON"),
            (b"{\"a\":\"\n\"}", "not JSON"),
            (b"{'a':1}", "not JSON"),
            (b" ", "not JSON"),
            (br#"{"x":"\ud800"}"#, "lone surrogate"),
            (br#"{"x":"\ud800\u0041"}"#, "lone surrogate"),
            (br#"{"x":["\udc00"]}"#, "lone surrogate"),
            (br#"{"\uDFFF":1}"#, "lone surrogate"),
        ];
        for (bytes, reason) in cases {
            let refused = read(bytes).expect_err(reason);
            assert!(refused.contains(reason), "{refused:?} should say {reason:?}");
        }
    }

    #[test]
    fn exactly_128_levels_are_taken_and_brackets_in_strings_do_not_count() {
        assert!(read(nested(128, "").as_bytes()).is_ok());
        assert!(read(nested(129, "").as_bytes()).is_err_and(|e| e.contains("128 levels")));
        assert!(read(nested(128, "\"[[[\\\"[\"").as_bytes()).is_ok());
        let ten_megabytes = vec![b'['; 10 << 20];
        assert!(read(&ten_megabytes).is_err_and(|e| e.contains("128 levels")));
    }
}
