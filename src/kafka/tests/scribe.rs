use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::kafka::tests::{TOPIC, cluster};

const ROUND_TRIP: Duration = Duration::from_millis(300);

fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn record(topic: &str) -> Outgoing {
    Outgoing {
        topic: topic.into(),
        partition: Some(0),
        key: Some(Bytes::from_static(b"key")),
        ..Outgoing::default()
    }
}

#[test]
fn waiting_for_the_brokers_leaves_the_core_to_others() {
    let (cluster, config) = cluster(1);
    cluster.broker_round_trip_time(1, ROUND_TRIP).unwrap();
    let scribe = Scribe::open(&config, 0, false, false).unwrap();
    let entry = Entry { job: Some(record(TOPIC)), said: record(&config.decisions_topic) };
    let (began, cpu_before) = (Instant::now(), cpu_time());
    let offsets = scribe.write(&[entry]).unwrap();
    let (took, used) = (began.elapsed(), cpu_time() - cpu_before);
    assert_eq!(offsets, [0]);
    // The job is acknowledged before what is said of it is sent.
    assert!(took >= 2 * ROUND_TRIP, "{took:?}");
    assert!(used < ROUND_TRIP, "{used:?} of {took:?}");
}

#[test]
fn what_came_while_nothing_was_written_does_not_stand_before_the_reports() {
    let (_cluster, mut config) = cluster(1);
    config.properties.insert("statistics.interval.ms".into(), config::Secretive("5".into()));
    let scribe = Scribe::open(&config, 0, false, false).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    scribe.take_reports();
    let events = scribe.producer.context().events();
    assert!(events >= 20, "{events}");
}
