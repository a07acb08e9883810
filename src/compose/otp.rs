//! The built-in template for one-time passwords: the code once in each body, and never in the subject.

pub const SUBJECT: &str = "Your verification code";

// No digits beside the code, so that a reader, or a program that looks for it, finds only the code.

pub fn text(code: &str) -> String {
    format!(
        "Your verification code is:\n\n    {code}\n\nIf you did not ask for it, you can ignore this e-mail.\nDo not give \
         the code to anyone.\n"
    )
}

pub fn html(code: &str) -> String {
    let mut escaped = String::with_capacity(code.len());
    for c in code.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c => escaped.push(c),
        }
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<body>\n<p>Your verification code is:</p>\n\
         <p><strong>{escaped}</strong></p>\n<p>If you did not ask for it, you can ignore this e-mail.\n\
         Do not give the code to anyone.</p>\n</body>\n</html>\n"
    )
}
