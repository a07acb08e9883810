//! The signs of life that the poll thread gives, whatever else it does.

use mailroom_actors::ports::OffsetLogEvent;

use super::*;

fn hear_signs(worker: &Worker, number: usize) {
    for _ in 0..number {
        worker.wait("a sign of life", |event| match event {
            OffsetLogEvent::Turned => Some(()),
            OffsetLogEvent::Lost(partitions) => panic!("lost {partitions:?}"),
            _ => None,
        });
    }
}

#[test]
fn the_poll_thread_gives_signs_while_it_rests_and_while_a_revoke_waits_for_the_actors() {
    let (_cluster, config) = cluster(2);
    let first = Worker::start(&config);
    assert_eq!(first.assigned().len(), 2);
    hear_signs(&first, 2);
    let second = Worker::start(&config);
    let (_, reply) = first.wait("the revoke", |event| match event {
        OffsetLogEvent::Revoking { partitions, reply } => Some((partitions, reply)),
        _ => None,
    });
    hear_signs(&first, 3);
    reply.send(vec![]).unwrap();
    assert_eq!(second.assigned().len(), 1);
    assert_eq!(second.leave(vec![]), Ok(()));
    assert_eq!(first.leave(vec![]), Ok(()));
}

#[test]
fn the_poll_thread_gives_signs_while_no_broker_answers() {
    let config = configuration("127.0.0.1:1");
    let worker = Worker::start(&config);
    hear_signs(&worker, 3);
    worker.log.leave(vec![]);
    worker.wait("leaving", |event| matches!(event, OffsetLogEvent::Left(_)).then_some(()));
}
