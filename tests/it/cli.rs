//! The commands as somebody at a shell has them: output, and exit codes (contract, section 7).

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::harness::command_line::{run, stderr, stdout, valid};
use crate::harness::{Kafka, Queue, RecordingSmtp, Settings, TestWorker, process, until};

#[test]
fn the_version_is_the_crates() {
    let output = run(&Settings::default(), &["--version"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(stdout(&output).trim(), format!("mailroom {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2_and_says_so_on_stderr_only() {
    for arguments in [&["deliver"][..], &["run", "--no-such-option"], &["send"]] {
        let output = run(&Settings::default(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn check_and_run_list_all_mistakes_of_a_configuration_at_once_and_end_with_78() {
    let wrong = Settings::default()
        .set("kafka.topic", "email-queue")
        .set("kafka.dlq_topic", "email-queue")
        .set("mailers.size", "0")
        .set("retry.jitter", "-1")
        .set("retry.base", "soon")
        .set("smtp.securty", "tls")
        .set("smtp.password", "canary-password")
        .set("http.bind", "127.0.0.1:0");
    for command in ["check", "run"] {
        let output = run(&wrong, &[command]);
        assert_eq!(output.status.code(), Some(78), "{command}: {output:?}");
        let told = stderr(&output);
        for key in [
            "kafka.dlq_topic",
            "mailers.size",
            "retry.jitter",
            "retry.base",
            "smtp.securty",
            "smtp.username",
            "smtp.host",
            "smtp.from",
        ] {
            assert!(told.contains(key), "{command} does not tell of {key}: {told}");
        }
        assert!(told.contains("MAILROOM__RETRY__BASE"), "where it came from: {told}");
        assert!(!told.contains("canary-password"), "{told}");
        assert!(!told.contains("http listening"), "{command} has bound before all was well");
    }
}

#[test]
fn a_password_without_tls_is_refused_unless_it_is_allowed() {
    let plain = valid().set("smtp.username", "worker").set("smtp.password", "canary-password");
    let refused = run(&plain, &["check"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(stderr(&refused).contains("smtp.allow_plaintext_auth"), "{refused:?}");
    let allowed = run(&plain.set("smtp.allow_plaintext_auth", "true"), &["check"]);
    assert_eq!(allowed.status.code(), Some(0), "{allowed:?}");
}

#[test]
fn check_finds_nothing_wrong_with_a_good_configuration_without_asking_anybody() {
    let output = run(&valid().set("kafka.brokers", "127.0.0.1:1"), &["check"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_configuration_file_that_is_not_there_ends_with_78() {
    let output = run(&valid(), &["run", "--config", "no-such.toml"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(stderr(&output).contains("no-such.toml"), "{output:?}");
}

#[test]
fn a_port_in_use_ends_with_78() {
    let queue = Queue::new(Kafka::shared(), 1);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = taken.local_addr().expect("a bound socket has an address").to_string();
    let output = run(&Settings::new(&queue, 1).set("http.bind", &address), &["run"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(stderr(&output).contains(&address), "{output:?}");
}

#[test]
fn send_puts_jobs_on_the_queue_and_prints_where_they_are() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let settings = Settings::new(&queue, relay.port());
    let one = run(&settings, &["send", "--to", "ada@example.com", "--otp", "123456"]);
    assert_eq!(one.status.code(), Some(0), "{one:?}");
    assert_eq!(stdout(&one).trim(), format!("{}-0-0", queue.topic));
    let many = run(&settings, &["send", "--to", "grace@example.com", "--otp", "654321", "--count", "3"]);
    assert_eq!(many.status.code(), Some(0), "{many:?}");
    let expected: Vec<_> = (1..4).map(|offset| format!("{}-0-{offset}", queue.topic)).collect();
    assert_eq!(stdout(&many).lines().collect::<Vec<_>>(), expected);

    let records = queue.kafka.read(&queue.topic);
    assert_eq!(records.len(), 4);
    let job: Value = serde_json::from_slice(records[0].value.as_deref().expect("a value")).expect("JSON");
    assert_eq!((&job["to"], &job["otp"]), (&"ada@example.com".into(), &"123456".into()));

    let worker = TestWorker::start(&settings);
    queue.wait_until_settled();
    worker.stop();
    let expected = [("ada@example.com".to_owned(), 1), ("grace@example.com".to_owned(), 3)];
    assert_eq!(relay.copies(), expected.into());
}

#[test]
fn send_ends_with_1_when_no_broker_answers() {
    let nobody = format!("127.0.0.1:{}", process::free_port());
    let output =
        run(&valid().set("kafka.brokers", nobody), &["send", "--to", "ada@example.com", "--otp", "123456"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty() && stderr(&output).contains("Connection refused"), "{output:?}");
}

#[test]
fn the_demo_accounts_for_every_job_and_ends_with_0() {
    let output = run(&Settings::default(), &["demo", "--seconds", "5", "--rate", "40"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told = stdout(&output);
    for word in ["/metrics", "/health", "sent", "invalid_recipient"] {
        assert!(told.contains(word), "{word} is missing: {told}");
    }
}

#[test]
fn a_demo_that_ends_while_its_mail_server_is_down_accounts_for_every_job_too() {
    let events = "slow@3s..4s,kill-mailer@3s,pool=16@4s,too-many@4s..5s,pause@4s,relay-down@5s";
    let output = run(&Settings::default(), &["demo", "--seconds", "7", "--scenario", events]);
    let told = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let last = told.lines().rfind(|line| line.contains("| restarts ")).expect("a line of counts");
    assert!(last.contains(" of 16 busy | restarts 1 |"), "the mailer was killed, the pool grew: {told}");
}

/// What a terminal of 80 columns and 24 lines would be written to while the demo has it.
#[test]
fn at_a_terminal_the_demo_is_a_live_view_that_gives_the_terminal_back_and_ends_with_the_accounts() {
    let demo = format!("stty rows 24 cols 80; exec {} demo", env!("CARGO_BIN_EXE_mailroom"));
    let mut terminal = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command", &demo, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script, of util-linux");
    let mut keys = terminal.stdin.take().expect("it is piped");
    let written = Arc::new(Mutex::new(Vec::new()));
    let mut out = terminal.stdout.take().expect("it is piped");
    let reader = {
        let written = Arc::clone(&written);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                written.lock().expect("nobody panics with it").extend_from_slice(&bytes[..count]);
            }
        })
    };
    let shown = || String::from_utf8_lossy(&written.lock().expect("nobody panics with it")).into_owned();
    until("the view says that mail goes out", || shown().contains("MAIL GOES OUT").then_some(()));
    keys.write_all(b"d").expect("the demo reads keys");
    until("the key has put the relay down", || {
        shown().contains("the relay is down: it refuses every connection").then_some(())
    });
    keys.write_all(b"dp").expect("the demo reads keys");
    until("the key has paused the intake, as the worker's own metrics say", || {
        shown().contains("NO NEW MAIL IS TAKEN").then_some(())
    });
    // The end waits for all that was produced: the pause ends with it.
    keys.write_all(b"q").expect("the demo reads keys");
    let status = terminal.wait().expect("script ends");
    drop(keys);
    reader.join().expect("the reader ends");

    let shown = shown();
    assert_eq!(status.code(), Some(0), "{shown}");
    let (view, after) = shown.split_once("\x1b[?1049l").expect("the other screen is left");
    assert!(view.contains("\x1b[?1049h") && view.contains("\x1b[?25l"), "{view}");
    assert!(view.ends_with("\x1b[?25h") && !after.contains('\x1b'), "{after:?}");
    assert!(after.contains("every job is accounted for"), "{after}");
}

#[test]
fn the_configuration_is_shown_with_the_origin_of_each_value_and_without_secrets() {
    let settings = valid()
        .set("smtp.security", "tls")
        .set("smtp.username", "worker")
        .set("smtp.password", "canary-password")
        .set("kafka.properties.sasl.password", "canary-sasl")
        .set("retry.base", "2s");
    let output = run(&settings, &["config", "show", "--json", "--set", "mailers.size=3"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
    let expect = |key: &str, value: Value, origin: &str| {
        assert_eq!(shown[key], serde_json::json!({"value": value, "origin": origin}), "{key}");
    };
    expect("retry.base", "2s".into(), "env:MAILROOM__RETRY__BASE");
    expect("mailers.size", 3.into(), "flag:--set");
    expect("retry.max_attempts", 3.into(), "default");
    expect("smtp.max_rate", Value::Null, "default");
    expect("smtp.password", "***".into(), "env:MAILROOM__SMTP__PASSWORD");
    expect("kafka.properties.sasl.password", "***".into(), "env:MAILROOM__KAFKA__PROPERTIES__sasl.password");
    let table = run(&settings, &["config", "show", "--origin"]);
    let told = stdout(&table);
    assert!(
        told.lines()
            .any(|line| line.starts_with("retry.base") && line.ends_with("env:MAILROOM__RETRY__BASE"))
    );
    for output in [&output, &table] {
        assert!(!stdout(output).contains("canary") && !stderr(output).contains("canary"), "{output:?}");
    }
    let wrong = run(&valid().set("retry.base", "soon"), &["config", "show"]);
    assert_eq!(wrong.status.code(), Some(78), "{wrong:?}");
}

#[test]
fn the_health_of_a_running_worker_is_asked_for_by_exit_code() {
    let queue = Queue::new(Kafka::shared(), 1);
    let port = process::free_port();
    let bind = format!("0.0.0.0:{port}");
    let settings = Settings::new(&queue, RecordingSmtp::start().port()).set("http.bind", &bind);
    // Of the configuration only the address counts.
    let only_address = Settings::default().set("http.bind", &bind).set("retry.base", "soon");
    let nobody = run(&only_address, &["health", "live"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    assert!(stderr(&nobody).contains("is the service running"), "{nobody:?}");

    let worker = TestWorker::start(&settings);
    for arguments in [&["health", "ready", "--wait", "60s"][..], &["health", "live"]] {
        let output = run(&only_address, arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(stdout(&output).trim(), arguments[1]);
    }
    worker.stop();

    let away = format!("127.0.0.1:{}", process::free_port());
    let worker = TestWorker::start(&settings.set("kafka.brokers", away));
    let url = format!("http://127.0.0.1:{port}");
    let output = run(&Settings::default(), &["health", "ready", "--url", &url]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = stderr(&output);
    assert!(told.contains("not ready: ") && told.contains("kafka"), "error and hint: {told}");
    assert_eq!(run(&Settings::default(), &["health", "ready", "--url", "ftp://x"]).status.code(), Some(2));
    worker.stop();
}

/// What each shell prints that has loaded the completions in the file `$1` and is asked for what begins with `con`.
const COMPLETED: &[(&str, &[&str], &str)] = &[
    (
        "bash",
        &[
            "--norc",
            "-c",
            r#". "$1" && COMP_WORDS=(mailroom con) COMP_CWORD=1 && _mailroom mailroom con mailroom && echo "${COMPREPLY[@]}""#,
            "-",
        ],
        "config",
    ),
    (
        "zsh",
        &[
            "-f",
            "-c",
            r#"cp "$1" _mailroom && fpath=($PWD $fpath) && autoload -Uz compinit && compinit -u -D && autoload -Uz +X _mailroom && print $_comps[mailroom]"#,
            "-",
        ],
        "_mailroom",
    ),
    ("fish", &["--no-config", "-c", r#"source $argv[1]; complete -C"mailroom con""#], "config"),
];

/// Bash is on every machine that runs these tests; the other two where somebody has put them.
#[test]
fn completions_are_taken_by_the_shells_that_are_there() {
    let mut taken = Vec::new();
    for (shell, arguments, expected) in COMPLETED {
        let output = run(&Settings::default(), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(stdout(&output).contains("template"), "{shell}");
        let folder = process::scratch_with("completions", &[("script", &stdout(&output))]);
        let mut command = Command::new(shell);
        command.args(*arguments).arg(folder.join("script")).current_dir(&folder).env("HOME", &folder);
        let Ok(output) = command.output() else { continue };
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        assert!(stdout(&output).starts_with(expected), "{shell}: {output:?}");
        taken.push(*shell);
    }
    assert_eq!(taken.first(), Some(&"bash"));
}
