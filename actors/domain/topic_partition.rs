//! What jobs are taken from: the partitions of the queue, and of the topic of replayed jobs where that is another.

use std::fmt;
use std::sync::Arc;

/// One of the topics that are consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `kafka.topic`.
    #[default]
    Queue,
    /// `dlq.replay_topic`, where it is not the queue.
    Replays,
}

impl Topic {
    pub const ALL: [Topic; 2] = [Topic::Queue, Topic::Replays];
}

/// What they are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNames {
    pub queue: Arc<str>,
    /// None where replayed jobs go back to the queue.
    pub replays: Option<Arc<str>>,
}

impl TopicNames {
    /// The queue's, and no other.
    pub fn queue(name: &str) -> TopicNames {
        TopicNames { queue: name.into(), replays: None }
    }

    /// Each with its name.
    pub fn all(&self) -> impl Iterator<Item = (Topic, &Arc<str>)> {
        std::iter::once((Topic::Queue, &self.queue))
            .chain(self.replays.iter().map(|name| (Topic::Replays, name)))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all().map(|(_, name)| &**name)
    }

    /// That of the queue also for replayed jobs, where they go back to it.
    pub fn name(&self, topic: Topic) -> &Arc<str> {
        match topic {
            Topic::Queue => &self.queue,
            Topic::Replays => self.replays.as_ref().unwrap_or(&self.queue),
        }
    }

    /// None where a topic of that name is not consumed.
    pub fn topic(&self, name: &str) -> Option<Topic> {
        self.all().find(|(_, of)| &***of == name).map(|(topic, _)| topic)
    }
}

/// One partition of one of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Topic,
    pub number: i32,
}

/// A partition of the queue.
impl From<i32> for TopicPartition {
    fn from(number: i32) -> TopicPartition {
        TopicPartition { topic: Topic::Queue, number }
    }
}

/// As in log lines: `3`, and `replays-3`.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.topic {
            Topic::Queue => self.number.fmt(f),
            Topic::Replays => write!(f, "replays-{}", self.number),
        }
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_the_queue_are_numbers_and_the_others_say_so() {
        let names = TopicNames { queue: "q".into(), replays: Some("r".into()) };
        assert_eq!(
            names.all().map(|(topic, name)| (topic, &**name)).collect::<Vec<_>>(),
            [(Topic::Queue, "q"), (Topic::Replays, "r")]
        );
        assert_eq!(
            ["q", "r", "s"].map(|name| names.topic(name)),
            [Some(Topic::Queue), Some(Topic::Replays), None]
        );
        assert_eq!(&**TopicNames::queue("q").name(Topic::Replays), "q");
        let partitions = [TopicPartition::from(3), TopicPartition { topic: Topic::Replays, number: 3 }];
        assert_eq!(format!("{partitions:?}"), "[3, replays-3]");
    }
}
