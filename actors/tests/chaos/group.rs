//! The brokers in memory: partitions with their records, and one consumer group with its members.

use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use mailroom_actors::ports::{CommitOffset, CommitRefusal};

use crate::member::index;
use crate::plan::{Broken, Plan};
use crate::world::World;

/// `offset.metadata.max.bytes`, as brokers have it by default.
const MOST_METADATA: usize = 4_096;

pub struct Partition {
    /// Offset and job, in order; offsets have gaps.
    pub records: Vec<(i64, usize)>,
    pub low: i64,
    /// The offset behind the last record or transaction marker.
    pub end: i64,
    pub committed: Option<(i64, String)>,
    pub owner: Option<u64>,
    /// Counts up with each change of the owner.
    pub epoch: u64,
    /// When the newest commit that is stored was asked for: what was known before is in it.
    pub covered_at: u64,
}

pub enum GroupEvent {
    Assign(Vec<usize>),
    Revoke(Vec<usize>),
}

pub struct Member {
    pub incarnation: usize,
    pub queue: VecDeque<GroupEvent>,
    heard_at: u64,
    /// Partitions that it is being asked to give up.
    asked_back: Vec<usize>,
    told_anything: bool,
}

pub struct Group {
    pub partitions: Vec<Partition>,
    pub members: BTreeMap<u64, Member>,
    last_member: u64,
    balance_at: Option<u64>,
}

impl Group {
    pub fn new(plan: &Plan, rng: &mut Rng) -> Group {
        let partitions = (0..plan.partitions).map(|_| {
            let low = if rng.bool() { 0 } else { rng.i64(1..50) };
            Partition {
                records: Vec::new(),
                low,
                end: low,
                committed: None,
                owner: None,
                epoch: 0,
                covered_at: 0,
            }
        });
        Group { partitions: partitions.collect(), members: BTreeMap::new(), last_member: 0, balance_at: None }
    }

    /// The worker that the brokers have for the partition's owner.
    pub fn owner_of(&self, partition: usize) -> Option<usize> {
        let owner = self.partitions[partition].owner?;
        self.members.get(&owner).map(|member| member.incarnation)
    }
}

impl World {
    pub fn join(&mut self, incarnation: usize) -> u64 {
        self.group.last_member += 1;
        let number = self.group.last_member;
        let member = Member {
            incarnation,
            queue: VecDeque::new(),
            heard_at: self.now(),
            asked_back: Vec::new(),
            told_anything: false,
        };
        self.group.members.insert(number, member);
        self.note(format!("worker {incarnation} joins as member {number}"));
        self.balance_soon();
        number
    }

    /// The member gives these up; somebody else may have them.
    pub fn give_up(&mut self, member: u64, partitions: &[usize]) {
        for partition in partitions {
            let found = &mut self.group.partitions[*partition];
            if found.owner == Some(member) {
                found.owner = None;
                found.epoch += 1;
            }
        }
        if let Some(found) = self.group.members.get_mut(&member) {
            found.asked_back.retain(|partition| !partitions.contains(partition));
        }
        self.balance_soon();
    }

    pub fn leave(&mut self, member: u64) {
        let all: Vec<usize> = (0..self.group.partitions.len()).collect();
        self.give_up(member, &all);
        self.group.members.remove(&member);
    }

    fn balance_soon(&mut self) {
        let at = self.now() + self.rng.u64(50..500);
        self.group.balance_at.get_or_insert(at);
    }

    /// Sessions expire, rebalances happen.
    pub fn tick(&mut self) {
        let now = self.now();
        let away = self.brokers_are_away();
        for number in self.group.members.keys().copied().collect::<Vec<u64>>() {
            let incarnation = self.group.members[&number].incarnation;
            let heard = away || (self.is_alive(incarnation) && self.is_connected(incarnation));
            let member = self.group.members.get_mut(&number).expect("it was there a moment ago");
            if heard {
                member.heard_at = now;
            } else if now - member.heard_at > self.plan.session_ms {
                self.expire(number);
            }
        }
        if !away && self.group.balance_at.is_some_and(|at| at <= now) {
            self.group.balance_at = None;
            self.balance();
        }
    }

    fn expire(&mut self, number: u64) {
        let incarnation = self.group.members[&number].incarnation;
        self.note(format!("the session of member {number}, worker {incarnation}, expires"));
        let now = self.now();
        for partition in 0..self.group.partitions.len() {
            if self.group.partitions[partition].owner == Some(number) && self.is_alive(incarnation) {
                self.forgive(partition, incarnation, now);
            }
        }
        if self.is_alive(incarnation) {
            self.counts.losses += 1;
        }
        self.leave(number);
    }

    /// Cooperative and sticky: only what moves is revoked, and assigned once it is given up.
    fn balance(&mut self) {
        let members: Vec<u64> = self.group.members.keys().copied().collect();
        if members.is_empty() {
            return;
        }
        let count = self.group.partitions.len();
        for (index, number) in members.iter().enumerate() {
            let quota = count / members.len() + usize::from(index < count % members.len());
            let owned: Vec<usize> =
                (0..count).filter(|p| self.group.partitions[*p].owner == Some(*number)).collect();
            let asked = self.group.members[number].asked_back.clone();
            let keeps: Vec<usize> = owned.iter().copied().filter(|p| !asked.contains(p)).collect();
            let too_many: Vec<usize> = keeps.iter().copied().skip(quota).collect();
            if !too_many.is_empty() {
                if self.plan.broken == Broken::AssignmentsAreNotRevoked {
                    self.give_up(*number, &too_many);
                    continue;
                }
                let member = self.group.members.get_mut(number).expect("it is one of the members");
                member.asked_back.extend(&too_many);
                member.queue.push_back(GroupEvent::Revoke(too_many));
            }
        }
        for (index, number) in members.iter().enumerate() {
            let quota = count / members.len() + usize::from(index < count % members.len());
            let owned = (0..count).filter(|p| self.group.partitions[*p].owner == Some(*number)).count();
            let free = (0..count).filter(|p| self.group.partitions[*p].owner.is_none());
            let gets: Vec<usize> = free.take(quota.saturating_sub(owned)).collect();
            for partition in &gets {
                self.group.partitions[*partition].owner = Some(*number);
                self.group.partitions[*partition].epoch += 1;
            }
            let member = self.group.members.get_mut(number).expect("it is one of the members");
            if !gets.is_empty() || !member.told_anything {
                member.told_anything = true;
                member.queue.push_back(GroupEvent::Assign(gets));
            }
        }
    }

    /// A commit arrives at the coordinator.
    pub fn store(
        &mut self,
        member: u64,
        commits: &[CommitOffset],
        asked_at: u64,
    ) -> Result<(), CommitRefusal> {
        let refusal = |reason: &str, not_ours, metadata_too_large| {
            Err(CommitRefusal { reason: reason.into(), not_ours, metadata_too_large })
        };
        let number = |commit: &CommitOffset| index(commit.partition);
        if commits.iter().any(|commit| self.group.partitions[number(commit)].owner != Some(member)) {
            return refusal("unknown member, or an old generation", true, false);
        }
        if commits.iter().any(|commit| commit.metadata.chars().count() > MOST_METADATA) {
            return refusal("the metadata is too large", false, true);
        }
        self.counts.commits += 1;
        for commit in commits {
            let partition = number(commit);
            let mut commit = commit.clone();
            match self.plan.broken {
                Broken::CommitsAreNotStored => continue,
                Broken::CommitsAreStoredTooHigh => commit.offset += 1,
                _ => {}
            }
            self.check_commit(&commit);
            self.note(format!(
                "partition {partition}: {} is committed, {:?}",
                commit.offset, commit.metadata
            ));
            let found = &mut self.group.partitions[partition];
            found.committed = Some((commit.offset, commit.metadata));
            found.covered_at = found.covered_at.max(asked_at);
        }
        Ok(())
    }
}
