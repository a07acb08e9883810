//! What the dashboard, the alerts and the runbooks say is asked of a real Prometheus that scrapes a real worker.

mod files;
mod gauges;
mod queries;

use std::collections::BTreeSet;

use crate::harness::prometheus::Prometheus;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, until};

/// The metrics of ours that neither the dashboard nor an alert shows, each with the reason.
const NOT_SHOWN: [(&str, &str); 2] = [
    ("process_threads", "says nothing that processor and memory do not"),
    ("process_virtual_memory_bytes", "is large without meaning anything"),
];

#[test]
fn dashboard_alerts_and_runbooks_ask_for_what_there_is_and_show_all_of_it() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient("nobody@example.com") => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()));
    worker.wait_until_assigned();
    let prometheus = Prometheus::scraping(worker.address());
    // A rate needs a sample from before, and one from after.
    until("the first scrape", || (prometheus.series("mailroom_consumer_lag") > 0).then_some(()));
    queue.put(
        ["ada@example.com", "nobody@example.com"].map(|to| format!(r#"{{"to": "{to}", "text": "Hello"}}"#)),
    );

    let text = worker.get("/metrics").body;
    let there: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let rules = until("the rules to be evaluated", || {
        let rules = prometheus.rules();
        (!rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown")).then_some(rules)
    });
    assert!(rules.iter().all(|rule| rule["health"] == "ok"), "{rules:#?}");
    let alerts: Vec<String> =
        rules.iter().map(|rule| rule["query"].as_str().expect("a rule has a query").to_owned()).collect();

    let panels = files::panel_queries();
    assert!(
        panels.iter().any(|query| query == r#"dlq_messages_total{topic="email-dlq"}"#),
        "the guide's query"
    );
    let shown: BTreeSet<String> =
        panels.iter().chain(&alerts).flat_map(|query| queries::metrics(query)).collect();
    let asked: BTreeSet<String> =
        files::runbook_queries().iter().flat_map(|query| queries::metrics(query)).collect();
    for name in shown.iter().chain(&asked).chain(&files::metrics_named_in_prose()) {
        let is_prometheus_own = ["up", "ALERTS"].contains(&name.as_str());
        assert!(
            is_prometheus_own || there.contains(queries::family(name)),
            "no worker has {name}: {there:?}"
        );
    }
    for name in there {
        let is_excused = NOT_SHOWN.iter().any(|(excused, _)| *excused == name);
        let is_shown = shown.iter().any(|shown| queries::family(shown) == name);
        assert!(is_shown != is_excused, "{name} is shown: {is_shown}; it is in NOT_SHOWN: {is_excused}");
    }

    // That Prometheus takes them: not each has an answer while all is well.
    for query in files::runbook_queries() {
        prometheus.series(&query);
    }
    queue.wait_until_settled();
    for query in panels {
        // This test's topic has a name of its own.
        let query = query.replace("email-dlq", &queue.dlq_topic);
        let query = queries::filled_in(&query);
        until(&format!("data for {query}"), || (prometheus.series(&query) > 0).then_some(()));
    }
    worker.stop();
}
