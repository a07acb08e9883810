//! All that the simulated brokers, relay and workers share, and the log of what happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;
use tokio::time::Instant;

use mailroom_actors::domain::job::Record;

use crate::expiry::Deadline;
use crate::group::Group;
use crate::job::Job;
use crate::member::index_of;
use crate::oracles::Violation;
use crate::pacing::Pacing;
use crate::plan::{Fuse, Plan};
use crate::relay::Transit;

pub type Shared = Arc<Mutex<World>>;

pub struct World {
    pub plan: Plan,
    pub rng: Rng,
    pub began: Instant,
    pub log: Vec<String>,
    pub violations: Vec<Violation>,
    pub jobs: Vec<Job>,
    pub group: Group,
    pub incarnations: Vec<Incarnation>,
    /// E-mails past the dot, without an answer so far.
    pub transits: BTreeMap<u64, Transit>,
    pub last_transit: u64,
    pub connections: usize,
    /// The workers' wall clocks are ahead of the time that has passed.
    pub clock_step_ms: i64,
    pub counts: Counts,
    /// Until when each trouble lasts.
    pub until: Until,
}

#[derive(Default)]
pub struct Until {
    pub brokers_away: u64,
    pub commit_trouble: u64,
    pub relay_away: u64,
    pub few_connections: u64,
    pub most_connections: usize,
    pub awkward: u64,
    pub letters_refused: u64,
    pub letters_denied: u64,
}

/// What happened in a run, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub copies: u32,
    pub letters: u32,
    pub repeated: u32,
    pub ambiguous: u32,
    pub kills: u32,
    pub losses: u32,
    pub revokes: u32,
    pub stops: u32,
    pub panics: u32,
    pub commits: u32,
    pub commits_refused: u32,
    pub opened: u32,
    pub probes: u32,
    /// Dead letters `crash`.
    pub crashes: u32,
    /// Of those: of jobs that neither panic nor end a process.
    pub innocents: u32,
    /// Dead letters `expired`.
    pub expired: u32,
}

/// One process of one worker, from its start to its death.
pub struct Incarnation {
    pub alive: bool,
    /// Partitions that its poll thread has told it of and not taken back.
    pub held: BTreeMap<usize, Tenure>,
    /// When partitions were taken back from it.
    pub released: BTreeMap<usize, u64>,
    pub stopping_at: Option<u64>,
    /// No word with the brokers until then.
    pub cut_until: u64,
    /// The last time at which its commits may have been held up by anything but itself.
    pub trouble_at: u64,
    /// When an actor of it last died by a fuse.
    pub burnt_at: Option<u64>,
    pub fuses: BTreeMap<Fuse, i64>,
    pub ended_by_a_job: bool,
    /// Of the jobs that it was told to expire.
    pub deadlines: BTreeMap<usize, Deadline>,
    /// Letters that it published, stored or not: `expired`, and others.
    pub letters: (u64, u64),
    pub pacing: Pacing,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tenure {
    pub revoking_since: Option<u64>,
}

impl World {
    pub fn shared(plan: &Plan) -> Shared {
        let mut rng = Rng::with_seed(plan.seed ^ 0x7765_6c74);
        let group = Group::new(plan, &mut rng);
        Arc::new(Mutex::new(World {
            plan: plan.clone(),
            rng,
            began: Instant::now(),
            log: Vec::new(),
            violations: Vec::new(),
            jobs: Vec::new(),
            group,
            incarnations: Vec::new(),
            transits: BTreeMap::new(),
            last_transit: 0,
            connections: 0,
            clock_step_ms: 0,
            counts: Counts::default(),
            until: Until::default(),
        }))
    }

    /// Milliseconds since the run began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn note(&mut self, what: impl AsRef<str>) {
        let line = format!("{:>8} {}", self.now(), what.as_ref());
        self.log.push(line);
    }

    pub fn is_alive(&self, incarnation: usize) -> bool {
        self.incarnations[incarnation].alive
    }

    pub fn brokers_are_away(&self) -> bool {
        self.now() < self.until.brokers_away
    }

    /// Whether this worker and the brokers hear of each other.
    pub fn is_connected(&self, incarnation: usize) -> bool {
        !self.brokers_are_away() && self.now() >= self.incarnations[incarnation].cut_until
    }

    pub fn trouble(&mut self, incarnation: usize) {
        self.incarnations[incarnation].trouble_at = self.now();
    }

    /// Puts jobs on the queue, with gaps, and sometimes a transaction's marker at the end.
    pub fn produce(&mut self, partition: usize, jobs: usize) {
        for _ in 0..jobs {
            let gap = if self.rng.u32(0..5) == 0 { self.rng.i64(1..4) } else { 0 };
            let offset = self.group.partitions[partition].end + gap;
            let now = self.now();
            let job = Job::draw(&self.plan, &mut self.rng, partition, offset, now);
            let number = self.jobs.len();
            self.group.partitions[partition].records.push((offset, number));
            self.group.partitions[partition].end = offset + 1;
            self.jobs.push(job);
        }
        self.group.partitions[partition].end += self.rng.i64(0..3).min(1);
        let end = self.group.partitions[partition].end;
        self.note(format!("partition {partition}: {jobs} jobs produced, ends at {end}"));
    }

    pub fn job_at(&self, record: &Record) -> usize {
        let records = &self.group.partitions[index_of(record)].records;
        let index =
            records.binary_search_by_key(&record.offset, |(at, _)| *at).expect("it was read from there");
        records[index].1
    }

    /// kill -9: nothing that it does from now on has an effect. What is past the dot the relay has, or not.
    pub fn kill(&mut self, incarnation: usize, why: &str) {
        if !self.is_alive(incarnation) {
            return;
        }
        self.incarnations[incarnation].alive = false;
        self.note(format!("worker {incarnation} {why}"));
        self.abandon_transits_of(incarnation);
        let now = self.now();
        for partition in 0..self.group.partitions.len() {
            if self.group.owner_of(partition) == Some(incarnation) {
                self.forgive(partition, incarnation, now);
            }
        }
    }

    /// Panics here when this call is the one. Not to be called under the lock.
    pub fn burn(world: &Shared, incarnation: usize, fuse: Fuse, job: Option<usize>) {
        let burns = {
            let mut world = world.lock();
            let calls = world.incarnations[incarnation].fuses.entry(fuse).or_default();
            *calls -= 1;
            let burns = *calls == 0;
            if burns && world.is_alive(incarnation) {
                let now = world.now();
                world.incarnations[incarnation].burnt_at = Some(now);
                world.incarnations[incarnation].pacing.disturbed();
                world.trouble(incarnation);
                world.counts.panics += 1;
                world.note(format!("worker {incarnation}: {fuse:?} panics, job {job:?}"));
                if let Some(job) = job {
                    world.jobs[job].panicked = true;
                }
            }
            burns
        };
        assert!(!burns, "chaos: a fuse has burnt");
    }
}
