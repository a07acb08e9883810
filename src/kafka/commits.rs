//! Offset commits: one at a time, never two outstanding.
//!
//! librdkafka keeps a commit that meets no coordinator and sends it when there is one again, and it tries
//! some refused ones again by itself. A second commit sent beside such a one could be overtaken by it, and
//! the offset would go back. So all commits, also the last ones before partitions are given up, go through
//! this one slot. A commit whose answer does not come in time keeps the slot; librdkafka itself finishes an
//! unassign only once the outstanding commits are answered, so none lands after a revoke.
//!
//! rdkafka 0.39 never calls `commit_callback` for an asynchronous commit (rust-rdkafka issue 856), and a
//! synchronous one waits without a limit. So commits are synchronous, on a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mailroom_actors::domain::topic_partition::{TopicNames, TopicPartition};
use mailroom_actors::ports::{CommitOffset, CommitRefusal};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::bell::Bell;
use super::context::GroupConsumer;
use super::problem::StartProblem;

const BETWEEN_TRIES: Duration = Duration::from_millis(100);

type Answer = Result<(), CommitRefusal>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Actors,
    /// The poll thread: the last commit before partitions are given up.
    Thread,
    /// The poll thread, which has stopped waiting.
    Nobody,
}

/// The one slot, and the actors' commit that waits for it.
pub(super) struct Commits {
    topics: TopicNames,
    lists: Sender<TopicPartitionList>,
    thread: JoinHandle<()>,
    outstanding: Option<Asker>,
    waiting: Option<Vec<CommitOffset>>,
    last_answer: Option<Answer>,
}

impl Commits {
    /// Starts the thread that commits. Each answer becomes a [`super::context::GroupEvent::Committed`], and
    /// rings the bell.
    pub fn start(
        consumer: Arc<GroupConsumer>,
        topics: TopicNames,
        bell: Arc<Bell>,
    ) -> Result<Commits, StartProblem> {
        let (lists, received) = mpsc::channel();
        let commit = move || {
            for list in received {
                consumer.context().committed(consumer.commit(&list, CommitMode::Sync));
                bell.ring();
            }
        };
        let thread = thread::Builder::new()
            .name("kafka-commit".into())
            .spawn(commit)
            .map_err(|e| StartProblem::Away(format!("no thread for commits: {e}")))?;
        Ok(Commits { topics, lists, thread, outstanding: None, waiting: None, last_answer: None })
    }

    /// The thread ends once the outstanding commit is answered.
    pub fn stop(self) -> JoinHandle<()> {
        self.thread
    }

    /// The actors ask for a commit; they never do so while an earlier one is unanswered.
    pub fn ask(&mut self, offsets: Vec<CommitOffset>) {
        self.waiting = Some(offsets);
    }

    /// Sends what waits, when the slot is free. Returns the actors' answer where there is one already.
    /// Offsets of partitions that are not held any more are left out.
    pub fn send_waiting(&mut self, holds: impl Fn(TopicPartition) -> bool) -> Option<Answer> {
        if self.outstanding.is_some() {
            return None;
        }
        let offsets: Vec<_> = self.waiting.take()?.into_iter().filter(|o| holds(o.partition)).collect();
        if offsets.is_empty() {
            return Some(Err(CommitRefusal {
                reason: "the partitions are no longer assigned".into(),
                not_ours: true,
                metadata_too_large: false,
            }));
        }
        self.send(&offsets, Asker::Actors).err().map(Err)
    }

    /// librdkafka's answer to the outstanding commit. Returns it when it is the actors'.
    pub fn answered(&mut self, answer: Answer) -> Option<Answer> {
        match self.outstanding.take() {
            Some(Asker::Actors) => Some(answer),
            Some(Asker::Thread) => {
                self.last_answer = Some(answer);
                None
            }
            Some(Asker::Nobody) | None => None,
        }
    }

    fn send(&mut self, offsets: &[CommitOffset], asker: Asker) -> Answer {
        let refusal = |reason: String| CommitRefusal { reason, not_ours: false, metadata_too_large: false };
        let list = list(&self.topics, offsets).map_err(|error| refusal(error.to_string()))?;
        self.lists.send(list).map_err(|_| refusal("the commit thread has ended".into()))?;
        self.outstanding = Some(asker);
        Ok(())
    }

    fn is_free(&self) -> bool {
        self.outstanding.is_none() && self.waiting.is_none()
    }

    fn abandon(&mut self) {
        if self.outstanding == Some(Asker::Thread) {
            self.outstanding = Some(Asker::Nobody);
        }
        self.last_answer = None;
    }
}

/// The last commit of partitions that are about to be given up: tried until it is taken, is of no use any
/// more, or its time is over.
#[derive(Debug)]
pub(super) struct LastCommit {
    offsets: Vec<CommitOffset>,
    deadline: Instant,
    sent: bool,
    not_before: Instant,
    refused: Option<String>,
}

impl LastCommit {
    /// Offsets below 0 are none.
    pub fn new(mut offsets: Vec<CommitOffset>, deadline: Instant) -> LastCommit {
        offsets.retain(|o| o.offset >= 0);
        LastCommit { offsets, deadline, sent: false, not_before: Instant::now(), refused: None }
    }

    /// One look at it. None while it is under way; then whether it was taken, or why not.
    pub fn advance(&mut self, commits: &mut Commits, consumer: &GroupConsumer) -> Option<Result<(), String>> {
        if self.offsets.is_empty() {
            return Some(Ok(()));
        }
        if consumer.assignment_lost() {
            commits.abandon();
            return Some(Err("the partitions were lost before the last commit".into()));
        }
        let now = Instant::now();
        if !self.sent && now >= self.not_before && commits.is_free() {
            match commits.send(&self.offsets, Asker::Thread) {
                Ok(()) => self.sent = true,
                Err(refusal) => commits.last_answer = Some(Err(refusal)),
            }
        }
        match commits.last_answer.take() {
            Some(Ok(())) => return Some(Ok(())),
            Some(Err(refusal)) if refusal.not_ours => return Some(Err(refusal.reason)),
            Some(Err(refusal)) => {
                if self.refused.as_ref() != Some(&refusal.reason) {
                    tracing::warn!(reason = refusal.reason, "the last commit was refused and is tried again");
                }
                self.refused = Some(refusal.reason);
                self.sent = false;
                self.not_before = now + BETWEEN_TRIES;
            }
            None => {}
        }
        if now < self.deadline {
            return None;
        }
        commits.abandon();
        Some(Err(self.refused.take().unwrap_or_else(|| "no answer to the last commit in time".into())))
    }
}

fn list(topics: &TopicNames, offsets: &[CommitOffset]) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for commit in offsets {
        let mut entry = list.add_partition(topics.name(commit.partition.topic), commit.partition.number);
        entry.set_offset(Offset::Offset(commit.offset))?;
        if !commit.metadata.is_empty() {
            entry.set_metadata(&commit.metadata);
        }
    }
    Ok(list)
}
