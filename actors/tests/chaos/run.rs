//! One run: the faults of the plan in their time, then calm until all is settled, then the books.

use std::cell::RefCell;
use std::time::Duration;

use mailroom_actors::messages::{Resize, Scrape, Stop};
use tokio::time::sleep;

use crate::oracles::Violation;
use crate::plan::{Fault, Kind, Plan};
use crate::worker::Worker;
use crate::world::{Counts, Shared, World};

thread_local! {
    /// Panics of the code under test, not of the faults.
    pub static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

const STEP: Duration = Duration::from_millis(50);
/// With a healthy relay and brokers everything is settled within this, counted from the last fault.
const QUIET_WITHIN_MS: u64 = 900_000;

/// What came of one run.
pub struct Report {
    pub plan: Plan,
    pub log: Vec<String>,
    pub violations: Vec<Violation>,
    pub counts: Counts,
    pub jobs: usize,
    pub simulated_ms: u64,
}

impl Report {
    /// What a reader needs first: the plan, what was violated, and what happened before the first time.
    pub fn explain(&self) -> String {
        let violations = &self.violations;
        let mut text = format!("SEED={} violates what is promised\n{:?}\n", self.plan.seed, self.plan);
        for violation in violations.iter().take(10) {
            text.push_str(&format!("  {}: {}\n", violation.oracle, violation.what));
        }
        let end = violations.first().map_or(self.log.len(), |violation| violation.at);
        text.push_str("the last events up to the first one:\n");
        for line in &self.log[end.saturating_sub(60)..end] {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// Runs it under a paused clock, on the calling thread. The same plan gives the same log.
pub fn run(plan: &Plan) -> Report {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime can be built")
    };
    let system = actix_rt::System::with_tokio_rt(runtime);
    system.block_on(async {
        let mut run = Run { world: World::shared(plan), slots: Vec::new(), back_at: Vec::new(), next: 0 };
        run.slots.resize_with(plan.slots, || None);
        run.back_at.resize(plan.slots, None);
        run.all().await
    })
}

struct Run {
    world: Shared,
    slots: Vec<Option<Worker>>,
    /// When a worker is to start in each slot.
    back_at: Vec<Option<u64>>,
    /// The next full second, for what is looked at each second.
    next: u64,
}

impl Run {
    async fn all(&mut self) -> Report {
        let plan = self.world.lock().plan.clone();
        for slot in 0..plan.first_workers {
            self.start(slot);
        }
        for (at, fault) in &plan.faults {
            while self.world.lock().now() < *at {
                self.step().await;
            }
            self.apply(fault);
        }
        self.calm_down().await;
        self.until_quiet().await;
        self.close().await;
        let mut world = self.world.lock();
        for what in PANICS.take() {
            world.violate("panic", what);
        }
        Report {
            plan,
            log: std::mem::take(&mut world.log),
            violations: std::mem::take(&mut world.violations),
            counts: world.counts,
            jobs: world.jobs.len(),
            simulated_ms: world.now(),
        }
    }

    fn start(&mut self, slot: usize) {
        self.back_at[slot] = None;
        if self.slots[slot].is_none() {
            self.slots[slot] = Some(Worker::start(&self.world, slot));
        }
    }

    fn apply(&mut self, fault: &Fault) {
        let mut world = self.world.lock();
        world.note(format!("fault: {fault:?}"));
        let now = world.now();
        match fault {
            Fault::Produce { partition, jobs } => world.produce(*partition, *jobs),
            Fault::BrokersAway { ms } => world.until.brokers_away = now + ms,
            Fault::CommitTrouble { ms } => world.until.commit_trouble = now + ms,
            Fault::RelayAway { ms } => world.until.relay_away = now + ms,
            Fault::RelayTakesFewConnections { connections, ms } => {
                world.until.most_connections = *connections;
                world.until.few_connections = now + ms;
            }
            Fault::RelayIsAwkward { ms } => world.until.awkward = now + ms,
            Fault::ClockStep { ms } => world.clock_step_ms = *ms,
            Fault::LettersRefused { ms } => world.until.letters_refused = now + ms,
            Fault::LettersDenied { ms } => world.until.letters_denied = now + ms,
            Fault::Start { slot }
            | Fault::Stop { slot, .. }
            | Fault::Kill { slot, .. }
            | Fault::Cut { slot, .. }
            | Fault::Resize { slot, .. }
            | Fault::Burn { slot, .. } => {
                drop(world);
                self.apply_to(*slot, fault);
            }
        }
    }

    /// A fault of one worker; of none where nobody is in the slot.
    fn apply_to(&mut self, slot: usize, fault: &Fault) {
        if matches!(fault, Fault::Start { .. }) {
            return self.start(slot);
        }
        let Some(worker) = &mut self.slots[slot] else { return };
        let mut world = self.world.lock();
        let now = world.now();
        match fault {
            Fault::Stop { back_after_ms, .. } if worker.stop_asked_at.is_none() => {
                world.counts.stops += 1;
                worker.stop_asked_at = Some(now);
                worker.back_after_ms = *back_after_ms;
                world.incarnations[worker.incarnation].pacing.disturbed();
                worker.supervisor.do_send(Stop);
            }
            Fault::Kill { back_after_ms, .. } => {
                world.counts.kills += 1;
                world.kill(worker.incarnation, "is killed");
                worker.back_after_ms = Some(*back_after_ms);
            }
            Fault::Cut { ms, .. } => world.incarnations[worker.incarnation].cut_until = now + ms,
            Fault::Resize { mailers, .. } => {
                world.incarnations[worker.incarnation].pacing.resized(now, *mailers);
                worker.supervisor.do_send(Resize { size: *mailers });
            }
            Fault::Burn { fuse, calls, .. } => {
                world.incarnations[worker.incarnation].fuses.insert(*fuse, *calls);
            }
            _ => {}
        }
    }

    /// A little time passes; deaths and births happen; each second the books are looked at.
    async fn step(&mut self) {
        sleep(STEP).await;
        self.world.lock().tick();
        self.world.lock().look_at_circuits();
        for slot in 0..self.slots.len() {
            self.look_after(slot);
        }
        let now = self.world.lock().now();
        if now >= self.next {
            self.next += 1_000;
            for worker in self.slots.iter().flatten() {
                self.check_books(worker);
            }
            if self.next.is_multiple_of(10_000) {
                self.scrape().await;
            }
        }
    }

    fn look_after(&mut self, slot: usize) {
        let now = self.world.lock().now();
        if self.back_at[slot].is_some_and(|at| at <= now) {
            self.start(slot);
        }
        let Some(worker) = &mut self.slots[slot] else { return };
        let incarnation = worker.incarnation;
        let mut world = self.world.lock();
        let ended = match worker.ended.try_recv() {
            Ok(ended) => Some(ended),
            Err(tokio::sync::oneshot::error::TryRecvError::Closed) => {
                world.violate("supervisor", format!("the supervisor of worker {incarnation} died"));
                None
            }
            Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {
                let limit = world.plan.drain_ms * 2 + 10_000;
                if world.is_alive(incarnation) && worker.stop_asked_at.is_some_and(|at| at + limit < now) {
                    world.violate("stop", format!("worker {incarnation} does not end"));
                    world.kill(incarnation, "is killed for not ending");
                }
                if world.is_alive(incarnation) {
                    return;
                }
                None
            }
        };
        if world.is_alive(incarnation) {
            world.note(format!("worker {incarnation} ends: {ended:?}"));
            let code = ended.map_or(255, |ended| ended.exit_code);
            let left = world.awaited_of(incarnation);
            if code == 0 && !left.is_empty() {
                world.violate("stop", format!("worker {incarnation} ends with 0, and {left:?} unanswered"));
            }
            let excused = world.plan.kind == Kind::Rough || world.is_disturbed(incarnation);
            if code != 0 && !excused {
                world.violate("stop", format!("worker {incarnation} ends with {code}"));
            }
            world.kill(incarnation, "is gone");
        }
        drop(world);
        worker.bury();
        self.back_at[slot] = match (worker.stop_asked_at, worker.back_after_ms) {
            (_, Some(after)) => Some(now + after),
            (None, None) => Some(now + 1_000),
            (Some(_), None) => None,
        };
        self.slots[slot] = None;
    }

    /// O5, and the bounds of O8.
    fn check_books(&self, worker: &Worker) {
        let mut world = self.world.lock();
        if !world.is_alive(worker.incarnation) {
            return;
        }
        let books = worker.office.snapshot().accounts;
        let sum = books.sent + books.dead_lettered + books.expired + books.in_flight + books.returned;
        if books.consumed != sum || books.waiting > books.in_flight {
            world.violate("O5", format!("worker {}: {books:?}", worker.incarnation));
        }
        let (expired, others) = world.incarnations[worker.incarnation].letters;
        if books.expired > expired || books.dead_lettered > others {
            let what = format!("worker {}: {expired} and {others} letters, {books:?}", worker.incarnation);
            world.violate("O5", what);
        }
        let (jobs, bytes) = worker.credits.in_use();
        let largest = 900;
        if jobs > world.plan.jobs_in_flight || bytes > world.plan.bytes_in_flight + largest {
            world.violate("O8", format!("{jobs} jobs, {bytes} bytes in flight"));
        }
        if books.in_flight > u64::try_from(jobs).unwrap() {
            world.violate("O8", format!("{jobs} credits for {} jobs in flight", books.in_flight));
        }
    }

    /// O5 as Prometheus sees it.
    async fn scrape(&self) {
        for worker in self.slots.iter().flatten() {
            let scrape = Scrape { ready: true, log_lines_dropped: 0, http_restarts: 0 };
            if !self.world.lock().is_alive(worker.incarnation) {
                continue;
            }
            // None: the metrics actor dies over it, by a fuse of the clock.
            let Some(Ok(text)) = worker.scrapes.ask(scrape).await else { continue };
            let sum = |names: &[&str]| -> f64 {
                let of = |line: &&str| names.iter().any(|name| line.starts_with(name));
                let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
                text.lines().filter(of).filter_map(value).sum()
            };
            let consumed = sum(&["mailroom_messages_consumed_total{"]);
            let accounted =
                sum(&["mailroom_emails_total{", "mailroom_in_flight ", "mailroom_jobs_returned_total "]);
            if (consumed - accounted).abs() > 0.1 {
                let what = format!("worker {}: {consumed} consumed, {accounted} seen", worker.incarnation);
                self.world.lock().violate("O5", what);
            }
        }
    }

    /// Everything works from now on, and somebody is there to work.
    async fn calm_down(&mut self) {
        let latest = {
            let mut world = self.world.lock();
            world.note("calm from here on");
            let now = world.now();
            let until = &mut world.until;
            for until in [
                &mut until.brokers_away,
                &mut until.commit_trouble,
                &mut until.relay_away,
                &mut until.few_connections,
                &mut until.awkward,
                &mut until.letters_refused,
                &mut until.letters_denied,
            ] {
                *until = (*until).min(now);
            }
            for incarnation in &mut world.incarnations {
                incarnation.cut_until = incarnation.cut_until.min(now);
                incarnation.fuses.clear();
            }
            now
        };
        while self.slots.iter().flatten().any(|worker| worker.stop_asked_at.is_some()) {
            self.step().await;
        }
        if self.slots.iter().all(Option::is_none) && self.back_at.iter().all(Option::is_none) {
            self.back_at[0] = Some(latest);
        }
    }

    async fn until_quiet(&mut self) {
        let deadline = self.world.lock().now() + QUIET_WITHIN_MS;
        let mut quiet_for = 0;
        loop {
            self.step().await;
            let quiet = self.world.lock().is_quiet() && self.slots.iter().flatten().next().is_some();
            quiet_for = if quiet { quiet_for + 1 } else { 0 };
            // For a while longer: what comes too late is seen, too.
            if quiet_for >= 100 {
                break;
            }
            let mut world = self.world.lock();
            if world.now() >= deadline || world.violations.len() > 50 {
                for what in world.unfinished() {
                    world.violate("O1/O7", what);
                }
                break;
            }
        }
        for worker in self.slots.iter().flatten() {
            let in_use = worker.credits.in_use();
            let books = worker.office.snapshot().accounts;
            let mut world = self.world.lock();
            if quiet_for > 0
                && world.is_alive(worker.incarnation)
                && (in_use != (0, 0) || books.in_flight > 0)
            {
                world.violate("O8", format!("all is settled, and {in_use:?} is in use, {books:?}"));
            }
        }
    }

    /// All workers stop, one after the other; nothing is sent by that.
    async fn close(&mut self) {
        let transits = self.world.lock().last_transit;
        for slot in 0..self.slots.len() {
            self.back_at[slot] = None;
            self.apply(&Fault::Stop { slot, back_after_ms: None });
            while self.slots[slot].is_some() {
                self.step().await;
            }
            self.back_at[slot] = None;
        }
        let mut world = self.world.lock();
        if world.last_transit != transits {
            world.violate("stop", "e-mails are sent by workers that had nothing to do".into());
        }
    }
}
