//! `docs/metrics.md` against what a running worker shows: every metric, type, label and value, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker};

/// One metric: its type, and its labels, each with its values where the list is closed.
#[derive(Debug, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

/// By name, from the tables of the document.
fn documented() -> BTreeMap<String, Metric> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = std::fs::read_to_string(path).expect("docs/metrics.md is there");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let mut metrics = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, unit, meaning] = cells[..] else { panic!("not five cells: {row}") };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{row}");
        let labels = labels.split("; ").filter(|labels| *labels != "none").map(|label| {
            let (label, values) = label.split_once(": ").unwrap_or_else(|| panic!("no label: {row}"));
            // What is not a list of names says in words where the values come from.
            let closed = values.split(", ").map(|value| value.strip_prefix('`')?.strip_suffix('`'));
            (unquoted(label), closed.map(|value| value.map(str::to_owned)).collect())
        });
        let metric = Metric { kind: kind.to_owned(), labels: labels.collect() };
        let twice = metrics.insert(unquoted(name), metric);
        assert_eq!(twice, None, "{name} has two rows");
    }
    metrics
}

fn unquoted(name: &str) -> String {
    name.strip_prefix('`')
        .and_then(|name| name.strip_suffix('`'))
        .unwrap_or_else(|| panic!("{name}"))
        .to_owned()
}

/// One series of a scrape: label → value, and its number.
type Series = (BTreeMap<String, String>, f64);

/// What a scrape shows: types by name, and of each name its series.
#[derive(Debug, Default)]
struct Shown {
    kinds: BTreeMap<String, String>,
    helped: BTreeSet<String>,
    series: BTreeMap<String, Vec<Series>>,
}

fn shown(text: &str) -> Shown {
    let mut shown = Shown::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            shown.kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(!help.is_empty(), "{line}");
            shown.helped.insert(name.to_owned());
        } else if !line.is_empty() {
            let (named, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let (name, labels) = named.split_once('{').unwrap_or((named, "}"));
            let labels =
                labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once("=\""));
            let labels =
                labels.map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned()));
            let number = number.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            shown.series.entry(name.to_owned()).or_default().push((labels.collect(), number));
        }
    }
    shown
}

impl Shown {
    /// The series of a metric; of a histogram, its buckets without their borders.
    fn of(&self, name: &str, kind: &str) -> Vec<Series> {
        let suffix = if kind == "histogram" { "_bucket" } else { "" };
        let mut series = self.series.get(&format!("{name}{suffix}")).cloned().unwrap_or_default();
        if kind == "histogram" {
            series
                .iter_mut()
                .for_each(|(labels, _)| drop(labels.remove("le").expect("a bucket has a border")));
        }
        series
    }

    /// Holds it against the document; `at_start`: before any job, when all is at 0.
    fn check(&self, documented: &BTreeMap<String, Metric>, at_start: bool) {
        let there: BTreeSet<&String> = self.kinds.keys().collect();
        let named: BTreeSet<&String> = documented.keys().collect();
        assert_eq!(there, named, "what there is, and what docs/metrics.md names");
        assert_eq!(self.helped.iter().collect::<BTreeSet<_>>(), named, "each says what it is");
        for (name, metric) in documented {
            assert_eq!(self.kinds[name], metric.kind, "{name}");
            let series = self.of(name, &metric.kind);
            assert!(!series.is_empty(), "{name} has no series");
            for (labels, _) in &series {
                let labels: BTreeSet<&String> = labels.keys().collect();
                assert_eq!(labels, metric.labels.keys().collect(), "{name}");
            }
            for (label, values) in &metric.labels {
                let Some(values) = values else { continue };
                let found: BTreeSet<String> =
                    series.iter().map(|(labels, _)| labels[label].clone()).collect();
                assert_eq!(&found, values, "{name}{{{label}}}");
            }
            // The marks of partitions taken over are committed before any job is.
            let begins_at_0 = metric.kind == "counter" && !name.starts_with("process_");
            let has_begun = ["mailroom_commits_total", "mailroom_rebalances_total"].contains(&name.as_str());
            if at_start && begins_at_0 && !has_begun {
                assert!(series.iter().all(|(_, number)| *number == 0.0), "{name}: {series:?}");
            }
        }
    }
}

#[test]
fn the_document_and_a_running_worker_name_the_same_metrics_types_labels_and_values() {
    let documented = documented();
    let queue = Queue::new(Kafka::shared(), 2);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient("nobody@example.com") => Answer::Reply("550 5.1.1 No such user"),
        Step::Recipient("later@example.com") => Answer::Reply("451 4.2.0 Not yet"),
        _ => Answer::Accept,
    });
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()).set("retry.base", "10ms"));
    worker.wait_until_assigned();
    shown(&worker.get("/metrics").body).check(&documented, true);
    let jobs =
        ["ada", "nobody", "later"].map(|to| format!(r#"{{"to": "{to}@example.com", "text": "Hello"}}"#));
    queue.put(jobs.into_iter().chain(["no job".to_owned()]));
    queue.wait_until_settled();
    let after = shown(&worker.get("/metrics").body);
    after.check(&documented, false);
    let sums = |name: &str| after.of(name, "counter").iter().map(|(_, number)| number).sum::<f64>();
    assert_eq!((sums("mailroom_emails_total"), sums("mailroom_dead_letters_total")), (4.0, 3.0));
    worker.stop();
}
