//! The worker as its operator has it: the binary, its environment, its HTTP, its log and its signals.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::metrics::Metrics;
use super::process::{self, Process};
use super::{Queue, until};

/// The configuration of one worker, by the contract's keys (`smtp.port`), handed over in the environment.
#[derive(Clone, Default)]
pub struct Settings {
    keys: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    read_only: bool,
}

/// Makes every file system read-only for the program behind it; ends with 99 where one still is not.
const READ_ONLY: &str = r#"
    while read -r _ point _; do mount -o remount,bind,ro "$point"; done 2>/dev/null </proc/self/mounts
    for folder in "$PWD" /tmp /var/tmp /dev/shm; do
        ! touch "$folder/mailroom-was-here" 2>/dev/null || { rm "$folder/mailroom-was-here"; exit 99; }
    done
    exec "$0" "$@""#;

impl Settings {
    /// A worker for a test's queue, with a relay on a port of 127.0.0.1 that takes e-mails without TLS.
    pub fn new(queue: &Queue<'_>, relay_port: u16) -> Settings {
        Settings::default()
            .set("kafka.brokers", queue.kafka.address())
            .set("kafka.topic", &queue.topic)
            .set("kafka.dlq_topic", &queue.dlq_topic)
            .set("kafka.decisions_topic", queue.decisions_topic())
            .set("kafka.group", &queue.group)
            .set("smtp.host", "127.0.0.1")
            .set("smtp.port", relay_port)
            .set("smtp.security", "plain")
            .set("smtp.from", "Mailroom <noreply@mailroom.example>")
            .set("http.bind", "127.0.0.1:0")
            .set("log.format", "json")
    }

    pub fn set(mut self, key: &str, value: impl ToString) -> Settings {
        self.keys.insert(key.to_owned(), value.to_string());
        self
    }

    /// How long a worker may be silent before the brokers give its partitions to others; at least 1 s.
    pub fn session(self, timeout: Duration) -> Settings {
        self.set("kafka.properties.session.timeout.ms", timeout.as_millis())
    }

    /// The worker ends itself, as by kill -9, when it reaches this point for the `times`-th time.
    pub fn killed_at(self, point: &str, times: u32) -> Settings {
        self.environment("MAILROOM_KILL_AT", format!("{point}:{times}"))
    }

    /// The worker stops itself, as by kill -STOP, when it reaches this point for the `times`-th time.
    pub fn frozen_at(self, point: &str, times: u32) -> Settings {
        self.environment("MAILROOM_FREEZE_AT", format!("{point}:{times}"))
    }

    /// A variable of the environment that is no key of the configuration.
    pub fn environment(mut self, name: &str, value: impl ToString) -> Settings {
        self.environment.insert(name.to_owned(), value.to_string());
        self
    }

    /// The worker can write to no file system, as in a container with a read-only root.
    pub fn with_read_only_root(mut self) -> Settings {
        self.read_only = true;
        self
    }

    /// The binary with this configuration and no other, in a folder without a config.toml.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match self.read_only {
            false => Command::new(env!("CARGO_BIN_EXE_mailroom")),
            true => {
                // Its mounts are its own; root of its own user namespace where the test is not root.
                let mut command = Command::new("unshare");
                command.args(["--map-root-user", "--mount", "sh", "-c", READ_ONLY]);
                command.arg(env!("CARGO_BIN_EXE_mailroom"));
                command
            }
        };
        command.args(arguments).current_dir(process::scratch("worker"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MAILROOM__")) {
            command.env_remove(name);
        }
        for (key, value) in &self.keys {
            // librdkafka's own names stay as they are.
            let name = match key.strip_prefix("kafka.properties.") {
                Some(property) => format!("KAFKA__PROPERTIES__{property}"),
                None => key.to_uppercase().replace('.', "__"),
            };
            command.env(format!("MAILROOM__{name}"), value);
        }
        command.envs(&self.environment);
        command
    }
}

pub struct TestWorker {
    process: Process,
    address: String,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl TestWorker {
    /// Starts `mailroom run`, and waits until it tells where its HTTP is: in the first line of its log.
    pub fn start(settings: &Settings) -> TestWorker {
        let mut process = Process::start("mailroom", settings.command(&["run"]));
        let first = until("the first log line", || {
            let first = process.stderr().into_iter().next();
            if let Some(status) = process.has_ended().filter(|_| first.is_none()) {
                panic!("mailroom ended with {status}: {:?}", process.stderr());
            }
            first
        });
        let line: Value = serde_json::from_str(&first).unwrap_or_else(|_| panic!("no JSON: {first}"));
        assert_eq!(line["message"], "http listening", "{line}");
        let address = line["address"].as_str().unwrap_or_else(|| panic!("no address: {line}")).to_owned();
        TestWorker { process, address }
    }

    /// Where its HTTP is, as `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, None, None)
    }

    /// `PUT /pool`, with the token that a worker of a test has.
    pub fn resize(&self, size: usize, token: &str) -> Reply {
        self.request("PUT", "/pool", Some(token), Some(&format!("{{\"size\": {size}}}")))
    }

    pub fn request(&self, method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Reply {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
        self.request_with(method, path, &headers, body)
    }

    pub fn request_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Reply {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(std::time::Duration::from_secs(30)))
            .build()
            .into();
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(body) => agent.run(request.body(body.to_owned()).expect("the request is well formed")),
            None => agent.run(request.body(()).expect("the request is well formed")),
        };
        let mut answer =
            answer.unwrap_or_else(|error| panic!("{method} {path}: {error}; log {:?}", self.log()));
        let headers = answer.headers().iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Reply {
            status: answer.status().as_u16(),
            headers: headers.collect(),
            body: answer.body_mut().read_to_string().expect("the body is text"),
        }
    }

    pub fn metrics(&self) -> Metrics {
        let reply = self.get("/metrics");
        assert_eq!(reply.status, 200, "{reply:?}");
        Metrics::parse(&reply.body)
    }

    pub fn wait_until_ready(&self) {
        until("/health/ready to be 200", || (self.get("/health/ready").status == 200).then_some(()));
    }

    /// Whether it has a partition: the series of one is there while it is assigned.
    pub fn has_a_partition(&self) -> bool {
        self.get("/metrics").body.contains("mailroom_consumer_lag{partition=")
    }

    pub fn wait_until_assigned(&self) {
        until("a partition", || self.has_a_partition().then_some(()));
    }

    /// The lines that it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.process.stderr()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether a SIGSTOP holds it.
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        // Behind the name, which may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// Closes our end of its log, or stops reading it, from the next line on.
    pub fn close_log(&self) {
        self.process.close_stderr();
    }

    /// See [`TestWorker::close_log`].
    pub fn stall_log(&self) {
        self.process.stall_stderr();
    }

    /// Sends a signal by its name without SIG: `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// The exit code, or none when a signal ended it, and the whole log.
    pub fn wait(mut self) -> (Option<i32>, Vec<String>) {
        let status = self.process.wait();
        (status.code(), self.process.stderr())
    }

    /// Stops it as its operator does, and returns the whole log.
    ///
    /// # Panics
    /// When it does not exit with 0.
    pub fn stop(self) -> Vec<String> {
        self.signal("TERM");
        let (code, log) = self.wait();
        assert_eq!(code, Some(0), "{log:?}");
        log
    }

    /// Kills it where it stands.
    pub fn kill(self) {
        self.signal("KILL");
        assert_eq!(self.wait().0, None);
    }
}
