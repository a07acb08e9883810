//! Reading, committing, rebalancing, leaving.

use mailroom_actors::ports::{OffsetLog, OffsetLogEvent};
use rdkafka::mocking::MockCoordinator;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

#[test]
fn records_are_read_committed_and_resumed_behind_the_commit() {
    let (_cluster, config) = cluster(1);
    produce(&config, 0, &["a", "b", "c", "d"]);

    let first = Worker::start(&config);
    let assigned = first.assigned();
    assert_eq!((assigned.len(), assigned[0].committed, assigned[0].metadata.as_str()), (1, None, ""));
    let records = first.records(4);
    assert_eq!(values(&records), ["a", "b", "c", "d"]);
    assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!((&*records[0].topic, records[0].key.as_deref()), (TOPIC, Some(&b"key"[..])));
    assert_eq!(first.credits.in_use(), (4, 4));
    assert_eq!(first.commit(vec![offset(0, 2, "finished: 3")]), Ok(()));
    assert_eq!(first.leave(vec![]), Ok(()));

    let second = Worker::start(&config);
    let assigned = second.assigned();
    assert_eq!((assigned[0].committed, assigned[0].metadata.as_str()), (Some(2), "finished: 3"));
    assert_eq!(values(&second.records(2)), ["c", "d"]);
    assert_eq!(second.leave(vec![offset(0, 4, "closed")]), Ok(()));
    assert_eq!(committed(&config, 0), Some((4, "closed".into())));
}

#[test]
fn without_credits_nothing_is_read_and_read_on_goes_on_where_it_stopped() {
    let (_cluster, config) = cluster(1);
    produce(&config, 0, &["a", "b", "c", "d", "e"]);
    let worker = Worker::with_credits(&config, 2);
    worker.assigned();
    assert_eq!(values(&worker.records(2)), ["a", "b"]);
    // The answer to a commit comes some turns later: had there been room, so would have records.
    worker.log.commit(vec![offset(0, 1, "")]);
    let answer = worker.wait("the answer", |event| match event {
        OffsetLogEvent::Records(..) => panic!("read without credits"),
        OffsetLogEvent::Committed(answer) => Some(answer),
        _ => None,
    });
    assert_eq!(answer, Ok(()));
    assert!(worker.credits.release(1), "the poll thread waits to be told");
    worker.log.read_on();
    assert_eq!(values(&worker.records(1)), ["c"]);
    worker.credits.release(1);
    worker.credits.release(1);
    worker.log.read_on();
    assert_eq!(values(&worker.records(2)), ["d", "e"]);
    assert_eq!(worker.leave(vec![]), Ok(()));
}

#[test]
fn all_partitions_are_read_in_turn() {
    let (_cluster, config) = cluster(4);
    let many: Vec<&str> = std::iter::repeat_n("x", 300).collect();
    for partition in 0..4 {
        produce(&config, partition, &many);
    }
    let worker = Worker::start(&config);
    assert_eq!(worker.assigned().len(), 4);
    let records = worker.records(1200);
    for partition in 0..4 {
        let offsets: Vec<i64> =
            records.iter().filter(|r| r.partition == partition).map(|r| r.offset).collect();
        assert_eq!(offsets, (0..300).collect::<Vec<i64>>(), "partition {partition}");
    }
    let watermarks = worker.wait("watermarks", |event| match event {
        OffsetLogEvent::Watermarks(watermarks) => Some(watermarks),
        _ => None,
    });
    assert!(watermarks.iter().all(|w| (w.low, w.high) == (0, 300)), "{watermarks:?}");
    assert_eq!(worker.leave(vec![]), Ok(()));
}

#[test]
fn after_stop_reading_commits_are_served_and_no_record_comes() {
    let (_cluster, config) = cluster(1);
    produce(&config, 0, &["a"]);
    let worker = Worker::start(&config);
    worker.assigned();
    worker.records(1);
    worker.log.stop_reading();
    assert_eq!(worker.commit(vec![offset(0, 1, "")]), Ok(()));
    produce(&config, 0, &["b"]);
    // Watermarks that show the new record were answered after it was there to be read.
    worker.wait("watermarks", |event| match event {
        OffsetLogEvent::Records(..) => panic!("read after stop_reading"),
        OffsetLogEvent::Watermarks(marks) => marks.iter().any(|w| w.high == 2).then_some(()),
        _ => None,
    });
    assert_eq!(worker.leave(vec![]), Ok(()));
}

#[test]
fn a_refused_commit_is_answered_once_and_the_next_one_is_taken() {
    let (cluster, config) = cluster(1);
    produce(&config, 0, &["a", "b"]);
    let worker = Worker::start(&config);
    worker.assigned();
    worker.records(2);
    cluster.request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS],
    );
    let refused = worker.commit(vec![offset(0, 1, "")]).unwrap_err();
    assert!(!refused.not_ours, "{refused:?}");
    assert_eq!(worker.commit(vec![offset(0, 2, "")]), Ok(()));
    worker.log.leave(vec![]);
    let left = worker.wait("leaving", |event| match event {
        OffsetLogEvent::Committed(answer) => panic!("a second answer: {answer:?}"),
        OffsetLogEvent::Left(result) => Some(result),
        _ => None,
    });
    assert_eq!(left, Ok(()));
    assert_eq!(committed(&config, 0), Some((2, String::new())));
}

#[test]
fn a_member_that_the_group_does_not_know_any_more_loses_its_partitions_and_rejoins() {
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    ] {
        let (cluster, config) = cluster(1);
        produce(&config, 0, &["a"]);
        let worker = Worker::start(&config);
        worker.assigned();
        worker.records(1);
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[error]);
        worker.log.commit(vec![offset(0, 1, "")]);
        let (mut answer, mut lost) = (None, None);
        worker.wait("the answer and the loss", |event| {
            match event {
                OffsetLogEvent::Committed(result) => answer = Some(result),
                OffsetLogEvent::Lost(partitions) => lost = Some(partitions),
                OffsetLogEvent::Revoking { .. } => panic!("nothing may be committed any more"),
                _ => {}
            }
            (answer.is_some() && lost.is_some()).then_some(())
        });
        // A real loss is told as one; by the answer alone it could be a rebalance in which we keep what we have.
        assert!(!answer.unwrap().unwrap_err().not_ours);
        assert_eq!(lost.unwrap(), [0.into()]);
        assert_eq!(worker.assigned()[0].committed, None);
        assert_eq!(values(&worker.records(1)), ["a"]);
        assert_eq!(worker.leave(vec![]), Ok(()));
    }
}

#[test]
fn a_spare_is_told_that_it_is_in_the_group_without_a_partition() {
    let (_cluster, config) = cluster(1);
    let first = Worker::start(&config);
    assert_eq!(first.assigned().len(), 1);
    let spare = Worker::start(&config);
    let assigned = spare.wait("its place in the group", |event| match event {
        OffsetLogEvent::Assigned(partitions) => Some(partitions),
        _ => None,
    });
    assert_eq!(assigned, []);
    assert_eq!(spare.leave(vec![]), Ok(()));
    assert_eq!(first.leave(vec![]), Ok(()));
}

#[test]
fn the_last_commit_is_tried_again_when_it_is_refused() {
    let (cluster, config) = cluster(1);
    produce(&config, 0, &["a"]);
    let worker = Worker::start(&config);
    worker.assigned();
    worker.records(1);
    cluster.request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; 2],
    );
    assert_eq!(worker.leave(vec![offset(0, 1, "closed")]), Ok(()));
    assert_eq!(committed(&config, 0), Some((1, "closed".into())));
}

#[test]
fn when_the_brokers_are_gone_it_says_so_and_goes_on_when_they_are_back() {
    let (cluster, config) = cluster(1);
    produce(&config, 0, &["a"]);
    let worker = Worker::start(&config);
    worker.assigned();
    worker.records(1);
    cluster.broker_down(-1).unwrap();
    // Asked for while nobody can take it: answered once, when somebody is back.
    worker.log.commit(vec![offset(0, 1, "")]);
    worker.wait("the outage", |event| matches!(event, OffsetLogEvent::Unreachable(_)).then_some(()));
    cluster.broker_up(-1).unwrap();
    let (mut reachable, mut answer) = (false, None);
    worker.wait("the return", |event| {
        match event {
            OffsetLogEvent::Reachable => reachable = true,
            OffsetLogEvent::Committed(result) => answer = Some(result),
            _ => {}
        }
        (reachable && answer.is_some()).then_some(())
    });
    assert_eq!(answer, Some(Ok(())));
    produce(&config, 0, &["b"]);
    assert_eq!(values(&worker.records(1)), ["b"]);
    assert_eq!(worker.commit(vec![offset(0, 2, "")]), Ok(()));
    assert_eq!(worker.leave(vec![]), Ok(()));
}

#[test]
fn brokers_that_come_late_are_joined_then() {
    let (cluster, config) = cluster(1);
    produce(&config, 0, &["a"]);
    cluster.broker_down(-1).unwrap();
    let worker = Worker::start(&config);
    worker.wait("the outage", |event| matches!(event, OffsetLogEvent::Unreachable(_)).then_some(()));
    cluster.broker_up(-1).unwrap();
    worker.assigned();
    assert_eq!(values(&worker.records(1)), ["a"]);
    assert_eq!(worker.leave(vec![]), Ok(()));
}

#[test]
fn leaving_ends_though_no_broker_answers() {
    let (cluster, config) = cluster(1);
    produce(&config, 0, &["a"]);
    let worker = Worker::start(&config);
    worker.assigned();
    worker.records(1);
    cluster.broker_down(-1).unwrap();
    assert!(worker.leave(vec![offset(0, 1, "closed")]).is_err());
}

#[test]
fn an_offset_that_is_not_in_the_log_begins_anew_at_the_earliest() {
    let (_cluster, config) = cluster(1);
    produce(&config, 0, &["a", "b"]);
    let first = Worker::start(&config);
    first.assigned();
    first.records(2);
    // The topic was made anew, shorter.
    assert_eq!(first.leave(vec![offset(0, 1000, "of an older topic")]), Ok(()));

    let second = Worker::start(&config);
    assert_eq!(second.assigned()[0].committed, Some(1000));
    let lost = second.wait("the loss", |event| match event {
        OffsetLogEvent::Lost(partitions) => Some(partitions),
        OffsetLogEvent::Records(..) => panic!("records in the old epoch"),
        _ => None,
    });
    assert_eq!(lost, [0.into()]);
    let anew = second.assigned();
    assert_eq!((anew[0].partition, anew[0].committed, anew[0].metadata.as_str()), (0.into(), None, ""));
    assert_eq!(values(&second.records(2)), ["a", "b"]);
    produce(&config, 0, &["c"]);
    assert_eq!(values(&second.records(1)), ["c"]);
    assert_eq!(second.leave(vec![offset(0, 3, "")]), Ok(()));
    assert_eq!(committed(&config, 0), Some((3, String::new())));
}

#[test]
fn a_dropped_log_leaves_without_a_commit() {
    let (_cluster, config) = cluster(1);
    produce(&config, 0, &["a"]);
    let worker = Worker::start(&config);
    worker.assigned();
    worker.records(1);
    let Worker { log, events, .. } = worker;
    drop(log);
    let left = std::iter::from_fn(|| events.recv_blocking().ok())
        .find_map(|event| if let OffsetLogEvent::Left(result) = event { Some(result) } else { None });
    assert_eq!(left, Some(Ok(())));
    assert_eq!(committed(&config, 0), None);
}

#[test]
fn a_partition_is_assigned_with_where_its_log_begins_and_ends() {
    let (_cluster, config) = cluster(100);
    produce(&config, 7, &["a", "b"]);
    let worker = Worker::start(&config);
    let assigned = worker.assigned();
    assert_eq!(assigned.len(), 100, "told together");
    for partition in assigned {
        let high = if partition.partition == 7.into() { 2 } else { 0 };
        assert_eq!((partition.low, partition.high), (0, high), "{}", partition.partition);
    }
    assert_eq!(worker.leave(vec![]), Ok(()));
}

#[test]
fn what_has_been_read_and_is_not_cleared_is_kept_back_and_not_stepped_over() {
    let (_cluster, config) = cluster(1);
    produce(&config, 0, &["a", "b", "c", "d"]);
    let worker = Worker { clears: false, ..Worker::start(&config) };
    worker.assigned();
    // Long enough for several looks at the position: two rounds of watermarks are 5 s apart.
    let nothing_beyond = |next: i64| {
        let mut rounds = 0;
        worker.wait("watermarks", |event| {
            match event {
                OffsetLogEvent::Records(_, records) => panic!("not cleared: {records:?}"),
                OffsetLogEvent::SeenUpTo { next: seen, .. } => assert!(seen <= next, "{seen} is not cleared"),
                OffsetLogEvent::Watermarks(_) => rounds += 1,
                _ => {}
            }
            (rounds == 2).then_some(())
        });
    };
    nothing_beyond(0);
    assert_eq!(worker.credits.in_use(), (0, 0), "what is kept back holds no credits");
    worker.credits.clear(0.into(), 2);
    worker.log.read_on();
    assert_eq!(values(&worker.records(2)), ["a", "b"]);
    nothing_beyond(2);
    assert_eq!(worker.credits.in_use(), (2, 2));
    worker.credits.clear(0.into(), 3);
    worker.log.read_on();
    assert_eq!(values(&worker.records(1)), ["c"]);
    worker.credits.clear(0.into(), i64::MAX);
    worker.log.read_on();
    assert_eq!(values(&worker.records(1)), ["d"]);
    assert_eq!(worker.leave(vec![offset(0, 2, "")]), Ok(()));

    let again = Worker::start(&config);
    assert_eq!(again.assigned()[0].committed, Some(2));
    assert_eq!(values(&again.records(2)), ["c", "d"]);
    assert_eq!(again.leave(vec![]), Ok(()));
}

#[test]
fn a_revoke_drops_what_is_kept_back() {
    let (_cluster, config) = cluster(2);
    produce(&config, 0, &["a"]);
    produce(&config, 1, &["b"]);
    let first = Worker { clears: false, ..Worker::start(&config) };
    first.assigned();
    let second = Worker::start(&config);
    let (partitions, reply) = first.wait("the revoke", |event| match event {
        OffsetLogEvent::Revoking { partitions, reply } => Some((partitions, reply)),
        OffsetLogEvent::Records(_, records) => panic!("not cleared: {records:?}"),
        _ => None,
    });
    reply.send(vec![]).unwrap();
    assert_eq!(second.assigned()[0].partition, partitions[0]);
    assert_eq!(second.records(1)[0].partition, partitions[0].number);
    // Cleared too late: it is another's.
    (0..2).for_each(|partition| first.credits.clear(partition.into(), i64::MAX));
    first.log.read_on();
    let mine = first.records(1);
    assert!(mine.iter().all(|record| record.partition != partitions[0].number), "{mine:?}");
    assert_eq!(first.leave(vec![]), Ok(()));
    assert_eq!(second.leave(vec![]), Ok(()));
}

#[test]
fn watermarks_come_also_while_nothing_is_read() {
    let (_cluster, config) = cluster(1);
    let worker = Worker::start(&config);
    worker.assigned();
    worker.log.stop_reading();
    for high in 1..=2 {
        produce(&config, 0, &["a"]);
        worker.wait("fresh watermarks", |event| match event {
            OffsetLogEvent::Watermarks(marks) => marks.iter().any(|w| w.high == high).then_some(()),
            _ => None,
        });
    }
    assert_eq!(worker.leave(vec![]), Ok(()));
}

#[test]
fn a_leader_that_does_not_answer_keeps_only_its_own_partitions() {
    let (cluster, config) = cluster_of(2, 2);
    cluster.partition_leader(TOPIC, 0, Some(1)).unwrap();
    cluster.partition_leader(TOPIC, 1, Some(2)).unwrap();
    cluster.coordinator(MockCoordinator::Group(config.group.clone()), 1).unwrap();
    cluster.broker_round_trip_time(2, Duration::from_secs(60)).unwrap();
    let worker = Worker::start(&config);
    let numbers = |partitions: Vec<AssignedPartition>| -> Vec<i32> {
        partitions.into_iter().map(|p| p.partition.number).collect()
    };
    assert_eq!(numbers(worker.assigned()), [0]);
    cluster.broker_round_trip_time(2, Duration::ZERO).unwrap();
    assert_eq!(numbers(worker.assigned()), [1]);
    assert_eq!(worker.leave(vec![]), Ok(()));
}

#[test]
fn a_partition_whose_leader_is_away_keeps_the_others_waiting_for_a_moment_only() {
    let (cluster, config) = cluster(2);
    cluster.partition_leader(TOPIC, 1, None).unwrap();
    let worker = Worker::start(&config);
    let numbers = |partitions: Vec<AssignedPartition>| -> Vec<i32> {
        partitions.into_iter().map(|p| p.partition.number).collect()
    };
    assert_eq!(numbers(worker.assigned()), [0]);
    cluster.partition_leader(TOPIC, 1, Some(1)).unwrap();
    assert_eq!(numbers(worker.assigned()), [1]);
    produce(&config, 1, &["a"]);
    assert_eq!(values(&worker.records(1)), ["a"]);
    assert_eq!(worker.leave(vec![offset(1, 1, "")]), Ok(()));
}
