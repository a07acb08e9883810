//! No secret is in an error or in debug output, wherever it was put.

use super::*;
use crate::config::keys::KEYS;
use crate::config::kind::Kind;

/// With a control character, so that hardly any key takes it.
const CANARY: &str = "canary\u{7}4711";

fn keys() -> Vec<String> {
    let files = KEYS.iter().filter(|key| matches!(key.kind, Kind::Secret { .. }));
    let properties = [
        "sasl.password",
        "sasl.password_file",
        "ssl.key.pem",
        "session.timeout.ms",
        "security.protocol",
        "no.such",
        "acks",
    ];
    KEYS.iter()
        .map(|key| key.name)
        .map(str::to_owned)
        .chain(files.map(|key| format!("{}_file", key.name)))
        .chain(properties.map(|name| format!("kafka.properties.{name}")))
        .chain(["smtp.pasword".into(), "nothing".into()])
        .collect()
}

#[test]
fn no_value_of_any_key_is_repeated_in_an_error() {
    let mut refused = 0;
    for key in keys() {
        let variable = format!("MAILROOM__{}", key.to_uppercase().replace('.', "__"));
        for setup in [
            Setup::valid().set(&format!("{key}={CANARY}")),
            Setup::valid().environment(&variable, CANARY),
            Setup::valid().file(&format!("{key:?} = \"canary\\u00074711\"\n")),
            Setup::valid().file(&format!("{key:?} = [\"canary\"]\n")),
        ] {
            let Err(problems) = setup.load() else { continue };
            refused += 1;
            assert!(!format!("{problems} {problems:?}").contains("canary"), "{key}: {problems}");
        }
    }
    // The few that are taken: passwords, paths, and properties that librdkafka does not look into.
    assert!(refused > 4 * (keys().len() - 6), "{refused} of {}", 4 * keys().len());
}

#[test]
fn a_file_that_is_no_toml_is_not_shown() {
    for text in [
        "[smtp]\npassword = \"canary",
        "[smtp]\npassword = canary\n",
        "[smtp]\npassword = \"a\"\npassword = \"canary\"\n",
        "canary",
        "[smtp]\npassword = 'canary' x\n",
        "[smtp\npassword = 'canary'\n",
        "smtp.password = \"\\canary\"\n",
    ] {
        let problems = Setup::valid().file(text).load().expect_err(text);
        assert!(!format!("{problems} {problems:?}").contains("canary"), "{text}: {problems}");
    }
}

#[test]
fn a_configuration_can_be_shown_without_its_secrets() {
    let config = Setup::valid()
        .set("smtp.username=worker")
        .set("smtp.password=canary-1")
        .set("http.admin_token=canary-2")
        .set("kafka.properties.sasl.password=canary-3")
        .good();
    let shown = format!("{config:?}");
    assert!(shown.contains("worker") && shown.contains("sasl.password"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
}
