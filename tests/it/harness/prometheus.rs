//! A real Prometheus that scrapes one worker.

use std::process::Command;

use serde_json::Value;

use super::process::{self, Process};

pub struct Prometheus {
    port: u16,
    _process: Process,
}

impl Prometheus {
    /// Starts it, to scrape `address` every second.
    pub fn scraping(address: &str) -> Prometheus {
        let folder = process::scratch("prometheus");
        let config = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: mailroom, static_configs: [{{targets: ['{address}']}}]}}]\n"
        );
        std::fs::write(folder.join("prometheus.yml"), config).expect("scratch is writable");
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
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let mut answer = agent.get(&url).query("query", query).call().expect("Prometheus answers");
        if answer.status() == 503 {
            // It is still starting.
            return 0;
        }
        let answer: Value = answer.body_mut().read_json().expect("its answer is JSON");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let result = answer["data"]["result"].as_array().expect("a vector");
        result.iter().filter(|series| series["value"][1] != "NaN").count()
    }
}
