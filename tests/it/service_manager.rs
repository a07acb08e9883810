//! What a service manager such as systemd hears from the worker over its socket, and how the worker runs in the
//! narrow world that the unit and the image give it. No Kafka is needed: brokers that are away are no reason not to run.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::harness::command_line::valid;
use crate::harness::process;
use crate::harness::{Answer, Kafka, Queue, RecordingSmtp, Settings, Step, TestWorker, until};

/// The manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new() -> Manager {
        let path = process::scratch("manager").join("notify");
        let socket = UnixDatagram::bind(&path).expect("the folder is writable");
        socket.set_read_timeout(Some(Duration::from_secs(120))).expect("a socket takes a time-out");
        Manager { socket, path: path.display().to_string() }
    }

    /// The assignments of the next message.
    fn next(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("the worker says something");
        String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect()
    }

    /// Waits for a message in which this stands; returns the whole of it.
    fn hears(&self, assignment: &str) -> Vec<String> {
        until(assignment, || {
            Some(self.next()).filter(|message| message.iter().any(|line| line == assignment))
        })
    }
}

/// A worker whose brokers are away.
fn alone() -> Settings {
    valid().set("kafka.brokers", "127.0.0.1:1").set("http.bind", "127.0.0.1:0").set("log.format", "json")
}

fn wait_until_logged(worker: &TestWorker, message: &str) {
    until(message, || worker.log().iter().any(|line| line.contains(message)).then_some(()));
}

#[test]
fn a_manager_hears_that_the_worker_is_ready_alive_reloading_and_stopping_though_kafka_is_away() {
    let manager = Manager::new();
    let settings = alone()
        .set("worker.drain_timeout", "7s")
        .environment("NOTIFY_SOCKET", &manager.path)
        .environment("WATCHDOG_USEC", 400_000);
    let worker = TestWorker::start(&settings);
    manager.hears("READY=1");
    let status = until("a line for people", || {
        manager.next().into_iter().find(|line| line.starts_with("STATUS=") && line.contains("not ready"))
    });
    assert!(status.contains("Kafka") || status.contains("kafka"), "what is not ready: {status}");
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }

    worker.signal("HUP");
    let reloading = manager.hears("RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    manager.hears("READY=1");

    worker.signal("TERM");
    let stopping = manager.hears("STOPPING=1");
    assert!(
        stopping.contains(&"EXTEND_TIMEOUT_USEC=17000000".to_owned()),
        "the drain time and 10 s: {stopping:?}"
    );
    assert_eq!(worker.wait().0, Some(0));
}

#[test]
fn a_worker_whose_actors_hang_is_no_longer_mentioned_to_the_watchdog_and_not_live() {
    let manager = Manager::new();
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let limit = Duration::from_secs(2);
    let settings = Settings::new(&queue, relay.port())
        .environment("NOTIFY_SOCKET", &manager.path)
        .environment("WATCHDOG_USEC", limit.as_micros())
        .environment("MAILROOM_HANG_AT", "before-mail:3");
    let worker = TestWorker::start(&settings);
    manager.hears("READY=1");
    worker.wait_until_assigned();
    manager.hears("WATCHDOG=1");
    queue.put((0..3).map(|n| format!(r#"{{"to": "a{n}@example.com", "text": "Hello"}}"#)));
    let last = manager.hears("STATUS=the worker does not answer");
    assert!(!last.contains(&"WATCHDOG=1".to_owned()), "{last:?}");
    // So long the manager waits before it ends a worker.
    manager.socket.set_read_timeout(Some(limit)).expect("a socket takes a time-out");
    let more = manager.socket.recv(&mut [0; 4096]);
    assert_eq!(more.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "it is heard of no more");
    until("HTTP to say so too", || (worker.get("/health/live").status == 503).then_some(()));
    worker.kill();
}

#[test]
fn a_worker_with_both_hands_full_goes_on_telling_the_watchdog_that_it_is_alive() {
    const JOBS: usize = 6_000;
    let manager = Manager::new();
    let queue = Queue::new(Kafka::shared(), 4);
    let relay = RecordingSmtp::start();
    queue.put((0..JOBS).map(|n| format!(r#"{{"to": "a{n}@example.com", "text": "Hello"}}"#)));
    let settings = Settings::new(&queue, relay.port())
        .environment("NOTIFY_SOCKET", &manager.path)
        .environment("WATCHDOG_USEC", 400_000);
    let worker = TestWorker::start(&settings);
    until("mail to go out", || (relay.taken() > 0).then_some(()));
    let mut heard = 0;
    while relay.taken() < JOBS {
        let message = manager.next();
        assert!(!message.contains(&"STATUS=the worker does not answer".to_owned()), "{message:?}");
        heard += usize::from(message.contains(&"WATCHDOG=1".to_owned()));
    }
    assert!(heard >= 3, "{heard} signs of life while {JOBS} e-mails went out");
    worker.stop();
}

#[test]
fn without_a_watchdog_no_sign_of_life_is_sent() {
    let manager = Manager::new();
    let worker = TestWorker::start(&alone().environment("NOTIFY_SOCKET", &manager.path));
    manager.hears("READY=1");
    worker.signal("TERM");
    until("the end of what it says", || {
        let message = manager.next();
        assert!(!message.contains(&"WATCHDOG=1".to_owned()), "{message:?}");
        message.contains(&"STOPPING=1".to_owned()).then_some(())
    });
    assert_eq!(worker.wait().0, Some(0));
}

#[test]
fn without_a_manager_there_is_not_even_a_thread_that_would_tell_it() {
    let worker = TestWorker::start(&alone().environment("WATCHDOG_USEC", 400_000));
    worker.signal("HUP");
    wait_until_logged(&worker, "nothing to reload");
    let threads = fs::read_dir(format!("/proc/{}/task", worker.pid())).expect("it runs");
    let names: Vec<String> = threads
        .flatten()
        .map(|thread| fs::read_to_string(thread.path().join("comm")).unwrap_or_default().trim().to_owned())
        .collect();
    assert!(names.contains(&"templates".to_owned()), "the names can be read: {names:?}");
    assert!(!names.contains(&"notify".to_owned()), "{names:?}");
    worker.stop();
}

#[test]
fn a_manager_whose_socket_is_gone_costs_one_line_and_nothing_else() {
    let settings = alone()
        .environment("NOTIFY_SOCKET", process::scratch("manager").join("gone").display())
        .environment("WATCHDOG_USEC", 4_000);
    let worker = TestWorker::start(&settings);
    wait_until_logged(&worker, "NOTIFY_SOCKET");
    worker.signal("HUP");
    wait_until_logged(&worker, "nothing to reload");
    let log = worker.stop();
    assert_eq!(log.iter().filter(|line| line.contains("NOTIFY_SOCKET")).count(), 1, "{log:?}");
}

#[test]
fn a_worker_that_can_write_to_no_file_system_sends_and_dead_letters_and_stops_cleanly() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::with(|step| match step {
        Step::Recipient("nobody@example.com") => Answer::Reply("550 5.1.1 No such user"),
        _ => Answer::Accept,
    });
    queue.put(
        ["ada@example.com", "nobody@example.com"].map(|to| format!(r#"{{"to": "{to}", "text": "Hello"}}"#)),
    );
    let worker = TestWorker::start(&Settings::new(&queue, relay.port()).with_read_only_root());
    queue.wait_until_settled();
    assert_eq!((relay.taken(), queue.dead_letters().len()), (1, 1));
    worker.stop();
}
