//! Templates as their author has them: a folder, `mailroom check`, previews, e-mails, and reloads by SIGHUP.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use mail_parser::{Message, MessageParser};
use serde_json::{Value, json};

use crate::harness::command_line::{run, run_with_input, stderr, stdout, valid};
use crate::harness::process::Process;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, process, until};

#[test]
fn check_and_run_name_file_and_line_of_every_mistake_beside_those_of_the_configuration() {
    let folder = folder(&[
        ("order.txt", "Hello {{ name }},\n{% if vip %}\nthank you!\n"),
        ("order.subject.txt", "Order {{ id|uper }}"),
        ("alone.subject.txt", "No body"),
        ("fine.html", "<p>{{ name }}</p>"),
    ]);
    let wrong = valid().set("templates.dir", folder.display()).set("mailers.size", 0);
    for command in ["check", "run"] {
        let output = run(&wrong, &[command]);
        assert_eq!(output.status.code(), Some(78), "{command}: {output:?}");
        let told = stderr(&output);
        for part in [
            "mailers.size",
            "MAILROOM__TEMPLATES__DIR",
            "order.txt:2: syntax error",
            "alone.subject.txt: ",
            "order.subject.txt:1: there is no filter uper",
        ] {
            assert!(told.contains(part), "{command} does not tell {part}: {told}");
        }
        assert!(!told.contains("http listening"), "{command} has bound before all was well");
    }
}

#[test]
fn check_finds_good_templates_good_and_warns_of_strangers() {
    let folder = folder(&[("order.txt", "Hello {{ name }}"), ("README.md", "# Templates")]);
    let output = run(&valid().set("templates.dir", folder.display()), &["check"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(stdout(&output), "configuration ok, 2 templates\n");
    assert!(stderr(&output).contains("README.md is passed over"), "{output:?}");
}

#[test]
fn a_folder_that_is_not_there_is_wrong_configuration() {
    for command in ["check", "run"] {
        let output = run(&valid().set("templates.dir", "/nowhere/templates"), &[command]);
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(stderr(&output).contains("the folder can't be read"), "{output:?}");
    }
}

#[test]
fn a_preview_prints_what_would_be_sent() {
    let folder = folder(&ORDER);
    let dir = folder.display().to_string();
    let variables = write(&folder, ".variables.json", r#"{"name": "Ada & Bob", "order": {"id": 7}}"#);
    let variables = variables.display().to_string();
    let preview = ["template", "preview", "order", "--dir", &dir, "--variables"];
    let output = run(&Settings::default(), &[&preview[..], &[&variables]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        stdout(&output),
        "Subject: Order 7\n\n----- text -----\nHello Ada & Bob\n\n----- HTML -----\n<p>Hello Ada &amp; Bob</p>\n"
    );
    let from_stdin = run_with_input(
        &Settings::default(),
        &[&preview[..], &["-", "--html"]].concat(),
        br#"{"name": "Grace", "order": {}}"#,
    );
    assert_eq!(stdout(&from_stdin), "<p>Hello Grace</p>\n", "{from_stdin:?}");
    // As its author tries it against the worker's own configuration.
    let as_json = run(
        &Settings::default().set("templates.dir", &dir),
        &["template", "preview", "order", "--json", "--variables", &variables, "--var", "name=Grace"],
    );
    let json: Value =
        serde_json::from_str(&stdout(&as_json)).unwrap_or_else(|_| panic!("no JSON: {as_json:?}"));
    let expected = json!({"subject": "Order 7", "text": "Hello Grace\n", "html": "<p>Hello Grace</p>\n"});
    assert_eq!(json, expected);
}

#[test]
fn a_preview_can_be_the_whole_e_mail() {
    let dir = folder(&ORDER).display().to_string();
    let variables =
        ["--variables", "-", "--eml", "--from", "Shop <shop@example.com>", "--to", "ada@example.com"];
    let arguments = [&["template", "preview", "order", "--dir", &dir], &variables[..]].concat();
    let output = run_with_input(
        &Settings::default(),
        &arguments,
        r#"{"name": "Grüße", "order": {"id": 7}}"#.as_bytes(),
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.is_ascii() && output.stdout.ends_with(b"\r\n"), "{output:?}");
    let message = MessageParser::default().parse(&output.stdout).expect("an e-mail");
    assert_eq!(message.subject(), Some("Order 7"));
    assert_eq!(message.from().and_then(|from| from.first()?.address()), Some("shop@example.com"));
    assert_eq!(message.to().and_then(|to| to.first()?.address()), Some("ada@example.com"));
    assert_eq!((text(&message).trim_end(), html(&message).trim_end()), ("Hello Grüße", "<p>Hello Grüße</p>"));
}

#[test]
fn a_preview_that_fails_says_why_on_stderr_and_ends_with_1() {
    let folder = folder(&ORDER);
    let dir = folder.display().to_string();
    for (arguments, input, expected) in [
        (&["order", "--var", "name=Ada"][..], "", "order.subject.txt:1: missing variable order"),
        (&["ordre"], "", "there are: order, otp"),
        (&["order", "--variables", "-"], "[]", "is no JSON object"),
        (&["order", "--variables", "/nowhere.json"], "", "/nowhere.json: can't be read"),
    ] {
        let arguments = [&["template", "preview", "--dir", &dir], arguments].concat();
        let output = run_with_input(&Settings::default(), &arguments, input.as_bytes());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty() && stderr(&output).contains(expected), "{output:?}");
    }
    write(&folder, "broken.txt", "{{ open");
    let output = run(&Settings::default(), &["template", "ls", "--dir", &dir]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[test]
fn templates_are_listed_with_their_files() {
    let folder = folder(&ORDER);
    let output = run(&Settings::default(), &["template", "ls", "--dir", &folder.display().to_string()]);
    assert_eq!(stdout(&output), "order: order.subject.txt order.txt order.html\notp: (built in)\n");
}

#[test]
fn a_job_with_a_template_arrives_as_the_template_says() {
    let folder = folder(&ORDER);
    let (queue, relay) = (Queue::new(Kafka::shared(), 1), RecordingSmtp::start());
    let settings = Settings::new(&queue, relay.port()).set("templates.dir", folder.display());
    // By the command line, so that its options are tried too.
    let variables = write(
        &folder,
        ".variables.json",
        r#"{"order": {"id": 18446744073709551616}, "name": "Grüße & <b>"}"#,
    );
    let variables = variables.display().to_string();
    let send = ["send", "--to", "ada@example.com", "--template", "order", "--variables", &variables];
    assert_eq!(run(&settings, &send).status.code(), Some(0));
    queue.put([json!({"to": "grace@example.com", "template": "order", "subject": "Own", "variables": {"name": "Grace"}}).to_string()]);
    let worker = TestWorker::start(&settings);
    queue.wait_until_settled();
    worker.stop();
    assert!(queue.dead_letters().is_empty(), "{:?}", queue.dead_letters());

    received(&relay, "ada@example.com", |message| {
        assert_eq!(message.subject(), Some("Order 18446744073709551616"));
        assert_eq!(text(message).trim_end(), "Hello Grüße & <b>");
        assert_eq!(html(message).trim_end(), "<p>Hello Grüße &amp; &lt;b&gt;</p>");
    });
    received(&relay, "grace@example.com", |message| {
        assert_eq!(
            message.subject(),
            Some("Own"),
            "what the job says itself wins, and its order is not asked for"
        );
        assert_eq!(text(message).trim_end(), "Hello Grace");
    });
}

#[test]
fn an_own_otp_replaces_the_built_in_one() {
    let folder = folder(&[("otp.subject.txt", "Shop: sign in"), ("otp.txt", "{{ otp }} is your code\n")]);
    let (queue, relay) = (Queue::new(Kafka::shared(), 1), RecordingSmtp::start());
    queue.put([r#"{"to": "ada@example.com", "otp": "493021"}"#]);
    let worker =
        TestWorker::start(&Settings::new(&queue, relay.port()).set("templates.dir", folder.display()));
    queue.wait_until_settled();
    worker.stop();
    received(&relay, "ada@example.com", |message| {
        assert_eq!(message.subject(), Some("Shop: sign in"));
        assert_eq!(text(message).trim_end(), "493021 is your code");
        assert_eq!(message.attachment_count(), 0);
        assert!(
            !String::from_utf8_lossy(message.raw_message()).contains("text/html"),
            "nothing of the built-in one"
        );
    });
}

#[test]
fn what_a_template_can_not_make_is_dead_lettered_at_once_and_names_no_value() {
    let folder = folder(&ORDER);
    write(
        &folder,
        "endless.txt",
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ name }}{% endfor %}{% endfor %}",
    );
    let (queue, relay) = (Queue::new(Kafka::shared(), 1), RecordingSmtp::start());
    let job = |template: &str, variables: Value| {
        json!({"to": "ada@example.com", "template": template, "variables": variables}).to_string()
    };
    queue.put([
        job("order", json!({"name": "canary", "order": {}})),
        job("canary", json!({})),
        job("endless", json!({"name": "canary"})),
        job("order", json!({"name": "Ada", "order": {"id": 7}})),
    ]);
    let worker =
        TestWorker::start(&Settings::new(&queue, relay.port()).set("templates.dir", folder.display()));
    queue.wait_until_settled();
    let log = worker.stop();
    let letters = queue.dead_letters();
    let mut reasons: Vec<&str> = letters.iter().map(|letter| letter.text("error_reason")).collect();
    reasons.sort_unstable();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons[0].contains("endless.txt:1: takes more than the 1000000 steps"), "{reasons:?}");
    assert!(reasons[1].contains("order.subject.txt:1: missing variable order.id"), "{reasons:?}");
    assert!(reasons[2].contains("there are: endless, order, otp"), "{reasons:?}");
    for letter in &letters {
        assert_eq!((letter.text("cause"), letter.text("stage")), ("render", "render"), "{}", letter.value);
        assert_eq!(letter.value["retry_count"], 0);
        assert!(!letter.text("error_reason").contains("canary"), "{}", letter.value);
    }
    assert!(!log.iter().any(|line| line.contains("canary")), "{log:?}");
    assert_eq!(relay.taken(), 1, "they block nothing");
}

#[test]
fn a_hangup_reloads_all_templates_or_none_and_never_ends_the_process() {
    let folder = folder(&[("news.txt", "old {{ n }}")]);
    let (queue, relay) = (Queue::new(Kafka::shared(), 1), RecordingSmtp::start());
    let worker =
        TestWorker::start(&Settings::new(&queue, relay.port()).set("templates.dir", folder.display()));
    let body_after = |n: usize| {
        queue.put([json!({"to": format!("user{n}@example.com"), "template": "news", "variables": {"n": n}})
            .to_string()]);
        queue.wait_until_settled();
        received(&relay, &format!("user{n}@example.com"), |message| text(message).trim_end().to_owned())
    };
    assert_eq!(body_after(1), "old 1");

    write(&folder, "news.txt", "new {{ n }}");
    assert_eq!(body_after(2), "old 2", "not before it is told");
    worker.signal("HUP");
    let reloaded = logged(&worker, "templates reloaded");
    assert_eq!((&reloaded["level"], &reloaded["templates"]), (&"INFO".into(), &2.into()), "{reloaded}");
    assert_eq!(body_after(3), "new 3");

    write(&folder, "news.txt", "newer {{ n }}");
    write(&folder, "other.html", "fine\n{{ open");
    worker.signal("HUP");
    let refused = logged(&worker, "templates not reloaded, the old ones stay");
    assert_eq!(refused["level"], "ERROR", "{refused}");
    let mistakes = refused["mistakes"].as_str().unwrap_or_else(|| panic!("no mistakes: {refused}"));
    assert!(mistakes.starts_with("other.html:2: syntax error"), "{mistakes}");
    assert_eq!(body_after(4), "new 4", "the old set stays as a whole");
    worker.stop();
}

#[test]
fn a_hangup_without_a_folder_says_that_there_is_nothing_to_reload() {
    let (queue, relay) = (Queue::new(Kafka::shared(), 1), RecordingSmtp::start());
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.signal("HUP");
    assert_eq!(logged(&worker, "there is no templates.dir, so nothing to reload")["level"], "INFO");
    worker.stop();
}

#[test]
fn a_hangup_before_the_start_is_over_does_not_end_the_process() {
    let (queue, relay) = (Queue::new(Kafka::shared(), 1), RecordingSmtp::start());
    // It reads its configuration for as long as this pipe is open.
    let pipe = process::scratch("pipe").join("config.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("coreutils has it").success());
    let settings = Settings::new(&queue, relay.port());
    let command = settings.command(&["run", "--config", &pipe.display().to_string()]);
    let mut worker = Process::start("mailroom", command);
    let writer = OpenOptions::new().write(true).open(&pipe).expect("it is opened for reading");
    worker.signal("HUP");
    drop(writer);
    until("the reload after the start", || {
        assert!(worker.has_ended().is_none(), "{:?}", worker.stderr());
        worker.stderr().iter().any(|line| line.contains("nothing to reload")).then_some(())
    });
    worker.signal("TERM");
    assert_eq!(worker.wait().code(), Some(0), "{:?}", worker.stderr());
}

#[test]
fn hangups_while_it_stops_neither_end_nor_hold_the_worker() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Dot(_) => Answer::AcceptAfter(Duration::from_secs(2)),
        _ => Answer::Accept,
    });
    queue.put([r#"{"to": "ada@example.com", "text": "Hello"}"#]);
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    until("the e-mail to be past the dot", || {
        (worker.metrics().get("mailroom_in_flight", &[]) > 0.0).then_some(())
    });
    until("the attempt", || (!relay.attempts().is_empty()).then_some(()));
    worker.signal("TERM");
    logged(&worker, "stopping");
    let told = Instant::now();
    worker.signal("HUP");
    let (code, log) = worker.wait();
    assert_eq!(code, Some(0), "{log:?}");
    assert!(told.elapsed() < Duration::from_secs(60));
}

/// A whole template.
const ORDER: [(&str, &str); 3] = [
    ("order.subject.txt", "Order {{ order.id }}\n"),
    ("order.txt", "Hello {{ name }}\n"),
    ("order.html", "<p>Hello {{ name }}</p>\n"),
];

fn folder(files: &[(&str, &str)]) -> PathBuf {
    process::scratch_with("templates", files)
}

fn write(folder: &Path, file: &str, content: &str) -> PathBuf {
    let path = folder.join(file);
    std::fs::write(&path, content).expect("the folder is writable");
    path
}

/// What `look` finds in the one e-mail that the relay took for `recipient`, read by somebody else's parser.
fn received<T>(relay: &RecordingSmtp, recipient: &str, look: impl FnOnce(&Message<'_>) -> T) -> T {
    let attempts = relay.attempts_for(recipient);
    assert_eq!(attempts.len(), 1, "{recipient}");
    let taken = attempts[0].taken.as_deref().expect("the relay takes everything");
    look(&MessageParser::default().parse(taken).expect("an e-mail"))
}

fn text(message: &Message<'_>) -> String {
    message.body_text(0).expect("a text").into_owned()
}

fn html(message: &Message<'_>) -> String {
    message.body_html(0).expect("HTML").into_owned()
}

/// The first line of the worker's log with this message, once there is one.
fn logged(worker: &TestWorker, message: &str) -> Value {
    until(message, || {
        let lines = worker.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        lines.into_iter().find(|line| line["message"] == message)
    })
}
