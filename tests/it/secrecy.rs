//! What is nobody's business stays out of the log at every level, the metrics, health and error answers (SECURITY.md).

use serde_json::{Value, json};

use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker};

const TOKEN: &str = "token-canary-8c1f";

/// Where an e-mail has what must not be told; each has `canary` in it, in the e-mail's own form or encoded.
fn secret_job(to: &str) -> Value {
    json!({
        "to": [to, {"email": "kim.canary@example.com", "name": "Kim Canary-Name"}],
        "cc": "Lee Canary-Name <lee.canary@example.com>",
        "bcc": "max.canary@example.com",
        "from": "Canary-Sender <sender.canary@example.com>",
        "reply_to": "reply.canary@example.com",
        "subject": "subject-canary",
        "text": "body-canary",
        "html": "<p>html-canary</p>",
        "headers": {"X-Order": "header-canary"},
        "attachments": [{"filename": "name-canary.txt", "content": "Y29udGVudC1jYW5hcnk="}],
        "unknown": "field-canary",
    })
}

fn with(mut job: Value, member: &str, value: Value) -> String {
    job[member] = value;
    job.to_string()
}

#[test]
fn neither_the_log_nor_any_answer_tells_an_address_a_code_a_body_or_a_secret() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient("nobody.canary@example.com") => {
            Answer::Reply("550 5.1.1 <nobody.canary@example.com>: nobody.canary@example.com is unknown here")
        }
        Step::Recipient("later.canary@example.com") => {
            Answer::Reply("451 4.2.0 later.canary@example.com: try again later")
        }
        _ => Answer::Accept,
    });
    let settings = Settings::new(&queue, relay.port())
        .set("http.admin_token", TOKEN)
        .set("retry.base", "20ms")
        .set("log.level", "trace");
    let otp = r#"{"to": "otp.canary@example.com", "otp": "canary-493021"}"#;
    let whole = secret_job("ada.canary@example.com");
    let jobs = [
        otp.to_owned(),
        whole.to_string(),
        // Refused for good, refused for now.
        secret_job("nobody.canary@example.com").to_string(),
        secret_job("later.canary@example.com").to_string(),
        // No e-mail can be made of these, each for another reason.
        otp[..otp.len() - 3].to_owned(),
        with(whole.clone(), "to", json!("canary no address")),
        with(whole.clone(), "otp", json!(1_234_567)),
        with(whole.clone(), "subject", json!("subject-canary\r\nBcc: evil.canary@example.com")),
        with(whole.clone(), "headers", json!({"Subject": "header-canary"})),
        with(whole.clone(), "headers", json!({"X-Name-canary\n": "header-canary"})),
        with(whole.clone(), "attachments", json!([{"filename": "a", "content": "canary!"}])),
        with(whole.clone(), "expires_at", json!("canary-o'clock")),
        with(whole.clone(), "template", json!("template-of-nobody")),
        with(whole.clone(), "id", json!("id-canary".repeat(40))),
        with(whole, "tags", json!({"canary": 1})),
    ];
    queue.put(jobs.clone());
    let worker = TestWorker::start(&settings);
    queue.wait_until_settled();

    let answers = [
        worker.get("/metrics"),
        worker.get("/health"),
        worker.get("/health/live"),
        worker.get("/health/ready"),
        worker.get("/pool"),
        worker.request("PUT", "/pool", Some("guess-canary"), Some(r#"{"size": 2}"#)),
        worker.request("PUT", "/pool", Some(TOKEN), Some(r#"{"size": "canary"}"#)),
        worker.request("PUT", "/pool", Some(TOKEN), Some("canary")),
        worker.get("/canary?token=canary"),
    ];
    for answer in &answers {
        assert!(!answer.body.to_lowercase().contains("canary"), "{answer:?}");
    }
    let log = worker.stop();
    assert!(log.len() > jobs.len(), "each job has its line: {log:?}");
    assert!(log.iter().any(|line| line.contains("***@example.com")), "addresses are masked: {log:?}");
    for line in &log {
        let told = line.to_lowercase();
        for encoded in ["canary", "y29udgvudc1jyw5hcnk", "493021"] {
            assert!(!told.contains(encoded), "the log tells {encoded}: {line}");
        }
    }
    let letters = queue.dead_letters();
    assert_eq!(letters.len(), jobs.len() - 2, "all but two of them fail");
    for letter in letters.iter().filter(|letter| letter.text("stage") != "rcpt") {
        // The dead letter holds the job; its reason is what gets copied into tickets and chats.
        assert!(
            !letter.text("error_reason").to_lowercase().contains("canary"),
            "{}",
            letter.text("error_reason")
        );
    }
}
