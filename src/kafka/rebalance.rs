//! Partitions taken over and given up, step by step, while the poll thread goes on serving everything else.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mailroom_actors::domain::topic_partition::{TopicNames, TopicPartition};
use mailroom_actors::ports::{AssignedPartition, CommitOffset, OffsetLogEvent};
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;

use super::commits::LastCommit;
use super::context::{GroupEvent, let_go, take_over};
use super::intake::Member;
use super::partitions::name_of;

/// How long one question for the committed offsets may keep the poll thread.
const COMMITTED_TIMEOUT: Duration = Duration::from_millis(500);
const BETWEEN_TRIES: Duration = Duration::from_millis(100);
/// How long the actors' answer may take once their own time is up.
const ANSWER_GRACE: Duration = Duration::from_secs(1);
/// A last commit may take this much longer than the drain itself.
const COMMIT_GRACE: Duration = Duration::from_secs(5);

enum Step {
    /// The committed offsets are asked for until they are known.
    Assign {
        list: TopicPartitionList,
        not_before: Instant,
    },
    /// The actors finish what they have in hand.
    Drain {
        list: TopicPartitionList,
        /// Those of the list that the actors know of.
        told: Vec<TopicPartition>,
        deadline: Instant,
        reply: Reply,
    },
    Commit {
        list: TopicPartitionList,
        commit: LastCommit,
    },
}

enum Reply {
    Due { ask_at: Instant },
    Asked(oneshot::Receiver<Vec<CommitOffset>>),
}

/// The rebalance under way, and those behind it.
pub(super) struct Rebalance {
    drain_timeout: Duration,
    waker: Waker,
    queue: VecDeque<GroupEvent>,
    step: Option<Step>,
}

impl Rebalance {
    pub fn new(drain_timeout: Duration, waker: Waker) -> Rebalance {
        Rebalance { drain_timeout, waker, queue: VecDeque::new(), step: None }
    }

    /// An assign or a revoke, in order.
    pub fn push(&mut self, event: GroupEvent) {
        self.queue.push_back(event);
    }

    /// Nothing is under way, and nothing waits.
    pub fn is_idle(&self) -> bool {
        self.step.is_none() && self.queue.is_empty()
    }

    /// One look at what is under way.
    pub fn advance(&mut self, member: &mut Member) {
        let step = match self.step.take() {
            Some(step) => step,
            None => match self.queue.pop_front() {
                Some(event) => match self.begin(event, member) {
                    Some(step) => step,
                    None => return,
                },
                None => return,
            },
        };
        self.step = match step {
            Step::Assign { list, not_before } => assign(list, not_before, member),
            Step::Drain { list, told, deadline, reply } => self.drain(list, told, deadline, reply, member),
            Step::Commit { list, mut commit } => {
                match commit.advance(&mut member.commits, &member.consumer) {
                    None => Some(Step::Commit { list, commit }),
                    Some(taken) => {
                        if let Err(reason) = taken {
                            tracing::warn!(reason, "the last commit before a revoke was not taken");
                        }
                        give_up(&list, member);
                        None
                    }
                }
            }
        };
    }

    /// While leaving nobody is asked any more. Goes on only with a commit whose offsets are known. True
    /// when there is none.
    pub fn wind_up(&mut self, member: &mut Member) -> bool {
        if let Some(Step::Drain { reply: Reply::Asked(_), .. } | Step::Commit { .. }) = &self.step {
            self.advance(member);
        }
        !matches!(self.step, Some(Step::Commit { .. }))
    }

    /// Answers librdkafka at once for all that is left, so that the close does not wait for it.
    pub fn cut_short(&mut self, member: &mut Member) {
        match self.step.take() {
            Some(Step::Assign { list, .. }) => self.queue.push_front(GroupEvent::Assign(list)),
            Some(Step::Drain { list, .. } | Step::Commit { list, .. }) => give_up(&list, member),
            None => {}
        }
        for event in std::mem::take(&mut self.queue) {
            match event {
                GroupEvent::Assign(list) => {
                    take_over(&member.consumer, &list);
                }
                GroupEvent::Revoke(list) => give_up(&list, member),
                GroupEvent::Committed(_) => {}
            }
        }
    }

    fn begin(&self, event: GroupEvent, member: &mut Member) -> Option<Step> {
        let now = Instant::now();
        match event {
            // Cooperative rebalances bring empty lists: nothing changes, but librdkafka waits for an answer.
            GroupEvent::Assign(list) if list.count() == 0 => {
                take_over(&member.consumer, &list);
                member.pulse.answered();
                // In the group all the same: a spare is ready.
                member.tell(OffsetLogEvent::Assigned(Vec::new()));
                None
            }
            GroupEvent::Assign(list) => Some(Step::Assign { list, not_before: now }),
            GroupEvent::Revoke(list) if list.count() == 0 => {
                let_go(&member.consumer, &list);
                None
            }
            GroupEvent::Revoke(list) => {
                let mut told = names(&list, &member.topics);
                told.iter().for_each(|partition| member.partitions.stop(*partition));
                told.retain(|&partition| !member.arrivals.remove(partition));
                if told.is_empty() {
                    give_up(&list, member);
                    return None;
                }
                // The actors wait for as long; their answer comes right after that.
                let deadline = now + self.drain_timeout + ANSWER_GRACE;
                Some(Step::Drain { list, told, deadline, reply: Reply::Due { ask_at: now } })
            }
            GroupEvent::Committed(_) => None,
        }
    }

    fn drain(
        &self,
        list: TopicPartitionList,
        told: Vec<TopicPartition>,
        deadline: Instant,
        reply: Reply,
        member: &mut Member,
    ) -> Option<Step> {
        let now = Instant::now();
        if member.consumer.assignment_lost() {
            member.tell(OffsetLogEvent::Lost(told));
            give_up(&list, member);
            return None;
        }
        let mut receiver = match reply {
            Reply::Asked(receiver) => receiver,
            Reply::Due { ask_at } if now < ask_at => {
                return Some(Step::Drain { list, told, deadline, reply: Reply::Due { ask_at } });
            }
            Reply::Due { .. } => {
                let (sender, receiver) = oneshot::channel();
                member.tell(OffsetLogEvent::Revoking { partitions: told.clone(), reply: sender });
                receiver
            }
        };
        match Pin::new(&mut receiver).poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Ok(mut offsets)) => {
                offsets.retain(|o| told.contains(&o.partition));
                let commit = LastCommit::new(offsets, deadline.max(now) + COMMIT_GRACE);
                Some(Step::Commit { list, commit })
            }
            _ if now >= deadline => {
                tracing::warn!(
                    "the jobs of revoked partitions were not drained in time: nothing is committed"
                );
                give_up(&list, member);
                None
            }
            Poll::Ready(Err(_)) => {
                // Who was asked is gone; its successor is asked again.
                Some(Step::Drain { list, told, deadline, reply: Reply::Due { ask_at: now + BETWEEN_TRIES } })
            }
            Poll::Pending => Some(Step::Drain { list, told, deadline, reply: Reply::Asked(receiver) }),
        }
    }
}

fn assign(list: TopicPartitionList, not_before: Instant, member: &mut Member) -> Option<Step> {
    if Instant::now() < not_before {
        return Some(Step::Assign { list, not_before });
    }
    let later = |list| Some(Step::Assign { list, not_before: Instant::now() + BETWEEN_TRIES });
    let mut known = match member.consumer.committed_offsets(list.clone(), COMMITTED_TIMEOUT) {
        Ok(known) => known,
        Err(error) => {
            member.pulse.silent(format!("the committed offsets can't be read: {error}"));
            return later(list);
        }
    };
    if let Some(error) = known.elements().iter().find_map(|entry| entry.error().err()) {
        member.pulse.silent(format!("the committed offsets can't be read: {error}"));
        return later(list);
    }
    let partitions: Vec<AssignedPartition> =
        known.elements().iter().filter_map(|entry| assigned(entry, &member.topics)).collect();
    begin_at_the_earliest(&mut known, &partitions, &member.topics);
    for partition in &partitions {
        let seen = partition.committed.unwrap_or(-1);
        member.partitions.add(&member.consumer, &member.topics, partition.partition, seen);
    }
    let new: Vec<TopicPartition> =
        partitions.iter().filter(|p| p.committed.is_none()).map(|p| p.partition).collect();
    if !new.is_empty() {
        tracing::info!(partitions = ?new, "nothing is committed yet: reading from the earliest record");
    }
    member.watched.add(&names(&known, &member.topics), &new);
    member.pulse.answered();
    if take_over(&member.consumer, &known) {
        member.arrivals.push(partitions);
    } else {
        forget(&known, member);
    }
    None
}

/// Partition, committed offset and metadata of one entry.
fn assigned(entry: &TopicPartitionListElem<'_>, topics: &TopicNames) -> Option<AssignedPartition> {
    let committed = match entry.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    // rdkafka panics on metadata that is not UTF-8: not ours, and worth no more than none.
    let metadata = catch_unwind(AssertUnwindSafe(|| entry.metadata().to_owned())).unwrap_or_default();
    // Its ends are asked for by the watermarks thread.
    Some(AssignedPartition { partition: name_of(entry, topics)?, committed, metadata, low: 0, high: 0 })
}

fn begin_at_the_earliest(
    list: &mut TopicPartitionList,
    partitions: &[AssignedPartition],
    topics: &TopicNames,
) {
    for partition in partitions.iter().filter(|p| p.committed.is_none()) {
        let set = list.set_partition_offset(
            topics.name(partition.partition.topic),
            partition.partition.number,
            Offset::Beginning,
        );
        debug_assert!(set.is_ok(), "the partition is in the list, and the offset is one librdkafka knows");
    }
}

fn give_up(list: &TopicPartitionList, member: &mut Member) {
    tracing::info!(partitions = ?names(list, &member.topics), "partitions given up");
    forget(list, member);
    let_go(&member.consumer, list);
}

fn forget(list: &TopicPartitionList, member: &mut Member) {
    for partition in names(list, &member.topics) {
        member.arrivals.remove(partition);
        member.partitions.remove(partition);
        member.watched.remove(partition);
    }
}

fn names(list: &TopicPartitionList, topics: &TopicNames) -> Vec<TopicPartition> {
    list.elements().iter().filter_map(|entry| name_of(entry, topics)).collect()
}
