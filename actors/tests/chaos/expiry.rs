//! What may never be seen of jobs that expire: an attempt after that, or a dead letter long before it.

use std::time::Duration;

use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::job::DeadLetter;

use crate::job::Making;
use crate::plan::Broken;
use crate::world::World;

/// When a worker may no longer send a job, as it was told when it took it.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: u64,
    /// Of the job as it was taken last; else the clock may have died over the question, and there is none.
    is_known: bool,
}

/// An attempt of a probe takes no longer to come to its MAIL.
const LONGEST_WAY_TO_MAIL_MS: u64 = 1_000;
/// The longest wait between two attempts, with its jitter: as the relay says "slower" again and again; else.
const LONGEST_LIMITED_WAIT_MS: u64 = 66_000;
const LONGEST_WAIT_MS: u64 = 2_200;

impl World {
    /// What the worker's wall clock shows, since the epoch.
    pub fn wall_ms(&self) -> i64 {
        i64::try_from(self.now()).unwrap() + self.clock_step_ms
    }

    /// The worker is given the record, and will ask.
    pub fn forgets_deadline(&mut self, incarnation: usize, job: usize) {
        if let Some(deadline) = self.incarnations[incarnation].deadlines.get_mut(&job) {
            deadline.is_known = false;
        }
    }

    /// The worker asks until when the job may be sent: for how long from now on.
    pub fn tell_expiry(&mut self, incarnation: usize, job: usize) -> Option<Duration> {
        let expires_at = i64::try_from(self.jobs[job].expires_at?).unwrap();
        let left = u64::try_from((expires_at - self.wall_ms()).max(0)).unwrap();
        let deadline = Deadline { at: self.now() + left, is_known: true };
        self.incarnations[incarnation].deadlines.insert(job, deadline);
        let told = match self.plan.broken {
            Broken::ExpiriesAreToldWrong if job.is_multiple_of(2) => left * 3,
            Broken::ExpiriesAreToldWrong => left / 100,
            _ => left,
        };
        Some(Duration::from_millis(told))
    }

    fn deadline(&self, incarnation: usize, job: usize) -> Option<u64> {
        let deadline = self.incarnations[incarnation].deadlines.get(&job);
        deadline.filter(|deadline| deadline.is_known).map(|deadline| deadline.at)
    }

    /// An attempt begins, or comes to its MAIL.
    pub fn check_in_time(&mut self, incarnation: usize, job: usize, what: &str) {
        let Some(deadline) = self.deadline(incarnation, job) else { return };
        let now = self.now();
        if now >= deadline && self.is_alive(incarnation) {
            let what = format!("worker {incarnation}: job {job} {what} {} ms late", now - deadline);
            self.violate("expiry", what);
        }
    }

    /// Its attempt may end before MAIL, and show nothing of the relay.
    pub fn may_soon_expire(&self, incarnation: usize, job: usize) -> bool {
        self.deadline(incarnation, job).is_some_and(|at| at <= self.now() + LONGEST_WAY_TO_MAIL_MS)
    }

    /// A letter is published: one that says the job has expired comes when its time has come, or when the next
    /// attempt would come too late.
    pub fn check_expired(&mut self, incarnation: usize, job: usize, letter: &DeadLetter) {
        if letter.failure.cause != Cause::Expired {
            self.incarnations[incarnation].letters.1 += 1;
            return;
        }
        self.incarnations[incarnation].letters.0 += 1;
        self.counts.expired += 1;
        if self.jobs[job].making == Making::Invalid {
            self.violate("expiry", format!("worker {incarnation}: job {job} is none, and has expired"));
        }
        let Some(deadline) = self.incarnations[incarnation].deadlines.get(&job).map(|found| found.at) else {
            let what = format!("worker {incarnation}: job {job} has expired, and never does");
            return self.violate("expiry", what);
        };
        let foreseen = letter.failure.reason.contains("the next attempt would fall after");
        let wait = if self.until.awkward > 0 { LONGEST_LIMITED_WAIT_MS } else { LONGEST_WAIT_MS };
        let longest = if foreseen { wait.max(self.plan.probe_interval_ms) } else { 0 };
        let now = self.now();
        if now + longest < deadline {
            let left = deadline - now;
            let what = format!("worker {incarnation}: job {job} has expired, and {left} ms are left");
            self.violate("expiry", what);
        }
    }
}
