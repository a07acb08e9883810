//! Runs while brokers freeze, die and come back.

use std::time::Instant;

use super::{Letters, replayed};
use crate::harness::{Kafka, Queue, Settings, SmtpSink, TestWorker, until};
use crate::numbered_jobs::report;
use crate::replays::once::each_once;

#[test]
fn a_run_over_brokers_that_freeze_or_die_in_turn_neither_repeats_nor_loses_a_letter() {
    let count = 900;
    let kafka = Kafka::shared_cluster();
    let queue = Queue::with_letters(&kafka, 3);
    let letters = Letters::put(&queue, 3, count);
    let sink = SmtpSink::start(&[]);
    // Each reads from another replica than the leader, where it may: what is decided must be read from the leader all the same.
    let workers = ["rack-2", "rack-3"].map(|rack| {
        TestWorker::start(&Settings::new(&queue, sink.port()).set("kafka.properties.client.rack", rack))
    });
    workers.iter().for_each(TestWorker::wait_until_ready);
    let run = letters.replay("r1", 30.0);
    letters.ask(&run);
    // The brokers are not asked: one that is frozen would not answer.
    let published = || {
        let of =
            |worker: &TestWorker| worker.metrics().get("mailroom_replays_total", &[("result", "published")]);
        workers.iter().map(of).sum::<f64>()
    };
    let go_on = |by: f64| {
        let before = published();
        until("the run to go on", || (published() >= (before + by).min(count as f64)).then_some(()));
    };
    for signal in ["STOP", "KILL"] {
        for broker in kafka.brokers() {
            go_on(20.0);
            let began = Instant::now();
            if signal == "STOP" {
                broker.signal(signal);
            } else {
                broker.end(signal);
            }
            go_on(60.0);
            report(format_args!("SIG{signal} of a broker: 60 letters later {:?}", began.elapsed()));
            if signal == "STOP" {
                broker.signal("CONT");
            } else {
                broker.start_again();
                broker.wait_until_listening();
            }
            for topic in [&queue.topic, &queue.dlq_topic, &queue.decisions_topic(), "__transaction_state"] {
                kafka.wait_until_in_sync(topic);
            }
        }
    }
    letters.wait_until_done(&run);
    assert_eq!(replayed(&queue), each_once(count));
    queue.wait_until_settled();
    let restarts: f64 =
        workers.iter().map(|worker| worker.metrics().sum("mailroom_actor_restarts_total")).sum();
    assert_eq!(restarts, 0.0);
    workers.into_iter().for_each(|worker| drop(worker.stop()));
}
