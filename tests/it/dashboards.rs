//! The dashboard shows something: each panel's query is asked of a real Prometheus that scrapes a real worker.

use serde_json::Value;

use crate::harness::prometheus::Prometheus;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, until};

#[test]
fn each_panel_of_the_dashboard_has_data_once_e_mails_were_sent_and_dead_lettered() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient("nobody@example.com") => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_ready();
    let prometheus = Prometheus::scraping(worker.address());
    // A rate needs a sample from before, and one from after.
    until("the first scrape", || (prometheus.series("mailroom_pool_size") > 0).then_some(()));
    queue.put(
        ["ada@example.com", "nobody@example.com"].map(|to| format!(r#"{{"to": "{to}", "text": "Hello"}}"#)),
    );
    queue.wait_until_settled();

    let dashboard: Value =
        serde_json::from_str(include_str!("../../dashboards/mailroom.json")).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("a panel has targets"));
    let queries: Vec<&str> =
        targets.map(|target| target["expr"].as_str().expect("a target has a query")).collect();
    assert!(queries.contains(&r#"dlq_messages_total{topic="email-dlq"}"#), "the guide's query: {queries:?}");
    for query in queries {
        // This test's topic has a name of its own.
        let query = query.replace("email-dlq", &queue.dlq_topic);
        until(&format!("data for {query}"), || (prometheus.series(&query) > 0).then_some(()));
    }
    worker.stop();
}
