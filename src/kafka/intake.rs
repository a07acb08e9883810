//! The one thread that polls: records and rebalances out to the actors, commits back to the brokers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use async_channel::Sender;
use mailroom_actors::credits::Credits;
use mailroom_actors::domain::topic_partition::TopicNames;
use mailroom_actors::ports::OffsetLogEvent;
use mailroom_actors::seldom::Seldom;
use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::arrivals::Arrivals;
use super::bell::Bell;
use super::commands::{Command, KafkaOffsetLog};
use super::commits::{Commits, LastCommit};
use super::context::{GroupConsumer, GroupContext, GroupEvent};
use super::out_of_range::{OutOfRange, is_out_of_range};
use super::partitions::Partitions;
use super::problem::StartProblem;
use super::pulse::Pulse;
use super::rebalance::Rebalance;
use super::watermarks::{self, Watched};
use super::{arrivals, properties, record};
use crate::config;

/// The thread looks around at least this often, rung or not.
const LONGEST_REST: Duration = Duration::from_millis(50);
/// How long leaving waits for the answer to its commit: brokers may be away.
const LEAVE_COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long leaving waits for librdkafka to say good-bye and end its threads.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(900);
/// How often the actors are told that the thread comes round.
const BETWEEN_SIGNS: Duration = Duration::from_secs(1);
/// Events of the main queue served in one turn, at most.
const EVENTS_A_TURN: usize = 100;

/// Joins the group and begins to read; returns at once, brokers or not.
///
/// Events come in order by `events`; records only while `credits` are open. At a revoke the actors have
/// `drain_timeout` to answer. Three threads are started; all end by [`KafkaOffsetLog`]'s `leave`.
///
/// # Errors
/// `Misconfigured`, when librdkafka does not take the properties. That no broker answers is no error, but
/// an event.
pub fn start(
    config: &config::Kafka,
    drain_timeout: Duration,
    credits: Arc<Credits>,
    events: Sender<OffsetLogEvent>,
) -> Result<KafkaOffsetLog, StartProblem> {
    properties::check(config)?;
    let bell = Arc::new(Bell::default());
    let mut consumer: GroupConsumer = properties::consumer(config)
        .create_with_context(GroupContext::new())
        .map_err(|e| StartProblem::from_creation(&e))?;
    let main_queue_bell = Arc::clone(&bell);
    consumer.set_nonempty_callback(move || main_queue_bell.ring());
    let topics = config.topics();
    let names: Vec<&str> = topics.names().collect();
    consumer
        .subscribe(&names)
        .map_err(|e| StartProblem::Misconfigured(format!("kafka.topic {}: {e}", names.join(", "))))?;

    let pulse = Arc::new(Pulse::new(events.clone()));
    let watched = watermarks::start(config, Arc::clone(&pulse), events.clone(), Arc::clone(&bell))?;
    let (sender, commands) = mpsc::channel();
    let consumer = Arc::new(consumer);
    let intake = Intake {
        member: Member {
            commits: Commits::start(Arc::clone(&consumer), topics.clone(), Arc::clone(&bell))?,
            consumer,
            topics,
            events: events.clone(),
            pulse,
            partitions: Partitions::new(Arc::clone(&bell)),
            watched,
            arrivals: Arrivals::default(),
        },
        rebalance: Rebalance::new(drain_timeout, Waker::from(Arc::clone(&bell))),
        credits,
        commands,
        bell: Arc::clone(&bell),
        reads: true,
        leaving: None,
        fatal: false,
        out_of_range: OutOfRange::default(),
        signs: Seldom::new(BETWEEN_SIGNS),
    };
    let run = move || {
        if catch_unwind(AssertUnwindSafe(|| intake.run())).is_err() {
            // The process ends by this; when nobody listens it is ending already.
            let _ = events.send_blocking(OffsetLogEvent::Fatal("the poll thread panicked".into()));
        }
    };
    thread::Builder::new()
        .name("kafka-poll".into())
        .spawn(run)
        .map_err(|e| StartProblem::Away(format!("no thread for the consumer: {e}")))?;
    Ok(KafkaOffsetLog::new(sender, bell))
}

/// What all parts of the poll thread work on.
pub(super) struct Member {
    pub consumer: Arc<GroupConsumer>,
    pub topics: TopicNames,
    pub pulse: Arc<Pulse>,
    pub partitions: Partitions,
    pub commits: Commits,
    pub watched: Watched,
    pub arrivals: Arrivals,
    events: Sender<OffsetLogEvent>,
}

impl Member {
    /// To the actors, in order. Credits bound how much can be on its way.
    pub fn tell(&self, event: OffsetLogEvent) {
        // Nobody listens any more: the thread finds that out at its next turn, and leaves.
        let _ = self.events.send_blocking(event);
    }
}

struct Intake {
    member: Member,
    rebalance: Rebalance,
    credits: Arc<Credits>,
    commands: Receiver<Command>,
    bell: Arc<Bell>,
    reads: bool,
    leaving: Option<LastCommit>,
    fatal: bool,
    out_of_range: OutOfRange,
    signs: Seldom,
}

impl Intake {
    fn run(mut self) {
        self.bell.listen_here();
        let result = loop {
            if self.signs.may_say(Instant::now().into()).is_some() {
                self.member.tell(OffsetLogEvent::Turned);
            }
            mailroom_actors::kill_point::reach("poll-thread-turns");
            self.serve_main_queue();
            self.serve_group();
            self.obey();
            let Member { commits, partitions, .. } = &mut self.member;
            if let Some(answer) = commits.send_waiting(|partition| partitions.holds(partition)) {
                self.member.tell(OffsetLogEvent::Committed(answer));
            }
            if self.member.events.is_closed() {
                break Err("nobody listens".to_owned());
            }
            let mut more = false;
            if let Some(last) = &mut self.leaving {
                if self.rebalance.wind_up(&mut self.member) {
                    let Member { commits, consumer, .. } = &mut self.member;
                    if let Some(result) = last.advance(commits, consumer) {
                        break result;
                    }
                }
            } else {
                self.rebalance.advance(&mut self.member);
                arrivals::announce(&mut self.member);
                // Its partitions are let go of and taken over again: librdkafka would take that for the answer to
                // a rebalance under way.
                if self.rebalance.is_idle() {
                    self.out_of_range.advance(&mut self.member);
                }
                more = self.reads && self.read();
            }
            if !more {
                thread::park_timeout(LONGEST_REST);
            }
        };
        self.close(result);
    }

    /// Errors and callbacks. The records of a partition don't come this way once it is split off; should
    /// one do, it is not lost.
    fn serve_main_queue(&mut self) {
        for _ in 0..EVENTS_A_TURN {
            let callbacks = self.member.consumer.context().callbacks();
            let consumer = Arc::clone(&self.member.consumer);
            match consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    let topics = &self.member.topics;
                    if let Some(topic) = topics.topic(message.topic()) {
                        self.member.partitions.keep(topic, record::copy(&message, topics.name(topic)));
                    }
                }
                Some(Err(error)) => self.report(&error),
                None if self.member.consumer.context().callbacks() == callbacks => return,
                None => {}
            }
        }
    }

    fn serve_group(&mut self) {
        let consumer = Arc::clone(&self.member.consumer);
        while let Some(event) = consumer.context().next_event() {
            match event {
                GroupEvent::Committed(answer) => {
                    if answer.is_ok() {
                        self.member.pulse.answered();
                    }
                    if let Some(answer) = self.member.commits.answered(answer) {
                        self.member.tell(OffsetLogEvent::Committed(answer));
                    }
                }
                rebalance => self.rebalance.push(rebalance),
            }
        }
    }

    fn obey(&mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Commit(offsets)) => self.member.commits.ask(offsets),
                Ok(Command::StopReading) => self.reads = false,
                Ok(Command::Leave(mut last)) => {
                    last.retain(|o| self.member.partitions.holds(o.partition));
                    let deadline = Instant::now() + LEAVE_COMMIT_TIMEOUT;
                    self.leaving = Some(LastCommit::new(last, deadline));
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    // Dropped without a word: nothing may be committed.
                    if self.leaving.is_none() {
                        self.leaving = Some(LastCommit::new(Vec::new(), Instant::now()));
                    }
                    return;
                }
            }
        }
    }

    /// One turn over the partitions. True when another would bring more at once.
    fn read(&mut self) -> bool {
        let turn = self.member.partitions.read(&self.credits, &self.member.topics);
        for (topic, batch) in turn.batches {
            self.member.tell(OffsetLogEvent::Records(topic, batch));
        }
        for (partition, offset, error) in turn.errors {
            if is_out_of_range(&error) {
                self.out_of_range.report(partition, offset, &self.member);
            } else {
                self.report(&error);
            }
        }
        if !turn.more {
            let Member { partitions, consumer, topics, .. } = &mut self.member;
            for event in partitions.positions(consumer, topics) {
                self.member.tell(event);
            }
        }
        turn.more
    }

    fn report(&mut self, error: &KafkaError) {
        let reason = self.member.consumer.context().take_error().map(|(_, text)| text);
        let text = reason.unwrap_or_else(|| error.to_string());
        match error {
            KafkaError::MessageConsumptionFatal(_) if self.fatal => {}
            KafkaError::MessageConsumptionFatal(_) => {
                self.fatal = true;
                self.reads = false;
                let text = self.member.consumer.client().fatal_error().map_or(text, |(_, text)| text);
                tracing::error!(reason = text, "the consumer can't go on");
                self.member.tell(OffsetLogEvent::Fatal(text));
            }
            // Of a single broker: others may answer, and where none does librdkafka says that too.
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::PartitionEOF,
            )
            | KafkaError::PartitionEOF(_) => {}
            _ => self.member.pulse.silent(text),
        }
    }

    /// Leaves the group and ends. librdkafka may take its time where brokers are away: what is left of it
    /// then ends by itself, or with the process.
    fn close(mut self, result: Result<(), String>) {
        self.member.consumer.context().close();
        self.rebalance.cut_short(&mut self.member);
        self.member.partitions.clear();
        let Member { consumer, commits, watched, events, .. } = self.member;
        let (gone, closed) = mpsc::channel::<()>();
        let closing = thread::Builder::new().name("kafka-close".into()).spawn(move || {
            let watching = watched.stop();
            // It holds the consumer as long as a commit is unanswered.
            if commits.stop().join().is_err() {
                tracing::error!("the commit thread panicked");
            }
            drop(consumer);
            if watching.join().is_err() {
                tracing::error!("the watermark thread panicked");
            }
            drop(gone);
        });
        if closing.is_ok() && closed.recv_timeout(CLOSE_TIMEOUT) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::debug!("the consumer is still closing");
        }
        // Nobody may be left to hear it.
        let _ = events.send_blocking(OffsetLogEvent::Left(result));
    }
}
