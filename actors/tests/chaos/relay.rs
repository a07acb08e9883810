//! The relay in memory: what it says to each transaction is drawn from the seed and the job's own script.

use std::time::Duration;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, pending};
use mailroom_actors::domain::failure::{EnhancedCode, Failure, Reply, Stage};
use mailroom_actors::ports::{BodyType, Connection, Email, Gate, Outcome, Relay, Transaction};
use tokio::time::sleep;

use crate::job::Mailbox;
use crate::plan::{Fuse, Kind};
use crate::world::{Shared, World};

/// A connection that was not used for longer may be taken for one that has ended.
const FRESH_MS: u64 = 900;

/// One e-mail past the dot.
pub struct Transit {
    pub incarnation: usize,
    pub job: usize,
    to: Vec<usize>,
    epoch: u64,
    /// Who sends it owned the job when it passed the dot, as far as the brokers knew.
    owned: bool,
}

/// How the final dot is answered.
#[derive(Clone, Debug)]
enum Dot {
    Taken,
    Replied(Reply),
    /// No reply; whether the relay has the e-mail all the same.
    Ambiguous {
        taken: bool,
    },
}

/// What happens to one transaction.
#[derive(Clone, Debug)]
enum Script {
    Lost(Stage),
    AtMail(Reply),
    Offered { refusals: Vec<Option<Reply>>, dot: Dot, dot_ms: u64 },
}

fn reply(code: u16, enhanced: Option<(u8, u16, u16)>, text: &str) -> Reply {
    let enhanced = enhanced.map(|(class, subject, detail)| EnhancedCode { class, subject, detail });
    Reply { code, enhanced, text: text.into() }
}

impl World {
    /// Notes whether the attempt will have ended "slower". Over a connection that was used before, another
    /// transaction may follow at once, and another answer.
    fn note_limits(&mut self, job: usize, script: &Script, is_fresh: bool) {
        let slower = |reply: &Reply| matches!(reply.code, 421 | 454);
        let found = &mut self.jobs[job];
        found.is_limited = is_fresh
            && match script {
                Script::AtMail(reply) => slower(reply),
                Script::Offered { refusals, dot: Dot::Replied(reply), .. } => {
                    slower(reply) && refusals.iter().all(Option::is_none)
                }
                Script::Lost(_) | Script::Offered { .. } => false,
            };
    }

    fn is_awkward(&self) -> bool {
        self.now() < self.until.awkward
    }

    fn connect(&mut self, incarnation: usize) -> Result<u32, Failure> {
        let now = self.now();
        if now < self.until.relay_away {
            return Err(Failure::refused());
        }
        if now < self.until.few_connections && self.connections >= self.until.most_connections {
            let reply = reply(421, Some((4, 7, 0)), "Too many connections");
            return Err(Failure::replied(Stage::Greeting, &reply));
        }
        self.connections += 1;
        self.connected(incarnation);
        let carries = if self.rng.u32(0..3) == 0 { self.rng.u32(1..6) } else { 1_000 };
        self.note(format!("worker {incarnation} connects to the relay, for {carries} e-mails"));
        Ok(carries)
    }

    fn script(&mut self, job: usize, to: &[usize], spent: bool) -> Script {
        let now = self.now();
        let awkward = self.is_awkward();
        let rough = self.plan.kind == Kind::Rough;
        self.jobs[job].transactions += 1;
        let transactions = self.jobs[job].transactions;
        if now < self.until.relay_away {
            return Script::Lost(Stage::Mail);
        }
        if spent {
            let says_so = self.rng.bool();
            let bye = reply(421, Some((4, 7, 0)), "Too many e-mails on this connection");
            return if says_so { Script::AtMail(bye) } else { Script::Lost(Stage::Mail) };
        }
        let mut dot = Dot::Taken;
        let mut dot_ms = self.rng.u64(1..40);
        if transactions <= self.jobs[job].put_off_at_the_dot {
            dot = Dot::Replied(reply(451, None, "Later"));
        }
        if awkward {
            match self.rng.u32(0..30) {
                0 => return Script::Lost(Stage::Mail),
                1 => return Script::Lost(Stage::Body),
                2 => return Script::AtMail(reply(454, None, "Throttling failure")),
                3 => return Script::AtMail(reply(421, None, "Slower")),
                4 => {
                    dot = Dot::Replied(reply(454, None, "Throttling failure: Maximum sending rate exceeded"))
                }
                5 => dot = Dot::Replied(reply(421, None, "Slower")),
                6 => dot = Dot::Replied(reply(554, Some((5, 6, 0)), "Not like this")),
                7 | 8 => dot_ms = self.rng.u64(500..self.plan.drain_ms / 2),
                9 if rough => dot_ms = self.rng.u64(self.plan.drain_ms..self.plan.drain_ms * 3),
                10..=12 if rough => {
                    dot = Dot::Ambiguous { taken: self.rng.bool() };
                    dot_ms = self.rng.u64(1..3_000);
                }
                _ => {}
            }
        }
        let mut taken_before = false;
        let refusals = to.iter().map(|index| {
            let recipient = &mut self.jobs[job].recipients[*index];
            recipient.asked += 1;
            let refusal = match recipient.mailbox {
                Mailbox::Takes => None,
                Mailbox::Refuses => Some(reply(550, Some((5, 1, 1)), "No such user")),
                Mailbox::PutsOff(times) => (recipient.asked <= times).then(|| reply(451, None, "Later")),
                Mailbox::TooMany => {
                    (taken_before && recipient.asked == 1).then(|| reply(452, None, "Too many recipients"))
                }
            };
            taken_before |= refusal.is_none();
            refusal
        });
        Script::Offered { refusals: refusals.collect(), dot, dot_ms }
    }

    /// Notes an e-mail that goes past the dot, and whether it may.
    fn pass_the_dot(&mut self, incarnation: usize, job: usize, to: Vec<usize>) -> u64 {
        let now = self.now();
        let partition = self.jobs[job].partition;
        let found = &self.incarnations[incarnation];
        let reason = match found.held.get(&partition) {
            Some(tenure) if tenure.revoking_since.is_some_and(|since| since + 10 < now) => {
                Some("its partition is being revoked")
            }
            Some(_) => None,
            None if found.released.get(&partition).is_some_and(|at| at + 10 >= now) => None,
            None => Some("its partition is not the worker's"),
        };
        let reason =
            if found.stopping_at.is_some_and(|at| at + 10 < now) { Some("the worker stops") } else { reason };
        let owned = self.group.owner_of(partition) == Some(incarnation);
        let just_released = found.released.get(&partition).is_some_and(|at| at + 10 >= now);
        // Without a session that expires or a kill the brokers and the worker always agree.
        let lost = !owned && !just_released && self.plan.kind == Kind::Graceful;
        let reason = reason.or(lost.then_some("its partition is another's"));
        if let Some(reason) = reason {
            let what = format!("worker {incarnation}: job {job} goes past the dot, and {reason}");
            self.violate("revoke", what);
        }
        let epoch = self.group.partitions[partition].epoch;
        self.last_transit += 1;
        self.note(format!("worker {incarnation}: job {job} is past the dot, to {to:?}"));
        self.transits.insert(self.last_transit, Transit { incarnation, job, to, epoch, owned });
        self.last_transit
    }

    /// Nobody will use what the relay answers: the job is another's by now, or the drain time has run out.
    fn is_orphan(&self, transit: &Transit) -> bool {
        let partition = self.jobs[transit.job].partition;
        let worker = &self.incarnations[transit.incarnation];
        let ran_out = |since: Option<u64>| since.is_some_and(|at| self.now() + 5 >= at + self.plan.drain_ms);
        !transit.owned
            || self.group.partitions[partition].epoch != transit.epoch
            || ran_out(worker.stopping_at)
            || ran_out(worker.held.get(&partition).and_then(|tenure| tenure.revoking_since))
    }

    /// The jobs past the dot that this worker has to await.
    pub fn awaited_of(&self, incarnation: usize) -> Vec<usize> {
        let of_it = self.transits.values().filter(|transit| transit.incarnation == incarnation);
        of_it.filter(|transit| !self.is_orphan(transit)).map(|transit| transit.job).collect()
    }

    /// The connection ends without a reply that anybody reads: the relay has the e-mail, or not.
    pub fn abandon(&mut self, transit: u64) {
        let Some(transit) = self.transits.remove(&transit) else { return };
        let taken = self.rng.bool();
        self.note(format!(
            "job {} is left past the dot, {}",
            transit.job,
            if taken { "taken" } else { "lost" }
        ));
        self.counts.ambiguous += 1;
        if taken {
            for recipient in transit.to {
                self.took_copy(transit.job, recipient, true);
            }
        }
    }

    pub fn abandon_transits_of(&mut self, incarnation: usize) {
        let of_it: Vec<u64> =
            self.transits.iter().filter(|(_, t)| t.incarnation == incarnation).map(|(id, _)| *id).collect();
        for transit in of_it {
            self.abandon(transit);
        }
    }

    /// The relay answers the dot. None: whoever waited for it is dead.
    fn answer_the_dot(&mut self, id: u64, dot: &Dot) -> Option<Outcome> {
        let transit = self.transits.remove(&id)?;
        let orphan = self.is_orphan(&transit);
        let partition = self.jobs[transit.job].partition;
        self.note(format!("job {}, partition {partition}: the dot is answered: {dot:?}", transit.job));
        let outcome = match dot {
            Dot::Taken => Outcome::Accepted,
            Dot::Replied(reply) => Outcome::Failed(Failure::replied(Stage::FinalDot, reply)),
            Dot::Ambiguous { .. } => {
                Outcome::Failed(Failure::lost(Stage::FinalDot, "Connection reset by peer"))
            }
        };
        for recipient in transit.to {
            match dot {
                Dot::Taken => {
                    self.took_copy(transit.job, recipient, orphan);
                    if !orphan {
                        self.told_of_copy(transit.job, recipient);
                    }
                }
                Dot::Ambiguous { taken: true } => self.took_copy(transit.job, recipient, true),
                Dot::Ambiguous { taken: false } | Dot::Replied(_) => {}
            }
        }
        self.counts.ambiguous += u32::from(matches!(dot, Dot::Ambiguous { .. }));
        Some(outcome)
    }
}

pub struct FakeRelay {
    pub world: Shared,
    pub incarnation: usize,
}

impl Relay for FakeRelay {
    fn connect(&self) -> LocalBoxFuture<'static, Result<Box<dyn Connection>, Failure>> {
        let (world, incarnation) = (Shared::clone(&self.world), self.incarnation);
        async move {
            let wait = world.lock().rng.u64(1..20);
            sleep(Duration::from_millis(wait)).await;
            if !world.lock().is_alive(incarnation) {
                return pending().await;
            }
            let carries = world.lock().connect(incarnation)?;
            let used_at = world.lock().now();
            let connection =
                FakeConnection { world, incarnation, carries, carried: 0, refused: 0, usable: true, used_at };
            Ok(Box::new(connection) as Box<dyn Connection>)
        }
        .boxed_local()
    }
}

struct FakeConnection {
    world: Shared,
    incarnation: usize,
    carries: u32,
    carried: u32,
    refused: u32,
    usable: bool,
    used_at: u64,
}

impl Drop for FakeConnection {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        world.connections -= 1;
        world.incarnations[self.incarnation].pacing.connections -= 1;
    }
}

/// Dropped without an answer: nobody knows whether the relay has the e-mail.
struct PastTheDot<'a> {
    world: &'a Shared,
    transit: u64,
}

impl Drop for PastTheDot<'_> {
    fn drop(&mut self) {
        self.world.lock().abandon(self.transit);
    }
}

impl FakeConnection {
    async fn run(&mut self, job: usize, to: &[usize], gate: &dyn Gate) -> Vec<Outcome> {
        let (world, incarnation) = (Shared::clone(&self.world), self.incarnation);
        let wait = world.lock().rng.u64(1..30);
        world.lock().sends(incarnation, job);
        self.usable = false;
        sleep(Duration::from_millis(wait)).await;
        World::burn(&world, incarnation, Fuse::Send, Some(job));
        if !world.lock().is_alive(incarnation) {
            return pending().await;
        }
        let script = world.lock().script(job, to, self.carried >= self.carries);
        let is_fresh = self.carried == 0 && world.lock().now() < self.used_at + FRESH_MS;
        world.lock().note_limits(job, &script, is_fresh);
        let all = |failure: Failure| vec![Outcome::Failed(failure); to.len()];
        let (refusals, dot, dot_ms) = match script {
            Script::Lost(stage) => return all(Failure::lost(stage, "Connection reset by peer")),
            Script::AtMail(reply) => {
                self.refused += 1;
                self.usable = reply.code != 421;
                return all(Failure::replied(Stage::Mail, &reply));
            }
            Script::Offered { refusals, dot, dot_ms } => (refusals, dot, dot_ms),
        };
        let mut outcomes: Vec<Option<Outcome>> = refusals
            .iter()
            .map(|refusal| Some(Outcome::Failed(Failure::replied(Stage::Rcpt, refusal.as_ref()?))))
            .collect();
        self.refused += u32::try_from(refusals.iter().flatten().count()).unwrap();
        let taken = |outcomes: &[Option<Outcome>]| {
            to.iter().copied().zip(outcomes).filter(|(_, o)| o.is_none()).map(|(i, _)| i).collect::<Vec<_>>()
        };
        let taken = taken(&outcomes);
        if taken.is_empty() {
            self.usable = true;
            return outcomes.into_iter().flatten().collect();
        }
        let answer = if gate.pass_the_dot() {
            let transit = world.lock().pass_the_dot(incarnation, job, taken);
            let past = PastTheDot { world: &world, transit };
            World::burn(&world, incarnation, Fuse::SendPastTheDot, Some(job));
            sleep(Duration::from_millis(dot_ms)).await;
            let answer = world.lock().answer_the_dot(past.transit, &dot);
            match answer {
                Some(answer) => answer,
                None => return pending().await,
            }
        } else {
            Outcome::TakenBack
        };
        match &dot {
            Dot::Taken => {
                self.carried += 1;
                self.refused = 0;
                self.usable = answer == Outcome::Accepted;
            }
            Dot::Replied(reply) => {
                self.refused += 1;
                self.usable = reply.code != 421 && answer != Outcome::TakenBack;
            }
            Dot::Ambiguous { .. } => {}
        }
        for outcome in &mut outcomes {
            outcome.get_or_insert_with(|| answer.clone());
        }
        outcomes.into_iter().flatten().collect()
    }
}

impl Connection for FakeConnection {
    fn send<'a>(
        &'a mut self,
        email: &'a Email,
        to: &'a [usize],
        gate: &'a dyn Gate,
    ) -> LocalBoxFuture<'a, Transaction> {
        async move {
            let job = email.message_id.parse().expect("the composer of this world numbers them");
            let outcomes = self.run(job, to, gate).await;
            self.used_at = self.world.lock().now();
            Transaction { outcomes }
        }
        .boxed_local()
    }

    fn is_usable(&self) -> bool {
        self.usable
    }

    fn body_type(&self) -> BodyType {
        BodyType::SevenBit
    }

    fn carried(&self) -> u32 {
        self.carried
    }

    fn refused_in_a_row(&self) -> u32 {
        self.refused
    }

    fn quit(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        async move {
            let wait = self.world.lock().rng.u64(1..30);
            sleep(Duration::from_millis(wait)).await;
            drop(self);
        }
        .boxed_local()
    }
}
