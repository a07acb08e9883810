//! The dead letter queue in memory: slow, away for a while, or storing what it says it did not.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, pending};
use mailroom_actors::domain::job::DeadLetter;
use mailroom_actors::ports::DeadLetterLog;
use tokio::time::sleep;

use crate::member::index_of;
use crate::plan::{Broken, Fuse};
use crate::world::{Shared, World};

pub struct FakeLetters {
    pub world: Shared,
    pub incarnation: usize,
}

impl World {
    /// A letter arrives; Ok when it will be acknowledged, with the epoch of the job's partition.
    fn publish(&mut self, incarnation: usize, job: usize, letter: &DeadLetter) -> Result<(), String> {
        let now = self.now();
        let cause = letter.failure.cause.as_str();
        if now < self.until.letters_refused {
            self.note(format!("worker {incarnation}: the letter of job {job} is refused"));
            return Err("not enough replicas".into());
        }
        self.check_expired(incarnation, job, letter);
        let denied = now < self.until.letters_denied && self.rng.bool();
        let orphan = self.letter_is_orphan(incarnation, job) || denied;
        self.note(format!(
            "worker {incarnation}: job {job} is dead-lettered, {cause}, {} attempts, served {:?}{}",
            letter.attempts_spent,
            letter.served,
            if denied { ", and it is denied" } else { "" }
        ));
        if self.plan.broken != Broken::LettersAreNotStored {
            self.stored_letter(job, letter, orphan);
        }
        if denied { Err("timed out".into()) } else { Ok(()) }
    }

    /// Whoever published it is told; whether that is of use depends on whose the job is by now.
    fn acknowledge(&mut self, incarnation: usize, job: usize, epoch: u64) {
        let same = self.group.partitions[self.jobs[job].partition].epoch == epoch;
        if same && !self.letter_is_orphan(incarnation, job) {
            return self.told_of_letter(job);
        }
        self.jobs[job].letter_may_repeat = true;
        self.jobs[job].letter_unclear = true;
    }

    /// Nobody will use the acknowledgement: the job is another's by now, or the drain time has run out.
    fn letter_is_orphan(&self, incarnation: usize, job: usize) -> bool {
        let partition = self.jobs[job].partition;
        let worker = &self.incarnations[incarnation];
        let ran_out = |since: Option<u64>| since.is_some_and(|at| self.now() + 5 >= at + self.plan.drain_ms);
        self.group.owner_of(partition) != Some(incarnation)
            || ran_out(worker.stopping_at)
            || ran_out(worker.held.get(&partition).and_then(|tenure| tenure.revoking_since))
    }
}

impl DeadLetterLog for FakeLetters {
    fn publish(&self, letter: Arc<DeadLetter>) -> LocalBoxFuture<'static, Result<(), String>> {
        let (world, incarnation) = (Shared::clone(&self.world), self.incarnation);
        async move {
            let (before, after) = {
                let mut world = world.lock();
                (world.rng.u64(1..60), world.rng.u64(1..60))
            };
            sleep(Duration::from_millis(before)).await;
            World::burn(&world, incarnation, Fuse::Publish, None);
            if !world.lock().is_alive(incarnation) {
                return pending().await;
            }
            let job = world.lock().job_at(&letter.record);
            let epoch = world.lock().group.partitions[index_of(&letter.record)].epoch;
            let stored = world.lock().publish(incarnation, job, &letter);
            sleep(Duration::from_millis(after)).await;
            if !world.lock().is_alive(incarnation) {
                return pending().await;
            }
            if stored.is_ok() {
                world.lock().acknowledge(incarnation, job, epoch);
            }
            stored
        }
        .boxed_local()
    }
}
