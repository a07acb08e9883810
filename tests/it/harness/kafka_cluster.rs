//! The brokers of one Kafka: processes that can be ended, frozen and started again, each on its port and data.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use super::cache;
use super::process::{self, Process};

/// One node, broker and controller in one.
pub struct Broker {
    port: u16,
    folder: PathBuf,
    java: fn() -> Command,
    process: Mutex<Process>,
}

impl Broker {
    /// So many brokers, one or three, all of them listening.
    pub fn start(count: usize) -> Vec<Broker> {
        let controllers: Vec<u16> = (0..count).map(|_| process::free_port()).collect();
        let brokers: Vec<Broker> =
            (0..count).map(|number| Broker::new(number, &controllers, |_| String::new())).collect();
        for broker in &brokers {
            broker.wait_until_listening();
        }
        brokers
    }

    /// One broker with further properties, made of its port; listening.
    pub fn start_with(further: impl FnOnce(u16) -> String) -> Broker {
        let broker = Broker::new(0, &[process::free_port()], further);
        broker.wait_until_listening();
        broker
    }

    fn new(number: usize, controllers: &[u16], further: impl FnOnce(u16) -> String) -> Broker {
        let folder = process::scratch("kafka");
        let port = process::free_port();
        let usual = properties(number, port, controllers, &folder);
        std::fs::write(folder.join("server.properties"), format!("{usual}\n{}", further(port)))
            .expect("scratch is writable");
        let java = if controllers.len() == 1 { java } else { small_java };
        let mut format = java();
        format.args(["kafka.tools.StorageTool", "format", "-t", "bWFpbHJvb20tdGVzdHMtMQ", "-c"]);
        format.arg(folder.join("server.properties"));
        let formatted = process::run(format, b"");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let process = Mutex::new(launch(java(), &folder));
        Broker { port, folder, java, process }
    }

    /// Where its properties are: read at each start.
    pub fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends a signal by its name without SIG: `STOP` freezes it, `CONT` lets it go on.
    pub fn signal(&self, name: &str) {
        self.process().signal(name);
    }

    /// Ends it by SIG`signal`.
    pub fn end(&self, signal: &str) {
        let mut process = self.process();
        process.signal(signal);
        process.wait();
    }

    /// Starts it again where it was, without waiting for it: brokers that were all away need each other.
    pub fn start_again(&self) {
        *self.process() = launch((self.java)(), &self.folder);
    }

    pub fn wait_until_listening(&self) {
        self.process().accepts_on(self.port);
    }

    /// Ends it by SIG`signal`, and starts it again.
    pub fn restart(&self, signal: &str) {
        self.end(signal);
        self.start_again();
        self.wait_until_listening();
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().expect("no test panics with a broker in hand")
    }
}

fn launch(mut java: Command, folder: &Path) -> Process {
    java.arg("kafka.Kafka").arg(folder.join("server.properties"));
    Process::start("Kafka", java)
}

pub(super) fn java() -> Command {
    java_with("-Xmx512m")
}

/// Three of them have to fit beside everything else.
fn small_java() -> Command {
    java_with("-Xmx256m")
}

fn java_with(heap: &str) -> Command {
    let mut java = Command::new("java");
    java.args([heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    java.arg(cache::kafka_jars().join("*"));
    java
}

fn properties(number: usize, port: u16, controllers: &[u16], folder: &Path) -> String {
    let one = include_str!("../../kafka.properties");
    let voters: Vec<String> = controllers
        .iter()
        .enumerate()
        .map(|(number, port)| format!("{}@127.0.0.1:{port}", number + 1))
        .collect();
    let node = one
        .replace("node.id=1", &format!("node.id={}", number + 1))
        .replace("1@127.0.0.1:@CONTROLLER_PORT@", &voters.join(","))
        .replace("@PORT@", &port.to_string())
        .replace("@CONTROLLER_PORT@", &controllers[number].to_string())
        .replace("@FOLDER@", &folder.display().to_string());
    if controllers.len() == 1 {
        return node;
    }
    let replicated = node
        .replace("replication.factor=1", &format!("replication.factor={}", controllers.len()))
        .replace("transaction.state.log.min.isr=1", "transaction.state.log.min.isr=2");
    // Each is a rack of its own, from which a client may read that says it is there (`client.rack`).
    // A clean end does not wait long for the others to take over: they may be ending too.
    let rack = format!(
        "broker.rack=rack-{}\nreplica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector",
        number + 1
    );
    format!("{replicated}\nmin.insync.replicas=2\ncontrolled.shutdown.max.retries=1\n{rack}\n")
}
