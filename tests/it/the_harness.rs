//! The harness by itself, so that a failure elsewhere is the worker's and not the harness's.

use std::process::Command;

use crate::harness::kafka::Record;
use crate::harness::metrics::Metrics;
use crate::harness::{Answer, GreenMail, Kafka, Queue, RecordingSmtp, SmtpSink, Step, process, until};

#[test]
fn a_record_outlives_the_broker_that_took_it() {
    let kafka = Kafka::start();
    let queue = Queue::new(&kafka, 2);
    let record = Record {
        partition: 1,
        timestamp_ms: 1_700_000_000_000,
        key: Some(b"key".to_vec()),
        headers: vec![
            ("twice".to_owned(), Some(b"one".to_vec())),
            ("twice".to_owned(), Some(b"two".to_vec())),
            ("null".to_owned(), None),
        ],
        value: Some(b"{}".to_vec()),
        ..Record::default()
    };
    let null = Record { partition: 1, offset: 1, timestamp_ms: 1_700_000_000_001, ..Record::default() };
    queue.put_records(&[record.clone(), null.clone()]);
    kafka.restart("KILL");
    kafka.restart("TERM");
    assert_eq!(kafka.read(&queue.topic), [record, null]);
    assert_eq!(kafka.count(&queue.topic), 2);
    assert_eq!(queue.committed(), 0);
    assert!(!kafka.has_caught_up(&queue.group, &queue.topic));
    assert!(kafka.has_caught_up(&queue.group, &queue.dlq_topic), "nothing is on it");
}

#[test]
fn what_smtp_source_sends_is_recorded_and_answered_by_the_rule() {
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient("nobody@example.com") => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    assert!(smtp_source(relay.port(), "ada@example.com", 3).status.success());
    let refused = smtp_source(relay.port(), "nobody@example.com", 1);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("550"), "{refused:?}");
    assert_eq!(relay.copies(), [("ada@example.com".to_owned(), 3)].into());
    assert_eq!(relay.attempts_for("nobody@example.com").len(), 1);
    assert_eq!(relay.taken(), 3);
    let taken = relay.attempts_for("ada@example.com");
    assert!(taken.iter().all(|attempt| attempt.ended > Some(attempt.began)));
    assert!(taken[0].message_id().is_some());
}

#[test]
fn smtp_sink_dumps_what_it_takes() {
    let sink = SmtpSink::start(&[]);
    assert!(smtp_source(sink.port(), "ada@example.com", 4).status.success());
    let dumps = until("four dumps", || Some(sink.dumps()).filter(|dumps| dumps.len() == 4));
    assert!(dumps.iter().all(|dump| dump.contains("ada@example.com")), "{dumps:?}");
}

#[test]
fn greenmail_gives_back_what_it_takes() {
    let greenmail = GreenMail::shared();
    assert!(smtp_source(greenmail.smtp_port, "harness@example.com", 2).status.success());
    let messages = greenmail.mailbox("harness@example.com", 2);
    assert!(messages.iter().all(|message| message.contains("Message-Id:")), "{messages:?}");
}

#[test]
fn greenmail_speaks_tls_with_a_certificate_that_the_authority_of_this_run_vouches_for() {
    let greenmail = GreenMail::shared();
    for (port, options) in
        [(greenmail.smtps_port, vec![]), (greenmail.starttls_port, vec!["-starttls", "smtp"])]
    {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-brief", "-verify_return_error", "-verify_hostname", "localhost"]);
        openssl.args(["-CAfile", &greenmail.certificate.ca_file(), "-connect", &format!("localhost:{port}")]);
        openssl.args(options);
        let output = process::run(openssl, b"QUIT\r\n");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.contains("Verification: OK"), "{told}");
    }
}

#[test]
fn metrics_are_read_whatever_the_order_of_their_labels() {
    let metrics = Metrics::parse(
        "# HELP lag how far behind\n# TYPE lag gauge\nlag{topic=\"q\",partition=\"0\"} 3\nlag{topic=\"q\",partition=\"1\"} 4\nup 1\n",
    );
    assert_eq!(metrics.get("lag", &[("partition", "1"), ("topic", "q")]), 4.0);
    assert_eq!(metrics.get("up", &[]), 1.0);
    assert_eq!(metrics.sum("lag"), 7.0);
}

fn smtp_source(port: u16, to: &str, count: u32) -> std::process::Output {
    let mut source = Command::new("env");
    source.args(["PATH=/usr/sbin:/usr/bin:/bin", "smtp-source", "-m", &count.to_string(), "-t", to]);
    source.args(["-f", "sender@example.com", &format!("127.0.0.1:{port}")]);
    process::run(source, b"")
}
