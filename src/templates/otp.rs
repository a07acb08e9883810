//! The built-in template for one-time passwords: the code once in each body, and never in the subject.

// No digits beside the code, so that a reader, or a program that looks for it, finds only the code.

pub const NAME: &str = "otp";

pub const SUBJECT: &str = "Your verification code";

pub const TEXT: &str = "\
Your verification code is:

    {{ otp }}

If you did not ask for it, you can ignore this e-mail.
Do not give the code to anyone.
";

pub const HTML: &str = "\
<!DOCTYPE html>
<html lang=\"en\">
<body>
<p>Your verification code is:</p>
<p><strong>{{ otp }}</strong></p>
<p>If you did not ask for it, you can ignore this e-mail.
Do not give the code to anyone.</p>
</body>
</html>
";
