//! Rendering: what is made of variables, and how errors are told.

use super::*;

const ALL: Wanted = Wanted { subject: true, text: true, html: true };
const LIMIT: usize = 1 << 20;

#[test]
fn the_built_in_otp_has_the_code_once_in_each_body_and_never_in_the_subject() {
    let templates = TemplateStore::built_in().current();
    let rendered = templates.render_otp("493021", None, ALL, LIMIT).unwrap();
    let (text, html) = (rendered.text.unwrap(), rendered.html.unwrap());
    assert_eq!(rendered.subject.as_deref(), Some("Your verification code"));
    for body in [&text, &html] {
        let digits: String = body.chars().filter(char::is_ascii_digit).collect();
        assert_eq!(digits, "493021", "no other digit beside the code");
        assert!(body.contains("493021") && body.ends_with('\n'));
    }
    assert!(html.contains("<strong>493021</strong>") && !text.contains('<'));
}
