//! What a finished e-mail may look like on the wire, looked at byte by byte and apart from the code that makes it.

use mailroom_actors::ports::{BodyType, Email};

/// Lines end with CRLF and have at most 998 bytes; no bare CR or LF, no NUL; bytes over 127 only where the e-mail says
/// that there are some.
///
/// # Panics
/// When it is not so.
pub fn assert_fit_for_the_wire(email: &Email) {
    let data = &email.data;
    assert!(data.ends_with(b"\r\n"));
    let header = data.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a header ends");
    let (mut in_header, mut in_body, mut column) = (false, false, 0);
    for (at, byte) in data.iter().enumerate() {
        match byte {
            b'\n' => assert!(at > 0 && data[at - 1] == b'\r', "bare LF at {at}"),
            b'\r' => assert_eq!(data.get(at + 1), Some(&b'\n'), "bare CR at {at}"),
            0 => panic!("NUL at {at}"),
            128.. if at < header => in_header = true,
            128.. => in_body = true,
            _ => {}
        }
        column = if *byte == b'\n' { 0 } else { column + 1 };
        assert!(column <= 999, "a line of more than 998 bytes and its CR before {at}");
    }
    assert_eq!(in_header, email.header_needs_smtputf8, "the header's bytes and what is said of them");
    assert_eq!(
        in_body,
        email.body_type == BodyType::EightBitMime,
        "the bodies' bytes and what is said of them"
    );
}
