//! A real Prometheus with the repository's configuration and alert rules, that scrapes one worker.

use std::process::Command;

use serde_json::Value;

use super::process::{self, Process};

pub struct Prometheus {
    port: u16,
    _process: Process,
}

impl Prometheus {
    /// Starts it with `dashboards/prometheus.yml` and the rules that this names, but every second and for `address`.
    pub fn scraping(address: &str) -> Prometheus {
        let config = include_str!("../../../dashboards/prometheus.yml")
            .replace("interval: 5s", "interval: 1s")
            .replace("worker:8080", address);
        assert!(config.contains(address), "it scrapes no worker:8080 any more: {config}");
        let rules = include_str!("../../../dashboards/alerts.yml");
        let folder =
            process::scratch_with("prometheus", &[("prometheus.yml", &config), ("alerts.yml", rules)]);
        let port = process::free_port();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut process = Process::start("Prometheus", command);
        process.accepts_on(port);
        Prometheus { port, _process: process }
    }

    /// How many series a query answers with whose value is a number; 0 while there is nothing yet.
    ///
    /// # Panics
    /// When the query is wrong.
    pub fn series(&self, query: &str) -> usize {
        // It may still be starting.
        let Some(data) = self.get("query", query) else { return 0 };
        let result = data["result"].as_array().expect("a vector");
        result.iter().filter(|series| series["value"][1] != "NaN").count()
    }

    /// The alert rules that it has loaded, as its API tells them; none while it is starting.
    pub fn rules(&self) -> Vec<Value> {
        let Some(data) = self.get("rules", "") else { return Vec::new() };
        let groups = data["groups"].as_array().expect("groups").iter();
        groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
    }

    fn get(&self, path: &str, query: &str) -> Option<Value> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let mut answer = agent.get(&url).query("query", query).call().expect("Prometheus answers");
        if answer.status() == 503 {
            return None;
        }
        let mut answer: Value = answer.body_mut().read_json().expect("its answer is JSON");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        Some(answer["data"].take())
    }
}
