//! Workers: each a whole set of actors under a supervisor of its own, in the simulated world.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use chrono::{DateTime, Utc};
use mailroom_actors::attempt::ConnectionLife;
use mailroom_actors::credits::Credits;
use mailroom_actors::domain::failure::{Cause, Failure, Stage};
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::pace::Breaker;
use mailroom_actors::domain::retry::RetryPolicy;
use mailroom_actors::domain::topic_partition::TopicNames;
use mailroom_actors::line::Line;
use mailroom_actors::messages::Scrape;
use mailroom_actors::metrics::Families;
use mailroom_actors::office::TicketOffice;
use mailroom_actors::ports::{
    BodyType, Composer, Email, Expiry, Jitter, OffsetLog, OffsetLogEvent, WallClock,
};
use mailroom_actors::supervisor::{self, Ended, Settings, Supervisor};
use mailroom_actors::throttle::Throttle;
use mailroom_actors::vitals::Vitals;
use tokio::sync::oneshot;

use crate::job::Making;
use crate::letters::FakeLetters;
use crate::member::{Desk, Poll, TOPICS};
use crate::pacing::Pacing;
use crate::plan::{Broken, Fuse, Plan};
use crate::relay::FakeRelay;
use crate::world::{Incarnation, Shared, World};

/// One worker that runs.
pub struct Worker {
    pub incarnation: usize,
    pub supervisor: Addr<Supervisor>,
    pub office: Arc<TicketOffice>,
    pub credits: Arc<Credits>,
    pub scrapes: Line<Scrape>,
    pub ended: oneshot::Receiver<Ended>,
    pub events: async_channel::Sender<OffsetLogEvent>,
    pub stop_asked_at: Option<u64>,
    /// Once it has ended, another one starts after so long.
    pub back_after_ms: Option<u64>,
}

/// The pool's size, the interval between probes, the rate, and when to try again, as the worker is told.
fn limits(plan: &Plan) -> (usize, u64, Option<u32>, RetryPolicy) {
    if plan.broken == Broken::SettingsAreNotKept {
        let retry = RetryPolicy { limited_is_retried: true, max_attempts: 2, ..RetryPolicy::default() };
        return (plan.mailers + 3, 10, None, retry);
    }
    (plan.mailers, plan.probe_interval_ms, plan.max_rate, RetryPolicy::default())
}

fn settings(plan: &Plan) -> Settings {
    let (mailers, _, _, retry) = limits(plan);
    Settings {
        mailers,
        mailers_max: 64,
        retry,
        crash_limit: plan.crash_limit,
        commit_interval: Duration::from_millis(plan.commit_interval_ms),
        drain_timeout: Duration::from_millis(plan.drain_ms),
        dlq_topic: "email-dlq".into(),
        max_replays: 5,
        connections: ConnectionLife {
            max_emails: plan.emails_per_connection,
            idle_timeout: Duration::from_millis(plan.idle_ms),
        },
    }
}

impl Worker {
    /// Starts the actors of a new incarnation, which joins the group. The only place that knows how they are
    /// put together.
    pub fn start(world: &Shared, slot: usize) -> Worker {
        let plan = world.lock().plan.clone();
        let (mailers, probe_interval_ms, max_rate, policy) = limits(&plan);
        let probe_interval = Duration::from_millis(probe_interval_ms);
        let breaker = Breaker { failures: plan.breaker_failures, probe_interval };
        let throttle = Throttle::new(mailers, breaker, max_rate.map(f64::from));
        let incarnation = world.lock().new_incarnation(slot, Arc::clone(&throttle));
        let (events, offset_events) = async_channel::unbounded();
        let desk = Desk::new(Shared::clone(world), incarnation);
        let offset_log: Arc<dyn OffsetLog> = Arc::<Desk>::clone(&desk);
        let credits = Arc::new(Credits::new(plan.jobs_in_flight, plan.bytes_in_flight));
        let office =
            TicketOffice::new(Arc::clone(&credits), Arc::clone(&offset_log), policy, plan.crash_limit);
        let topics = TopicNames { queue: TOPICS[0].into(), replays: Some(TOPICS[1].into()) };
        let port = |fuse| Port { world: Shared::clone(world), incarnation, fuse };
        let actors = supervisor::World {
            office: Arc::clone(&office),
            offset_log,
            offset_events,
            relay: Rc::new(FakeRelay { world: Shared::clone(world), incarnation }),
            composer: Arc::new(port(Fuse::Compose)),
            dead_letter_log: Rc::new(FakeLetters { world: Shared::clone(world), incarnation }),

            letter_log: None,
            clock: Arc::new(port(Fuse::Clock)),
            jitter: Arc::new(port(Fuse::Jitter)),
            families: Families::new(topics, "email-dlq", "test"),
            vitals: Arc::new(Vitals::default()),
            throttle,
            mask: Rc::new(str::to_owned),
        };
        let (supervisor, scrapes, ended) = supervisor::start(settings(&plan), actors);
        Poll::start(Shared::clone(world), incarnation, desk, Arc::clone(&credits), events.clone());
        Worker {
            incarnation,
            supervisor,
            office,
            credits,
            scrapes,
            ended,
            events,
            stop_asked_at: None,
            back_after_ms: None,
        }
    }

    /// Its process is dead already: ends the actors, as far as they can be.
    pub fn bury(&self) {
        // The supervisor may be gone already.
        let _ = self.events.try_send(OffsetLogEvent::Fatal("killed".into()));
        self.events.close();
    }
}

impl World {
    fn new_incarnation(&mut self, slot: usize, throttle: Arc<Throttle>) -> usize {
        let now = self.now();
        self.incarnations.push(Incarnation {
            alive: true,
            held: BTreeMap::new(),
            released: BTreeMap::new(),
            stopping_at: None,
            cut_until: 0,
            trouble_at: now,
            burnt_at: None,
            fuses: BTreeMap::new(),
            ended_by_a_job: false,
            deadlines: BTreeMap::new(),
            letters: (0, 0),
            pacing: Pacing::new(throttle, now, self.plan.mailers),
        });
        let number = self.incarnations.len() - 1;
        self.note(format!("worker {number} starts in slot {slot}"));
        number
    }
}

/// A small port: the composer, the clock or the jitter.
struct Port {
    world: Shared,
    incarnation: usize,
    fuse: Fuse,
}

fn no_e_mail() -> Failure {
    Failure::before_attempt(Stage::Decode, Cause::Invalid, "no e-mail")
}

impl Composer for Port {
    fn compose(&self, record: &Record, _: BodyType) -> Result<Email, Failure> {
        let job = self.world.lock().job_at(record);
        World::burn(&self.world, self.incarnation, self.fuse, Some(job));
        let (making, made, recipients) = {
            let mut world = self.world.lock();
            world.attempt_begins(self.incarnation, job);
            let found = &mut world.jobs[job];
            found.made += 1;
            (found.making, found.made, found.recipients.len())
        };
        match making {
            Making::Panics(times) if made <= times => {
                self.world.lock().jobs[job].panicked = true;
                panic!("chaos: this job panics");
            }
            Making::Invalid => {
                return Err(no_e_mail());
            }
            Making::Kills => {
                let mut world = self.world.lock();
                if world.is_alive(self.incarnation) {
                    world.jobs[job].panicked = true;
                    world.jobs[job].ended_a_process += 1;
                    // Once in each rough start, and once more as the one that is marked.
                    if world.jobs[job].ended_a_process > world.plan.crash_limit + 1 {
                        let times = world.jobs[job].ended_a_process;
                        world.violate("careful", format!("job {job} ends a process for the {times}th time"));
                    }
                    world.kill(self.incarnation, &format!("is ended by job {job}"));
                    world.incarnations[self.incarnation].ended_by_a_job = true;
                }
            }
            Making::Works | Making::Panics(_) => {}
        }
        Ok(Email {
            message_id: job.to_string(),
            sender: "a@example.com".into(),
            recipients: (0..recipients).map(|number| format!("r{number}@example.com")).collect(),
            data: b"Subject: x\r\n\r\nx\r\n".to_vec(),
            ..Email::default()
        })
    }

    fn expiry(&self, record: &Record, now: DateTime<Utc>) -> Option<Expiry> {
        let mut world = self.world.lock();
        let job = world.job_at(record);
        assert_eq!(now.timestamp_millis(), world.wall_ms(), "the clock is asked right before");
        let left = world.tell_expiry(self.incarnation, job)?;
        Some(Expiry { left, set_by: "expires_at" })
    }

    fn why_no_job(&self, record: &Record) -> Option<Failure> {
        let world = self.world.lock();
        let making = world.jobs[world.job_at(record)].making;
        (making == Making::Invalid).then(no_e_mail)
    }

    fn tags(&self, _: &Record) -> Option<String> {
        None
    }
}

impl WallClock for Port {
    fn now(&self) -> DateTime<Utc> {
        World::burn(&self.world, self.incarnation, self.fuse, None);
        let world = self.world.lock();
        let step = chrono::TimeDelta::milliseconds(world.clock_step_ms);
        DateTime::UNIX_EPOCH + world.began.elapsed() + step
    }
}

impl Jitter for Port {
    /// In tenths: whole milliseconds, so that the same seed is the same run.
    fn fraction(&self) -> f64 {
        World::burn(&self.world, self.incarnation, self.fuse, None);
        f64::from(self.world.lock().rng.u32(0..10)) / 10.0
    }
}
