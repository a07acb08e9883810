//! Acts on letters of the dead letter queue: carries out the runs that people ask for, and the redriver's plan, in the
//! partitions that are this worker's.
//!
//! Once a second one of the partitions gets its turn, for one batch: planned, fetched, written in one transaction. There are
//! no more, and no wait is inside one, for what an open transaction holds up are the readers of the main queue. After any
//! failure the partition is opened anew, so that what is known of it is what the topic says.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use crate::dlq_turn::{Failure, Turn, Turned};
use crate::domain::letters::decision::{State, Step};
use crate::domain::letters::lessons::Lessons;
use crate::domain::letters::owner::{Batch, Notice, Opened, Owner};
use crate::domain::letters::refusal::{Refusal, Refusals};
use crate::domain::letters::run::{JUDGE, Tracked};
use crate::guard::DeathGuard;
use crate::line::Line;
use crate::messages::{AreYouAlive, Event, Retire};
use crate::ports::{LetterLog, NotWritten, WallClock};
use crate::seldom::Seldom;

/// Between two batches, of all partitions together.
const TURN: Duration = Duration::from_secs(1);
/// A partition with nothing to do is let go after so many turns: its producer has four threads.
const IDLE_TURNS: u32 = 30;
/// So many decisions of letters that have left, and so many runs, are taken off at once.
const FORGOTTEN_AT_ONCE: usize = 1_000;
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// So many letters are named in one line of the log.
const REFUSED_TOLD: usize = 10;

/// What each generation is made of.
#[derive(Clone)]
pub struct DlqOwnerParts {
    pub log: Rc<dyn LetterLog>,
    pub clock: Arc<dyn WallClock>,
    pub metrics: Line<Event>,
    /// Makes what a person wrote fit for a log line: addresses masked.
    pub mask: Rc<dyn Fn(&str) -> String>,
    /// `dlq.max_replays`, for the redriver; a run brings its own.
    pub max_replays: u32,
}

pub struct DlqOwner {
    parts: DlqOwnerParts,
    guard: DeathGuard,
    partitions: BTreeMap<i32, Desk>,
    /// The partition that had its turn last.
    last: i32,
    /// By partition.
    refusals: BTreeMap<i32, Refusals>,
    /// By partition.
    lessons: BTreeMap<i32, Lessons>,
    failures: Seldom,
    retiring: bool,
}

/// Where a partition stands.
enum Desk {
    Closed {
        until: Instant,
    },
    /// Being opened, or a batch of it is under way.
    Busy {
        acts: bool,
    },
    Open {
        owner: Box<Owner>,
        last_turn: Instant,
        idle_turns: u32,
    },
}

/// the task of a partition → DlqOwner: it has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct TurnEnded {
    partition: i32,
    began: Instant,
    result: Result<Turned, Failure>,
}

impl DlqOwner {
    pub fn new(parts: DlqOwnerParts, guard: DeathGuard) -> DlqOwner {
        DlqOwner {
            parts,
            guard,
            partitions: BTreeMap::new(),
            last: -1,
            refusals: BTreeMap::new(),
            lessons: BTreeMap::new(),
            failures: Seldom::new(BETWEEN_LINES),
            retiring: false,
        }
    }

    fn turn(&mut self, ctx: &mut Context<Self>) {
        if self.retiring {
            return;
        }
        let owned = self.parts.log.partitions();
        let lost: Vec<i32> = self.partitions.keys().copied().filter(|known| !owned.contains(known)).collect();
        for partition in lost {
            self.parts.log.close(partition);
            // A task that is under way ends first: what it writes must not meet what a later opening made.
            if !matches!(self.partitions.get(&partition), Some(Desk::Busy { .. })) {
                self.partitions.remove(&partition);
                self.lessons.remove(&partition);
                self.refusals.remove(&partition);
            }
        }
        let runs = self.parts.log.runs();
        // Those behind the last one first.
        let behind = owned.partition_point(|partition| *partition <= self.last);
        // While one is opened the batch of another waits for that: several would then be written all at once.
        let mut acts = self.partitions.values().any(|desk| matches!(desk, Desk::Busy { acts: true }));
        for &partition in owned[behind..].iter().chain(&owned[..behind]) {
            if self.turn_of(partition, &runs, !acts, ctx) {
                acts = true;
                self.last = partition;
            }
        }
    }

    /// Whether a batch is begun, which only happens where it `may_act`.
    fn turn_of(&mut self, partition: i32, runs: &[Tracked], may_act: bool, ctx: &mut Context<Self>) -> bool {
        let is_at_work = |desk: &&Desk| !matches!(desk, Desk::Closed { .. });
        let at_work = self.partitions.values().filter(is_at_work).count();
        let cadence = TURN * u32::try_from(at_work).unwrap_or(u32::MAX).max(1);
        let now = Instant::now();
        let now_ms = self.parts.clock.now().timestamp_millis();
        let refused = self.refusals.entry(partition).or_default().standing(now.into_std());
        let mut due = self.parts.log.due(partition, now_ms);
        due.retain(|due| {
            let (letter, letter_timestamp_ms) = (due.offset, due.timestamp_ms);
            !refused.contains(&Refusal::Decision { letter, letter_timestamp_ms })
        });
        let left_below = self.parts.log.left_below(partition);
        let ours = runs.iter().any(|run| !run.next(partition, 1).is_empty());
        let judges = partition == JUDGE && runs.iter().any(Tracked::asks_for_its_canary);
        let may_tell = partition == JUDGE && !refused.contains(&Refusal::Notice);
        let notice = may_tell.then(|| self.parts.log.notice(now_ms)).flatten();
        let leftovers = self.parts.log.leftovers(partition, now_ms);
        let sweeps =
            left_below.is_some() || leftovers.as_ref().is_some_and(|leftovers| !leftovers.is_empty());
        let has_work = ours || judges || !due.is_empty() || sweeps || notice.is_some();
        let first = || Desk::Closed { until: now };
        let desk = self.partitions.entry(partition).or_insert_with(first);
        match desk {
            Desk::Busy { .. } => {}
            Desk::Closed { until } => {
                if has_work && *until <= now {
                    *desk = Desk::Busy { acts: false };
                    self.open(partition, ctx);
                }
            }
            Desk::Open { idle_turns, last_turn, .. } if !has_work => {
                // What comes to do later has not waited since then.
                *last_turn = now;
                *idle_turns += 1;
                if *idle_turns > IDLE_TURNS {
                    *desk = first();
                    self.parts.log.close(partition);
                }
            }
            Desk::Open { .. } if !may_act => {}
            Desk::Open { .. } => {
                let Desk::Open { mut owner, last_turn, .. } =
                    std::mem::replace(desk, Desk::Busy { acts: true })
                else {
                    return false;
                };
                let passed = now.duration_since(last_turn);
                let most = self.lessons.entry(partition).or_default().most();
                let tasks = owner.plan(runs, &due, self.parts.log.redrive_rate(), passed, cadence, most);
                let most = most.min(FORGOTTEN_AT_ONCE);
                let gone = left_below.map_or_else(Vec::new, |low| owner.to_forget(low, most));
                let leftovers = leftovers.map(|left| owner.still_left(left, most)).unwrap_or_default();
                let canaries =
                    runs.iter().filter(|run| judges && run.asks_for_its_canary()).cloned().collect();
                let notice =
                    notice.filter(|_| owner.may_notify(now_ms)).map(|job| Notice { at_ms: now_ms, job });
                let turn = Turn {
                    parts: self.parts.clone(),
                    partition,
                    tasks,
                    refused,
                    gone,
                    leftovers,
                    canaries,
                    notice,
                };
                if turn.is_nothing() {
                    *desk = Desk::Open { owner, last_turn: now, idle_turns: 0 };
                    return false;
                }
                self.spawn(partition, ctx, async move { turn.carry_out(owner).await });
                return true;
            }
        }
        false
    }

    /// Who had what done to how many letters, and why: a line for each run, and one for the redriver.
    fn tell(&self, partition: i32, batch: &Batch) {
        let replayed =
            batch.acts.iter().filter(|act| act.decision.latest.state == State::Replayed).count() as u64;
        let published = replayed + batch.replayed_before;
        let skipped = batch.skipped.values().sum();
        self.parts.metrics.send(Event::Replays { published, skipped });
        if !batch.refused.is_empty() {
            self.parts.metrics.send(Event::ReplaysRefused { count: batch.refused.len() as u64 });
            let letters: Vec<String> =
                batch.refused.iter().take(REFUSED_TOLD).map(ToString::to_string).collect();
            let count = batch.refused.len();
            tracing::warn!(count, ?letters, "jobs are larger than their topic takes: they are not put back");
        }
        let mut told: BTreeMap<(Option<&str>, &str, &str, &str), u64> = BTreeMap::new();
        for act in &batch.acts {
            let Step { run, by, reason, state, .. } = &act.decision.latest;
            *told.entry((run.as_deref(), by, reason, state.as_str())).or_default() += 1;
        }
        for ((run, by, reason, state), letters) in told {
            let reason = (self.parts.mask)(reason);
            tracing::info!(partition, run, by, state, letters, reason, "letters acted on");
        }
        if skipped > 0 {
            let runs: Vec<&str> = batch.progress.keys().map(String::as_str).collect();
            tracing::info!(partition, skipped, ?runs, "letters left as they are");
        }
    }

    fn open(&self, partition: i32, ctx: &mut Context<Self>) {
        let opening = self.parts.log.open(partition);
        self.spawn(partition, ctx, async move {
            let opened: Opened = opening.await.map_err(Failure::Before)?;
            Ok(Turned { owner: Box::new(Owner::new(partition, opened)), batch: None })
        });
    }

    fn spawn(
        &self,
        partition: i32,
        ctx: &mut Context<Self>,
        work: impl Future<Output = Result<Turned, Failure>> + 'static,
    ) {
        let began = Instant::now();
        let ended = move |result| TurnEnded { partition, began, result };
        ctx.spawn(work.into_actor(self).map(move |result, _, ctx| ctx.notify(ended(result))));
    }
}

impl Actor for DlqOwner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TURN, Self::turn);
    }
}

impl Handler<TurnEnded> for DlqOwner {
    type Result = ();

    fn handle(&mut self, ended: TurnEnded, _: &mut Context<Self>) {
        let TurnEnded { partition, began, result } = ended;
        // It was given up meanwhile: whoever has it now knows better.
        let Some(desk) = self.partitions.get_mut(&partition) else { return };
        match result {
            Ok(Turned { owner, batch }) => {
                *desk = Desk::Open { owner, last_turn: began, idle_turns: 0 };
                if let Some(batch) = batch {
                    self.lessons.entry(partition).or_default().written(&batch);
                    self.tell(partition, &batch);
                }
            }
            Err(failure) => {
                let lessons = self.lessons.entry(partition).or_default();
                let (error, wait) = match failure {
                    Failure::Before(error) => (error, lessons.next_wait()),
                    Failure::NotWritten(batch, NotWritten::Failed(error)) => {
                        lessons.not_written(&batch);
                        (error, lessons.next_wait())
                    }
                    Failure::NotWritten(_, NotWritten::TooLargeTogether) => {
                        lessons.too_large_together();
                        ("one of the jobs is larger than the topic takes".to_owned(), Duration::ZERO)
                    }
                    Failure::NotWritten(_, NotWritten::TooLarge(refused)) => {
                        let refusals = self.refusals.entry(partition).or_default();
                        let is_new = refusals.hear(refused, Instant::now().into_std());
                        let error = "records are larger than their topic takes: they are left out";
                        // What is not known by name can't be left out.
                        (error.to_owned(), if is_new { Duration::ZERO } else { lessons.next_wait() })
                    }
                };
                *desk = Desk::Closed { until: Instant::now() + wait };
                self.parts.log.close(partition);
                if let Some(more) = self.failures.may_say(Instant::now()) {
                    tracing::warn!(partition, %error, more, "letters can't be acted on just now, trying again");
                }
            }
        }
    }
}

impl Handler<Retire> for DlqOwner {
    type Result = ();

    /// What is under way is written; nothing more is begun.
    fn handle(&mut self, _: Retire, _: &mut Context<Self>) {
        self.retiring = true;
    }
}

impl Handler<AreYouAlive> for DlqOwner {
    type Result = ();

    fn handle(&mut self, _: AreYouAlive, _: &mut Context<Self>) {
        self.guard.alive();
    }
}
