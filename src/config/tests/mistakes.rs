//! Every kind of mistake, with what is said of it.

use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::config::load_templates;

const DOMAINS: &str = "must be domains such as \"example.com\", without an @: an array of strings in the file, elsewhere with commas between them";

/// What is set on the command line; the key that is told of; what is said.
#[rustfmt::skip]
const CASES: &[(&[&str], &str, &str)] = &[
    // Keys.
    (&["smtp.prot=25"], "smtp.prot", "there is no such key; did you mean smtp.port?"),
    (&["tls.certificate.path=a"], "tls.certificate.path", "there is no such key"),
    (&["=a"], "", "there is no such key"),
    (&["SMTP.PIPELINING=off"], "SMTP.PIPELINING", "there is no such key; did you mean smtp.pipelining?"),
    (&["smtp=relay.example.com"], "smtp", "is a section: set its keys, such as smtp.host"),
    (&["smtp.timeouts=1s"], "smtp.timeouts", "is a section: set its keys, such as smtp.timeouts.connect"),
    (&["kafka.properties=ssl"], "kafka.properties", "is a section: set its keys, such as kafka.properties.\"security.protocol\""),
    (&["dlq.replay_topic=email-dlq"], "dlq.replay_topic", "jobs can't be replayed to the dead letter queue, nor to its decisions: leave it out, or name a topic of its own"),
    (&["dlq.replay_topic=email-dlq-decisions"], "dlq.replay_topic", "jobs can't be replayed to the dead letter queue, nor to its decisions: leave it out, or name a topic of its own"),
    (&["kafka.decisions_topic=email-dlq"], "kafka.decisions_topic", "kafka.decisions_topic must be a topic of its own"),
    (&["redrive.enabled=true", "dlq.index_letters=0"], "redrive.enabled", "redrive.enabled = true needs dlq.index_letters: what waits is found there"),
    (&["redrive.waits=soon"], "redrive.waits", "must be durations such as \"1h\", at least one: an array of strings in the file, elsewhere with commas between them"),
    (&["dlq.rate=1"], "dlq.rate", "must be a number a second such as \"14/s\", from 0.0001/s to 1000000/s"),
    // Values.
    (&["smtp.port=0"], "smtp.port", "must be a whole number from 1 to 65535"),
    (&["smtp.port=65536"], "smtp.port", "must be a whole number from 1 to 65535"),
    (&["mailers.size=0"], "mailers.size", "must be a whole number from 1 to 65536"),
    (&["mailers.size=-1"], "mailers.size", "must be a whole number from 1 to 65536"),
    (&["retry.max_attempts=0"], "retry.max_attempts", "must be a whole number from 1 to 1000"),
    (&["retry.jitter=-0.1"], "retry.jitter", "must be a number from 0 to 1"),
    (&["retry.factor=0.5"], "retry.factor", "must be a number from 1 to 100"),
    (&["retry.factor=NaN"], "retry.factor", "must be a number from 1 to 100"),
    (&["retry.base=-1s"], "retry.base", "must be a duration such as \"1s\" or \"500ms\", from 0s to 1day"),
    (&["kafka.commit_interval=0s"], "kafka.commit_interval", "must be a duration such as \"1s\" or \"500ms\", from 1ms to 1h"),
    (&["limits.in_flight_bytes=0B"], "limits.in_flight_bytes", "must be a size such as \"10MiB\", from 1 B to 1.0 TiB"),
    (&["smtp.max_rate=0/s"], "smtp.max_rate", "must be a number a second such as \"14/s\", from 0.0001/s to 1000000/s"),
    (&["smtp.max_rate=14"], "smtp.max_rate", "must be a number a second such as \"14/s\", from 0.0001/s to 1000000/s"),
    (&["smtp.max_emails_per_connection=0"], "smtp.max_emails_per_connection", "must be a whole number from 1 to 1000000000"),
    (&["smtp.idle_timeout=0s"], "smtp.idle_timeout", "must be a duration such as \"1s\" or \"500ms\", from 1ms to 1h"),
    (&["retry.limited=dead-letter"], "retry.limited", "must be one of \"wait\", \"retry\""),
    (&["breaker.failures=-1"], "breaker.failures", "must be a whole number from 0 to 1000000000"),
    (&["breaker.probe_interval=0s"], "breaker.probe_interval", "must be a duration such as \"1s\" or \"500ms\", from 1ms to 1h"),
    (&["email.allowed_from_domains=a@example.com"], "email.allowed_from_domains", DOMAINS),
    (&["email.allowed_from_domains=example.com,,shop.example"], "email.allowed_from_domains", DOMAINS),
    (&["email.allowed_from_domains=[192.0.2.1]"], "email.allowed_from_domains", DOMAINS),
    (&["email.allowed_from_domains=*.example.com"], "email.allowed_from_domains", DOMAINS),
    (&["email.max_age=0s"], "email.max_age", "must be a duration such as \"1s\" or \"500ms\", from 1s to 10years"),
    (&["templates.dir="], "templates.dir", "must be the path of a folder"),
    (&["templates.dir=/nowhere/templates"], "templates.dir", "the folder can't be read: No such file or directory (os error 2)"),
    (&["email.allowed_from_domains=shop.example"], "smtp.from", "smtp.from must lie in one of email.allowed_from_domains: every job without a sender of its own would be refused"),
    (&["smtp.security=ssl"], "smtp.security", "must be one of \"tls\", \"starttls\", \"plain\""),
    (&["kafka.create_topics=1"], "kafka.create_topics", "must be true or false"),
    (&["kafka.topic=a b"], "kafka.topic", "must be a topic: 1 to 249 of letters, digits, \".\", \"_\" and \"-\", not \".\" or \"..\""),
    (&["kafka.brokers=,"], "kafka.brokers", "must be brokers as \"host:port\", with commas between them"),
    (&["kafka.group="], "kafka.group", "must be a text of 1 to 255 bytes without control characters"),
    (&["smtp.host=smtp://relay.example.com"], "smtp.host", "must be the relay's host name or IP address, without a scheme or a port (see smtp.port)"),
    (&["smtp.from=nobody"], "smtp.from", "must be one e-mail address, bare or as \"Name <address>\""),
    (&["smtp.helo_name=a b"], "smtp.helo_name", "must be a host name, or an address in brackets, as RFC 5321 has it for EHLO"),
    (&["http.bind=8080"], "http.bind", "must be an IP address and a port, such as \"127.0.0.1:8080\""),
    (&["http.admin_token=a b"], "http.admin_token", "must be visible ASCII characters without spaces"),
    (&["log.level=verbose"], "log.level", "must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\""),
    // Contradictions.
    (&["kafka.dlq_topic=email-queue"], "kafka.dlq_topic", "kafka.dlq_topic and kafka.topic must be two topics: a dead letter would be taken for a job"),
    (&["kafka.topic=email-dlq"], "kafka.topic", "kafka.dlq_topic and kafka.topic must be two topics: a dead letter would be taken for a job"),
    (&["mailers.size=5000"], "mailers.size", "mailers.size must not be over mailers.max"),
    (&["mailers.max=4"], "mailers.max", "mailers.size must not be over mailers.max"),
    (&["worker.drain_timeout=300s"], "worker.drain_timeout", "worker.drain_timeout must be under kafka.properties.\"max.poll.interval.ms\", which is 300000 ms: the group takes the partitions away after that long"),
    (&["kafka.properties.max.poll.interval.ms=10000"], "kafka.properties.max.poll.interval.ms", "worker.drain_timeout must be under kafka.properties.\"max.poll.interval.ms\", which is 10000 ms: the group takes the partitions away after that long"),
    (&["smtp.username=worker"], "smtp.username", "smtp.username and smtp.password (or smtp.password_file) go together: set both or neither"),
    (&["smtp.password=hunter2"], "smtp.password", "smtp.username and smtp.password (or smtp.password_file) go together: set both or neither"),
    (&["smtp.username=a", "smtp.password=hunter2", "smtp.security=plain"], "smtp.password", "smtp.security = \"plain\" would send the password for all to read: use \"tls\" or \"starttls\", or allow it by smtp.allow_plaintext_auth = true"),
    // Files.
    (&["smtp.ca_file=/no/such/ca.pem"], "smtp.ca_file", "the file can't be read: No such file or directory (os error 2)"),
    (&["http.admin_token_file=/no/such/token"], "http.admin_token_file", "the file can't be read: No such file or directory (os error 2)"),
    (&["smtp.username=a", "smtp.password_file=/no/such/file"], "smtp.password_file", "the file can't be read: No such file or directory (os error 2)"),
    (&["http.admin_token=a", "http.admin_token_file=/no/such/token"], "http.admin_token_file", "is set beside http.admin_token; take one of them out"),
    (&["kafka.properties.sasl.password_file=/no/such/file"], "kafka.properties.sasl.password_file", "the file can't be read: No such file or directory (os error 2)"),
    (&["kafka.properties.sasl.password=a", "kafka.properties.sasl.password_file=/no/such/file"], "kafka.properties.sasl.password_file", "is set beside kafka.properties.sasl.password; take one of them out"),
    // librdkafka's properties.
    (&["kafka.properties.fetch.maximum=1"], "kafka.properties.fetch.maximum", "librdkafka has no such property"),
    (&["kafka.properties.session.timeout.ms=hunter2"], "kafka.properties.session.timeout.ms", "librdkafka does not take this value; its CONFIGURATION.md says which it takes"),
    (&["kafka.properties.bootstrap.servers=a:1"], "kafka.properties.bootstrap.servers", "can't be set here: set kafka.brokers instead"),
    (&["kafka.properties.group.id=a"], "kafka.properties.group.id", "can't be set here: set kafka.group instead"),
    (&["kafka.properties.security.protocol=SASL_SSL"], "kafka.properties.security.protocol", "asks for SASL: set \"sasl.mechanism\" to what the brokers take, \"PLAIN\", \"SCRAM-SHA-256\" or \"SCRAM-SHA-512\" (GSSAPI and OAUTHBEARER are not built in)"),
    (&["kafka.properties.security.protocol=sasl_ssl", "kafka.properties.sasl.mechanism=PLAIN", "kafka.properties.sasl.username=a"], "kafka.properties.security.protocol", "asks for SASL: set both \"sasl.username\" and \"sasl.password\" (or \"sasl.password_file\")"),
];

#[test]
fn each_mistake_is_told_in_one_line_with_its_key_its_origin_and_what_is_allowed() {
    for (settings, key, what) in CASES {
        let setup = settings.iter().fold(Setup::valid(), |setup, setting| setup.set(setting));
        let origin = if key.is_empty() { "flag:--set".into() } else { format!("{key} (flag:--set)") };
        assert_eq!(setup.wrong(), [format!("{origin}: {what}")], "{settings:?}");
    }
}

#[test]
fn a_setting_without_a_value_is_not_repeated() {
    assert_eq!(Setup::valid().set("hunter2").wrong(), ["flag:--set: must be SECTION.KEY=VALUE"]);
}

#[test]
fn each_property_that_the_promises_stand_on_is_refused() {
    for name in [
        "metadata.broker.list",
        "group.protocol",
        "partition.assignment.strategy",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.commit.interval.ms",
        "auto.commit.enable",
        "auto.offset.reset",
        "isolation.level",
        "enable.partition.eof",
        "acks",
        "request.required.acks",
        "enable.idempotence",
        "transactional.id",
    ] {
        let problems = Setup::valid().set(&format!("kafka.properties.{name}=1")).wrong();
        let expected = format!("kafka.properties.{name} (flag:--set): can't be set");
        assert!(problems.len() == 1 && problems[0].starts_with(&expected), "{problems:?}");
    }
}

#[test]
fn what_must_be_set_is_asked_for() {
    assert_eq!(
        Setup::default().wrong(),
        [
            "smtp.host (not set): must be set, such as \"smtp.example.com\"",
            "smtp.from (not set): must be set, such as \"Example <noreply@example.com>\"",
        ]
    );
}

#[test]
fn all_mistakes_of_all_sources_are_told_at_once_with_line_and_name() {
    let file =
        "[mailers]\nsize = 0\n\n[smtp]\nsecurty = \"tls\"\nport = \"25\"\nfrom = [\"a@b.c\"]\n[smtp.host]\n";
    let setup = Setup::default()
        .file(file)
        .environment("MAILROOM__RETRY__BASE", "soon")
        .environment("MAILROOM__SMTP_HOST", "a")
        .set("retry.jitter=-1");
    let problems = setup.wrong();
    let expected = [
        "smtp.securty (file:config.toml:5): there is no such key; did you mean smtp.security?",
        "smtp_host (env:MAILROOM__SMTP_HOST): there is no such key; did you mean MAILROOM__SMTP__HOST?",
        "smtp.host (file:config.toml:8): must be the relay's host name",
        "smtp.port (file:config.toml:6): must be a whole number",
        "smtp.from (file:config.toml:7): must be one e-mail address",
        "mailers.size (file:config.toml:2): must be a whole number",
        "retry.base (env:MAILROOM__RETRY__BASE): must be a duration",
        "retry.jitter (flag:--set): must be a number",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem} / {expected}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_line_by_line_and_hides_no_mistake_elsewhere() {
    let file = "[smtp]\nhost = \nfrom = \"a@example.com\"\nfrom = \"a@example.com\"\n";
    let problems = Setup::default().file(file).set("retry.jitter=2").wrong();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].starts_with("file:config.toml:2: is no TOML: "), "{problems:?}");
    assert!(problems[1].starts_with("file:config.toml:4: is no TOML: "), "{problems:?}");
    assert_eq!(problems[2], "retry.jitter (flag:--set): must be a number from 0 to 1");
}

#[test]
fn a_file_that_never_ends_is_given_up() {
    let mut setup = Setup::valid();
    setup.sources.file = Some("/dev/zero".into());
    assert_eq!(setup.wrong(), ["file:/dev/zero: can't be read: it is larger than 1 MiB"]);
    let problems = Setup::valid().set("smtp.ca_file=/dev/zero").wrong();
    assert_eq!(problems, ["smtp.ca_file (flag:--set): the file can't be read: it is larger than 16 MiB"]);
}

#[test]
fn a_section_that_is_an_array_is_told_to_be_one() {
    let problems = Setup::valid().file("[[mailers]]\nsize = 3\n").wrong();
    assert_eq!(problems, ["mailers (file:config.toml:1): is a section: set its keys, such as mailers.size"]);
}

#[test]
fn the_same_key_twice_is_a_mistake() {
    let twice = Setup::valid().file("\"mailers.size\" = 3\n[mailers]\nsize = 4\n").wrong();
    assert_eq!(twice, ["mailers.size (file:config.toml:3): is set twice in this file"]);
    let twice = Setup::valid()
        .environment("MAILROOM__HTTP__BIND", "[::1]:1")
        .environment("MAILROOM__http__bind", "[::1]:2")
        .wrong();
    assert_eq!(twice, ["http.bind (env:MAILROOM__http__bind): is set by env:MAILROOM__HTTP__BIND too"]);
}

#[test]
fn a_variable_that_is_not_utf8_is_a_mistake() {
    let mut setup = Setup::valid();
    setup.sources.environment.push(("MAILROOM__WORKER__ID".into(), OsString::from_vec(vec![0xff])));
    assert_eq!(setup.wrong(), ["worker.id (env:MAILROOM__WORKER__ID): must be UTF-8"]);
}

#[test]
fn a_ca_file_must_hold_a_certificate_and_none_that_is_broken() {
    let authority = rcgen::generate_simple_self_signed(["relay.example.com".into()]).expect("a certificate");
    let pem = authority.cert.pem();
    let broken = pem.replace(&pem[40..60], "AAAAAAAAAAAAAAAAAAAA");
    let private_key = authority.signing_key.serialize_pem();
    let cases = [
        (pem.clone(), None),
        (format!("{pem}{pem}"), None),
        (private_key, Some("the file holds no certificate in PEM form")),
        (String::new(), Some("the file holds no certificate in PEM form")),
        (format!("{pem}{broken}"), Some("the file holds a broken certificate: ")),
    ];
    for (content, wrong) in cases {
        let mut setup = Setup::valid();
        let path = setup.write("ca.pem", content.as_bytes());
        let setup = setup.set(&format!("smtp.ca_file={}", path.display()));
        match wrong {
            None => assert_eq!(setup.good().smtp.ca_file, Some(path)),
            Some(what) => {
                let problems = setup.wrong();
                assert!(problems.len() == 1 && problems[0].contains(what), "{problems:?}");
            }
        }
    }
}

#[test]
fn all_mistakes_in_the_templates_are_told_beside_those_of_the_configuration() {
    let mut setup = Setup::valid().set("mailers.size=0");
    let folder = setup.write("a.txt", b"fine\n{{ open").parent().expect("a folder").to_owned();
    setup.write("b.html", b"{{ x|uper }}");
    let setup = setup.set(&format!("templates.dir={}", folder.display()));
    let problems = setup.wrong();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(problems[0], "mailers.size (flag:--set): must be a whole number from 1 to 65536");
    assert!(problems[1].starts_with("templates.dir (flag:--set): a.txt:2: syntax error: "), "{problems:?}");
    assert_eq!(problems[2], "templates.dir (flag:--set): b.html:1: there is no filter uper");
    std::fs::write(folder.join("a.txt"), "closed").expect("written");
    // Who only renders needs no relay, and does not mind the rest.
    let of_templates = load_templates(&setup.sources).expect_err("b.html").to_string();
    assert_eq!(of_templates, "templates.dir (flag:--set): b.html:1: there is no filter uper");
    std::fs::write(folder.join("b.html"), "{{ x|upper }}").expect("written");
    assert_eq!(load_templates(&setup.sources).expect("all is well").dir, Some(folder));
}

#[test]
fn what_works_and_is_seldom_meant_is_warned_of() {
    let keys = |setup: Setup| -> Vec<&'static str> {
        setup.good().warnings().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(Setup::valid().set("smtp.helo_name=worker")), ["smtp.helo_name"]);
    assert!(keys(Setup::valid().set("smtp.helo_name=[192.0.2.1]")).is_empty());
    let in_the_clear = Setup::valid()
        .set("smtp.helo_name=worker.example.com")
        .set("smtp.username=worker")
        .set("smtp.password=hunter2")
        .set("smtp.security=plain")
        .set("smtp.allow_plaintext_auth=true");
    assert_eq!(keys(in_the_clear), ["smtp.security"]);
}
