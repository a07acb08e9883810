//! The dashboard, the alerts, their tests and the runbooks, as files: do they fit each other?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

const RUNBOOKS: &str = "https://mailroom.example/docs/runbooks";

/// Every query of the dashboard, with Grafana's variables in it.
pub fn panel_queries() -> Vec<String> {
    let panels = panels();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("a target has a query").to_owned()).collect()
}

/// Every query that a runbook gives, each a line of a block marked `promql`.
pub fn runbook_queries() -> Vec<String> {
    let mut queries = Vec::new();
    for text in files_in("docs/runbooks").iter().map(|path| read(path)) {
        let blocks = text.split("```promql\n").skip(1);
        let lines = blocks.flat_map(|block| block.split("```").next().expect("a block ends").lines());
        queries.extend(lines.map(str::to_owned));
    }
    assert!(queries.len() > 20, "the runbooks have queries: {queries:?}");
    queries
}

/// Whatever looks like a metric of ours in any document, and in the tests of the alerts.
pub fn metrics_named_in_prose() -> BTreeSet<String> {
    let mut files = files_in("docs/runbooks");
    files.extend(files_in("docs"));
    files.extend(files_in("dashboards"));
    files.extend(
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "config.toml"].map(|name| root().join(name)),
    );
    let texts: Vec<String> = files.iter().map(|path| read(path)).collect();
    let words = texts.iter().flat_map(|text| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    let ours = ["mailroom_", "email_attempts_", "dlq_messages_"];
    words.filter(|word| ours.iter().any(|start| word.starts_with(start))).map(str::to_owned).collect()
}

#[test]
fn each_panel_has_its_place_its_unit_and_says_what_good_looks_like() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_i64() >= Some(39));
    let variables: Vec<_> = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(variables, ["datasource", "job", "instance", "runbooks"]);
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels() {
        let title = panel["title"].as_str().expect("a panel has a title");
        assert!(ids.insert(panel["id"].as_i64().expect("a panel has an id")), "{title}: its id is taken");
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{title} has no {key}"));
        assert!(at("x") + at("w") <= 24, "{title} is too wide");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies over another");
            }
        }
        if ["row", "text"].contains(&panel["type"].as_str().expect("a panel has a type")) {
            continue;
        }
        let told = panel["description"].as_str().unwrap_or_default();
        assert!(told.starts_with("Good: "), "{title}: {told}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title} has no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(
            panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()),
            "{title} asks nothing"
        );
        for page in told.split("${runbooks}/").skip(1) {
            let page = page.split(')').next().expect("a link ends");
            assert!(root().join("docs/runbooks").join(page).exists(), "{title}: there is no {page}");
        }
    }
}

#[test]
fn each_alert_has_a_runbook_a_test_that_it_fires_and_one_that_it_does_not() {
    let alerts = read(&root().join("dashboards/alerts.yml"));
    let tests = read(&root().join("dashboards/alerts_test.yml"));
    let index = read(&root().join("docs/runbooks/README.md"));
    let mut names = BTreeSet::new();
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().expect("a rule has a name");
        names.insert(name.to_owned());
        assert!(rule.contains("severity: page") || rule.contains("severity: ticket"), "{name}: no severity");
        for annotation in ["summary: ", "description: ", &format!("runbook_url: {RUNBOOKS}/{name}.md\n")] {
            assert!(rule.contains(annotation), "{name} has no {annotation}");
        }
        let tested = |how: &str| tests.contains(&format!("alertname: {name}\n        exp_alerts:{how}\n"));
        assert!(tested("") && tested(" []"), "{name} is not tested both ways");
        let runbook = read(&root().join(format!("docs/runbooks/{name}.md")));
        assert!(runbook.starts_with(&format!("# {name}\n")), "{name}'s runbook names another");
        for part in ["Meaning", "Impact", "Diagnosis", "Remedy"] {
            assert!(runbook.contains(&format!("\n## {part}\n")), "{name}'s runbook has no {part}");
        }
        assert!(index.contains(&format!("[{name}]({name}.md)")), "the index has no {name}");
    }
    names.insert("README".to_owned());
    let pages = files_in("docs/runbooks");
    let pages = pages.iter().map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned());
    assert_eq!(pages.collect::<BTreeSet<_>>(), names, "a runbook without an alert");
}

fn dashboard() -> Value {
    serde_json::from_str(&read(&root().join("dashboards/mailroom.json"))).expect("the dashboard is JSON")
}

fn panels() -> Vec<Value> {
    dashboard()["panels"].as_array().expect("it has panels").clone()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of one folder, without those of the folders in it.
fn files_in(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    paths.filter(|path| path.is_file()).collect()
}
