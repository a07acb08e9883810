//! The poll thread of one worker in memory: the same protocol as `src/kafka`'s, turn by turn.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_channel::Sender;
use bytes::Bytes;
use mailroom_actors::credits::Credits;
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::topic_partition::{Topic, TopicPartition};
use mailroom_actors::ports::{
    AssignedPartition, CommitOffset, CommitRefusal, OffsetLog, OffsetLogEvent, Watermarks,
};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use crate::group::GroupEvent;
use crate::plan::{Broken, Fuse, Kind};
use crate::world::{Shared, Tenure, World};

const LONGEST_REST: Duration = Duration::from_millis(50);
const BETWEEN_TRIES_MS: u64 = 100;
const ANSWER_GRACE_MS: u64 = 1_000;
const COMMIT_GRACE_MS: u64 = 5_000;
const RECORDS_A_TURN: usize = 8;

enum Command {
    Commit(Vec<CommitOffset>, u64),
    StopReading,
    Leave(Vec<CommitOffset>),
}

/// What the actors have of it.
pub struct Desk {
    world: Shared,
    incarnation: usize,
    commands: Mutex<VecDeque<Command>>,
    bell: Notify,
}

impl Desk {
    pub fn new(world: Shared, incarnation: usize) -> Arc<Desk> {
        Arc::new(Desk { world, incarnation, commands: Mutex::default(), bell: Notify::new() })
    }

    fn push(&self, command: Command) {
        self.commands.lock().push_back(command);
        self.bell.notify_one();
    }
}

impl OffsetLog for Desk {
    fn commit(&self, offsets: Vec<CommitOffset>) {
        World::burn(&self.world, self.incarnation, Fuse::Commit, None);
        let now = self.world.lock().now();
        self.push(Command::Commit(offsets, now));
    }

    fn read_on(&self) {
        self.bell.notify_one();
    }

    fn stop_reading(&self) {
        let mut world = self.world.lock();
        let now = world.now();
        // A consumer that died while draining drains again.
        world.incarnations[self.incarnation].stopping_at.get_or_insert(now);
        drop(world);
        self.push(Command::StopReading);
    }

    fn leave(&self, last: Vec<CommitOffset>) {
        self.push(Command::Leave(last));
    }
}

type Answer = Result<(), CommitRefusal>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    Actors,
    Thread,
    Nobody,
}

/// A last commit, which waits for the slot and then for its answer.
struct LastCommit {
    offsets: Option<Vec<CommitOffset>>,
    deadline: u64,
}

enum Step {
    Assign {
        partitions: Vec<usize>,
        not_before: u64,
    },
    Drain {
        partitions: Vec<usize>,
        began: u64,
        ask_at: u64,
        reply: Option<oneshot::Receiver<Vec<CommitOffset>>>,
    },
    Commit {
        partitions: Vec<usize>,
        began: u64,
        commit: LastCommit,
    },
}

pub struct Poll {
    pub world: Shared,
    pub incarnation: usize,
    pub desk: Arc<Desk>,
    pub credits: Arc<Credits>,
    pub events: Sender<OffsetLogEvent>,
    member: u64,
    /// The next offset to read of each partition, and what was told as seen.
    held: BTreeMap<usize, (i64, i64)>,
    outstanding: Option<Asker>,
    /// The outstanding commit is refused, late, or lost.
    troubled: bool,
    answer: Rc<RefCell<Option<Answer>>>,
    last_answer: Option<Answer>,
    waiting: Option<(Vec<CommitOffset>, u64)>,
    step: Option<Step>,
    reads: bool,
    leaving: Option<LastCommit>,
    told_at: u64,
    first: usize,
}

impl Poll {
    pub fn start(
        world: Shared,
        incarnation: usize,
        desk: Arc<Desk>,
        credits: Arc<Credits>,
        events: Sender<OffsetLogEvent>,
    ) {
        let member = world.lock().join(incarnation);
        let mut poll = Poll {
            world,
            incarnation,
            desk,
            credits,
            events,
            member,
            held: BTreeMap::new(),
            outstanding: None,
            troubled: false,
            answer: Rc::default(),
            last_answer: None,
            waiting: None,
            step: None,
            reads: true,
            leaving: None,
            told_at: 0,
            first: 0,
        };
        actix_rt::spawn(async move {
            while poll.turn() {
                let desk = Arc::clone(&poll.desk);
                // Only this: whether it was rung or not, it looks around.
                let _ = tokio::time::timeout(LONGEST_REST, desk.bell.notified()).await;
            }
        });
    }

    fn tell(&self, event: OffsetLogEvent) {
        // Whoever listened is gone with its process.
        let _ = self.events.try_send(event);
    }

    fn now(&self) -> u64 {
        self.world.lock().now()
    }

    /// False: it is over.
    fn turn(&mut self) -> bool {
        if !self.world.lock().is_alive(self.incarnation) {
            return false;
        }
        let answer = self.answer.borrow_mut().take();
        if let Some(answer) = answer {
            match self.outstanding.take() {
                Some(Asker::Actors) => self.tell(OffsetLogEvent::Committed(answer)),
                Some(Asker::Thread) => self.last_answer = Some(answer),
                Some(Asker::Nobody) | None => {}
            }
        }
        if self.outstanding.is_some() && self.troubled {
            self.world.lock().trouble(self.incarnation);
        }
        self.obey();
        self.send_waiting();
        self.find_out_about_loss();
        if self.leaving.is_some() {
            return self.wind_up();
        }
        self.advance();
        self.tell_the_pulse();
        if self.reads && self.world.lock().is_connected(self.incarnation) {
            self.read();
        }
        true
    }

    fn obey(&mut self) {
        loop {
            let command = self.desk.commands.lock().pop_front();
            match command {
                None => return,
                Some(Command::Commit(offsets, at)) => {
                    if self.waiting.is_some() || self.outstanding == Some(Asker::Actors) {
                        let what = "a commit while another one is unanswered".into();
                        self.world.lock().violate("commits", what);
                    }
                    self.waiting = Some((offsets, at));
                }
                Some(Command::StopReading) => self.reads = false,
                Some(Command::Leave(mut last)) => {
                    last.retain(|o| self.holds(o.partition));
                    self.leaving =
                        Some(LastCommit { offsets: Some(last), deadline: self.now() + COMMIT_GRACE_MS });
                }
            }
        }
    }

    fn holds(&self, partition: TopicPartition) -> bool {
        self.held.contains_key(&index(partition))
    }

    fn send_waiting(&mut self) {
        if self.outstanding.is_some() {
            return;
        }
        let Some((offsets, asked_at)) = self.waiting.take() else { return };
        let offsets: Vec<CommitOffset> = offsets.into_iter().filter(|o| self.holds(o.partition)).collect();
        if offsets.is_empty() {
            return self.tell(OffsetLogEvent::Committed(Err(CommitRefusal {
                reason: "the partitions are no longer assigned".into(),
                not_ours: true,
                metadata_too_large: false,
            })));
        }
        self.send(offsets, asked_at, Asker::Actors);
    }

    /// The commit travels, is stored or not, and is answered, each in its own time.
    fn send(&mut self, offsets: Vec<CommitOffset>, asked_at: u64, asker: Asker) {
        self.outstanding = Some(asker);
        let (shared, incarnation, member) = (Shared::clone(&self.world), self.incarnation, self.member);
        let mut world = self.world.lock();
        let troubled = world.now() < world.until.commit_trouble;
        let rough = world.plan.kind == Kind::Rough;
        let may_fail = troubled && (asker == Asker::Actors || rough);
        let fate = if may_fail { world.rng.u32(0..5) } else { 0 };
        let (before, mut after) = (world.rng.u64(1..20), world.rng.u64(1..20));
        if troubled && fate == 1 {
            after = world.rng.u64(300..3_000);
        }
        if fate != 0 {
            world.trouble(incarnation);
            world.note(format!("worker {incarnation}: a commit meets trouble {fate}: {offsets:?}"));
        }
        drop(world);
        self.troubled = fate != 0;
        let (answer, desk) = (Rc::clone(&self.answer), Arc::clone(&self.desk));
        actix_rt::spawn(async move {
            let refusal = |reason: &str| {
                Err(CommitRefusal { reason: reason.into(), not_ours: false, metadata_too_large: false })
            };
            sleep(Duration::from_millis(before)).await;
            while !shared.lock().is_connected(incarnation) {
                shared.lock().trouble(incarnation);
                sleep(LONGEST_REST).await;
            }
            let result = match fate {
                2 => refusal("REBALANCE_IN_PROGRESS"),
                3 => refusal("timed out, and not stored"),
                // On the wire when its process died: it arrives, or not.
                _ if !shared.lock().is_alive(incarnation) && shared.lock().rng.bool() => return,
                _ => shared.lock().store(member, &offsets, asked_at),
            };
            if fate >= 3 {
                after = shared.lock().rng.u64(2_000..6_000);
            }
            sleep(Duration::from_millis(after)).await;
            let result =
                if fate == 4 { result.and_then(|()| refusal("timed out, and stored")) } else { result };
            let mut world = shared.lock();
            if fate != 0 || result.is_err() {
                world.counts.commits_refused += u32::from(result.is_err());
                world.trouble(incarnation);
            }
            drop(world);
            *answer.borrow_mut() = Some(result);
            desk.bell.notify_one();
        });
    }

    /// None while it is under way; then whether it is stored.
    fn last_commit(&mut self, commit: &mut LastCommit) -> Option<Result<(), String>> {
        if let Some(offsets) = &commit.offsets {
            if offsets.is_empty() && self.outstanding.is_none() {
                return Some(Ok(()));
            }
            if self.outstanding.is_none() {
                let offsets = commit.offsets.take().unwrap_or_default();
                self.last_answer = None;
                let now = self.now();
                self.send(offsets, now, Asker::Thread);
            }
        } else if let Some(answer) = self.last_answer.take() {
            return Some(answer.map_err(|refusal| refusal.reason));
        }
        if self.now() >= commit.deadline {
            if self.outstanding == Some(Asker::Thread) {
                self.outstanding = Some(Asker::Nobody);
            }
            return Some(Err("no answer in time".into()));
        }
        None
    }

    fn find_out_about_loss(&mut self) {
        let mut world = self.world.lock();
        if world.group.members.contains_key(&self.member) || !world.is_connected(self.incarnation) {
            return;
        }
        let lost: Vec<usize> = self.held.keys().copied().collect();
        self.step = None;
        self.held.clear();
        world.note(format!("worker {} hears that it has lost {lost:?}", self.incarnation));
        world.trouble(self.incarnation);
        world.incarnations[self.incarnation].pacing.disturbed();
        world.release(self.incarnation, &lost);
        self.member = world.join(self.incarnation);
        drop(world);
        if !lost.is_empty() {
            self.tell(OffsetLogEvent::Lost(names(&lost)));
        }
    }

    /// Leaves the group once what is to be committed is. False when it is done.
    fn wind_up(&mut self) -> bool {
        if matches!(self.step, Some(Step::Drain { reply: Some(_), .. } | Step::Commit { .. })) {
            self.advance();
        }
        if matches!(self.step, Some(Step::Commit { .. })) {
            return true;
        }
        let Some(mut last) = self.leaving.take() else { return true };
        let Some(result) = self.last_commit(&mut last) else {
            self.leaving = Some(last);
            return true;
        };
        let mut world = self.world.lock();
        let held: Vec<usize> = self.held.keys().copied().collect();
        for partition in &held {
            world.ends(self.incarnation, *partition, result.is_ok());
        }
        world.note(format!("worker {} leaves the group: {result:?}", self.incarnation));
        world.leave(self.member);
        world.release(self.incarnation, &held);
        drop(world);
        self.tell(OffsetLogEvent::Left(result));
        false
    }

    fn advance(&mut self) {
        let step = match self.step.take() {
            Some(step) => step,
            None => {
                let mut world = self.world.lock();
                if !world.is_connected(self.incarnation) {
                    return;
                }
                let Some(member) = world.group.members.get_mut(&self.member) else { return };
                let Some(event) = member.queue.pop_front() else { return };
                world.trouble(self.incarnation);
                let now = world.now();
                match event {
                    GroupEvent::Assign(partitions) if partitions.is_empty() => {
                        drop(world);
                        return self.tell(OffsetLogEvent::Assigned(Vec::new()));
                    }
                    GroupEvent::Assign(partitions) => {
                        Step::Assign { partitions, not_before: now + world.rng.u64(5..100) }
                    }
                    GroupEvent::Revoke(partitions) => {
                        world.counts.revokes += 1;
                        world.incarnations[self.incarnation].pacing.disturbed();
                        Step::Drain { partitions, began: now, ask_at: now, reply: None }
                    }
                }
            }
        };
        self.step = match step {
            Step::Assign { partitions, not_before } => self.assign(partitions, not_before),
            Step::Drain { partitions, began, ask_at, reply } => self.drain(partitions, began, ask_at, reply),
            Step::Commit { partitions, began, mut commit } => match self.last_commit(&mut commit) {
                None => Some(Step::Commit { partitions, began, commit }),
                Some(result) => {
                    self.give_up(&partitions, began, result);
                    None
                }
            },
        };
    }

    fn assign(&mut self, partitions: Vec<usize>, not_before: u64) -> Option<Step> {
        let mut world = self.world.lock();
        if world.now() < not_before || !world.is_connected(self.incarnation) {
            return Some(Step::Assign { partitions, not_before });
        }
        let mut assigned = Vec::new();
        for number in &partitions {
            world.suspect(*number);
            let found = &world.group.partitions[*number];
            let (committed, metadata) = found.committed.clone().unzip();
            assigned.push(AssignedPartition {
                partition: name(*number),
                committed,
                metadata: metadata.unwrap_or_default(),
                low: found.low,
                high: found.end,
            });
            self.held.insert(*number, (committed.unwrap_or(found.low), committed.unwrap_or(found.low)));
            world.incarnations[self.incarnation].held.insert(*number, Tenure::default());
        }
        world.trouble(self.incarnation);
        world.note(format!("worker {} is assigned {assigned:?}", self.incarnation));
        drop(world);
        self.tell(OffsetLogEvent::Assigned(assigned));
        None
    }

    fn drain(
        &mut self,
        partitions: Vec<usize>,
        began: u64,
        ask_at: u64,
        reply: Option<oneshot::Receiver<Vec<CommitOffset>>>,
    ) -> Option<Step> {
        let mut world = self.world.lock();
        let now = world.now();
        let deadline = began + world.plan.drain_ms + ANSWER_GRACE_MS;
        world.trouble(self.incarnation);
        let mut receiver = match reply {
            Some(receiver) => receiver,
            None if now < ask_at => return Some(Step::Drain { partitions, began, ask_at, reply: None }),
            None => {
                for partition in &partitions {
                    if let Some(tenure) = world.incarnations[self.incarnation].held.get_mut(partition) {
                        tenure.revoking_since.get_or_insert(began);
                    }
                }
                world.note(format!("worker {} is to give up {partitions:?}", self.incarnation));
                let (sender, receiver) = oneshot::channel();
                self.tell(OffsetLogEvent::Revoking { partitions: names(&partitions), reply: sender });
                receiver
            }
        };
        drop(world);
        match receiver.try_recv() {
            Ok(mut offsets) => {
                offsets.retain(|o| partitions.contains(&index(o.partition)));
                let deadline = deadline.max(now) + COMMIT_GRACE_MS;
                let commit = LastCommit { offsets: Some(offsets), deadline };
                Some(Step::Commit { partitions, began, commit })
            }
            Err(_) if now >= deadline => {
                self.give_up(&partitions, began, Err("not drained in time".into()));
                None
            }
            Err(oneshot::error::TryRecvError::Closed) => {
                Some(Step::Drain { partitions, began, ask_at: now + BETWEEN_TRIES_MS, reply: None })
            }
            Err(oneshot::error::TryRecvError::Empty) => {
                Some(Step::Drain { partitions, began, ask_at, reply: Some(receiver) })
            }
        }
    }

    fn give_up(&mut self, partitions: &[usize], began: u64, result: Result<(), String>) {
        let mut world = self.world.lock();
        world.note(format!("worker {} gives up {partitions:?}: {result:?}", self.incarnation));
        let now = world.now();
        for partition in partitions {
            self.held.remove(partition);
            world.check_drain(self.incarnation, *partition, now - began, result.is_ok());
            world.ends(self.incarnation, *partition, result.is_ok());
        }
        world.give_up(self.member, partitions);
        world.release(self.incarnation, partitions);
    }

    fn tell_the_pulse(&mut self) {
        let mut world = self.world.lock();
        let now = world.now();
        if now < self.told_at + 1_000 {
            return;
        }
        self.told_at = now;
        if !world.is_connected(self.incarnation) {
            world.trouble(self.incarnation);
            drop(world);
            return self.tell(OffsetLogEvent::Unreachable("all brokers are down".into()));
        }
        let marks = self.held.keys().map(|number| {
            let found = &world.group.partitions[*number];
            Watermarks { partition: name(*number), low: found.low, high: found.end }
        });
        let marks = marks.collect();
        drop(world);
        self.tell(OffsetLogEvent::Watermarks(marks));
        self.tell(OffsetLogEvent::Reachable);
    }

    /// A few records of each partition, while there are credits and the partition is cleared.
    fn read(&mut self) {
        let mut told = Vec::new();
        let mut world = self.world.lock();
        let broken = world.plan.broken;
        let revoked: Vec<usize> = match &self.step {
            Some(Step::Drain { partitions, .. } | Step::Commit { partitions, .. }) => partitions.clone(),
            _ => Vec::new(),
        };
        let numbers: Vec<usize> = self.held.keys().copied().collect();
        self.first = self.first.wrapping_add(1);
        let mut more = false;
        for index in 0..numbers.len() {
            let number = numbers[(index + self.first) % numbers.len()];
            if revoked.contains(&number) {
                continue;
            }
            let (mut next, mut seen) = self.held[&number];
            let cleared = self.credits.cleared_to(name(number));
            let mut records = Vec::new();
            loop {
                let found = &world.group.partitions[number];
                let from = found.records.partition_point(|(offset, _)| *offset < next);
                let Some((offset, job)) = found.records.get(from).copied() else {
                    next = found.end;
                    break;
                };
                if offset >= cleared || records.len() == RECORDS_A_TURN || !self.credits.is_open() {
                    more |= records.len() == RECORDS_A_TURN;
                    break;
                }
                next = offset + 1;
                if broken == Broken::RecordsAreSkipped && world.rng.u32(0..10) == 0 {
                    continue;
                }
                world.forgets_deadline(self.incarnation, job);
                let record = record(number, offset, job, &world);
                world.check_intake(self.incarnation, self.credits.in_use().0);
                self.credits.admit(record.size());
                records.push(record);
            }
            let all = next == world.group.partitions[number].end;
            if let Some(last) = records.last() {
                seen = last.offset + 1;
                told.push(OffsetLogEvent::Records(name(number).topic, records));
            }
            if all && next > seen && next <= cleared {
                seen = next;
                told.push(OffsetLogEvent::SeenUpTo { partition: name(number), next });
            }
            self.held.insert(number, (next, seen));
        }
        drop(world);
        for event in told {
            self.tell(event);
        }
        if more {
            self.desk.bell.notify_one();
        }
    }
}

fn record(partition: usize, offset: i64, job: usize, world: &World) -> Record {
    Record {
        topic: TOPICS[partition % 2].into(),
        partition: name(partition).number,
        offset,
        timestamp_ms: Some(0),
        key: None,
        value: Some(Bytes::from(vec![b'x'; world.jobs[job].bytes])),
        headers: Vec::new(),
    }
}

fn names(partitions: &[usize]) -> Vec<TopicPartition> {
    partitions.iter().map(|partition| name(*partition)).collect()
}

/// What the consumed topics are called, as in [`Topic::ALL`].
pub const TOPICS: [&str; 2] = ["email-queue", "email-replays"];

/// The partitions belong to the two topics in turn.
fn name(partition: usize) -> TopicPartition {
    TopicPartition { topic: Topic::ALL[partition % 2], number: i32::try_from(partition / 2).unwrap() }
}

/// The other way round.
pub fn index(partition: TopicPartition) -> usize {
    let topic = Topic::ALL.iter().position(|topic| *topic == partition.topic).unwrap();
    usize::try_from(partition.number).unwrap() * 2 + topic
}

/// Where the record lies.
pub fn index_of(record: &Record) -> usize {
    let topic = TOPICS.iter().position(|topic| **topic == *record.topic).unwrap();
    index(TopicPartition { topic: Topic::ALL[topic], number: record.partition })
}

impl World {
    fn release(&mut self, incarnation: usize, partitions: &[usize]) {
        let now = self.now();
        for partition in partitions {
            self.incarnations[incarnation].held.remove(partition);
            self.incarnations[incarnation].released.insert(*partition, now);
        }
    }

    /// An assignment ends; cleanly: nothing of it may come again but what is still unanswered.
    fn ends(&mut self, incarnation: usize, partition: usize, clean: bool) {
        let now = self.now();
        if self.group.owner_of(partition) != Some(incarnation) {
            return;
        }
        if !clean {
            self.forgive(partition, incarnation, now);
        }
    }

    /// A revoke waits for what is past the dot as long as the drain time; without that it is quick.
    fn check_drain(&mut self, incarnation: usize, partition: usize, took_ms: u64, clean: bool) {
        let mut left = self.awaited_of(incarnation);
        left.retain(|job| self.jobs[*job].partition == partition);
        if !left.is_empty() && took_ms < self.plan.drain_ms {
            let what = format!("worker {incarnation}: {left:?} not awaited, after {took_ms} ms");
            self.violate("revoke", what);
        }
        let excused = self.plan.kind == Kind::Rough || clean || self.is_disturbed(incarnation);
        if !excused {
            let what = format!("worker {incarnation}: partition {partition} not given up in {took_ms} ms");
            self.violate("revoke", what);
        }
    }

    /// Brokers or the dead letter queue were away within the last seconds, or an actor has just died.
    pub fn is_disturbed(&self, incarnation: usize) -> bool {
        let recent = self.now().saturating_sub(self.plan.drain_ms + COMMIT_GRACE_MS + ANSWER_GRACE_MS);
        let until = &self.until;
        [until.brokers_away, until.letters_refused, until.letters_denied, until.commit_trouble]
            .iter()
            .any(|until| *until > recent)
            || self.incarnations[incarnation].burnt_at.is_some_and(|at| at > recent)
    }
}
