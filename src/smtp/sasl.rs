//! The login's mechanism and what it sends (RFC 4954): payloads by lettre, in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};

use super::ehlo::Extensions;
use crate::config::AuthMechanism;

/// A user name, a password (or access token) and how to show them, for one login.
pub struct Sasl {
    credentials: Credentials,
    wanted: AuthMechanism,
}

impl Sasl {
    pub fn new(username: String, password: String, wanted: AuthMechanism) -> Sasl {
        Sasl { credentials: Credentials::new(username, password), wanted }
    }

    /// The mechanism to use: the one that is set; with `auto` PLAIN where it is offered, else LOGIN.
    ///
    /// # Errors
    /// In words, when the relay does not offer it.
    pub fn choose(&self, extensions: &Extensions) -> Result<Mechanism, String> {
        let Some(offered) = &extensions.auth else {
            return Err("the relay offers no AUTH; take smtp.username away, or check smtp.port".into());
        };
        let candidates: &[Mechanism] = match self.wanted {
            AuthMechanism::Auto => &[Mechanism::Plain, Mechanism::Login],
            AuthMechanism::Plain => &[Mechanism::Plain],
            AuthMechanism::Login => &[Mechanism::Login],
            AuthMechanism::Xoauth2 => &[Mechanism::Xoauth2],
        };
        let is_offered = |mechanism: &&Mechanism| offered.iter().any(|name| *name == mechanism.to_string());
        candidates.iter().find(is_offered).copied().ok_or_else(|| {
            let wanted: Vec<String> = candidates.iter().map(Mechanism::to_string).collect();
            format!("the relay does not offer AUTH {}, but {:?}", wanted.join(" or "), offered.join(" "))
        })
    }

    /// What goes behind `AUTH <mechanism> `; none for LOGIN, which is asked for it.
    pub fn initial_response(&self, mechanism: Mechanism) -> Option<String> {
        if !mechanism.supports_initial_response() {
            return None;
        }
        let payload = mechanism.response(&self.credentials, None);
        Some(BASE64.encode(payload.expect("lettre answers where there is no challenge")))
    }

    /// LOGIN's first answer. Servers word their two questions as they like; their order is fixed.
    pub fn login_username(&self) -> String {
        self.login_answer("Username")
    }

    /// LOGIN's second answer.
    pub fn login_password(&self) -> String {
        self.login_answer("Password")
    }

    fn login_answer(&self, question: &str) -> String {
        let payload = Mechanism::Login.response(&self.credentials, Some(question));
        BASE64.encode(payload.expect("lettre knows the two questions of LOGIN"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(mechanisms: &[&str]) -> Extensions {
        let names = mechanisms.iter().map(|name| (*name).to_owned()).collect();
        Extensions { auth: Some(names), ..Extensions::default() }
    }

    #[test]
    fn the_mechanism_is_the_one_set_or_plain_before_login() {
        use AuthMechanism::{Auto, Login, Plain, Xoauth2};
        let table: [(AuthMechanism, &[&str], Option<&str>); 8] = [
            (Auto, &["LOGIN", "PLAIN"], Some("PLAIN")),
            (Auto, &["LOGIN"], Some("LOGIN")),
            (Auto, &["XOAUTH2"], None),
            (Auto, &[], None),
            (Plain, &["LOGIN"], None),
            (Login, &["PLAIN", "LOGIN"], Some("LOGIN")),
            (Xoauth2, &["PLAIN", "XOAUTH2"], Some("XOAUTH2")),
            (Xoauth2, &["PLAIN"], None),
        ];
        for (wanted, offered, expected) in table {
            let sasl = Sasl::new("ada".into(), "secret".into(), wanted);
            let chosen = sasl.choose(&offering(offered)).ok().map(|mechanism| mechanism.to_string());
            assert_eq!(chosen.as_deref(), expected, "{wanted:?} of {offered:?}");
        }
        let sasl = Sasl::new("ada".into(), "secret".into(), Auto);
        assert!(sasl.choose(&Extensions::default()).is_err());
    }

    #[test]
    fn payloads_are_the_mechanisms_own() {
        let sasl = Sasl::new("ada".into(), "t0ken".into(), AuthMechanism::Auto);
        let decoded = |text: &str| BASE64.decode(text).expect("base64");
        let plain = sasl.initial_response(Mechanism::Plain).expect("PLAIN has one");
        assert_eq!(decoded(&plain), b"\0ada\0t0ken");
        let bearer = sasl.initial_response(Mechanism::Xoauth2).expect("XOAUTH2 has one");
        assert_eq!(decoded(&bearer), b"user=ada\x01auth=Bearer t0ken\x01\x01");
        assert_eq!(sasl.initial_response(Mechanism::Login), None);
        assert_eq!(decoded(&sasl.login_username()), b"ada");
        assert_eq!(decoded(&sasl.login_password()), b"t0ken");
    }
}
