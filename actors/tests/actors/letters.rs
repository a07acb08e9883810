//! Letters are acted on: once each, at the rate that was asked for, whatever fails beneath.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use mailroom_actors::dlq_owner::{DlqOwner, DlqOwnerParts};
use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::job::Record;
use mailroom_actors::domain::letters::offsets::OffsetSet;
use mailroom_actors::domain::letters::owner::{Batch, Known, Letter, Opened, Task};
use mailroom_actors::domain::letters::redrive::Due;
use mailroom_actors::domain::letters::refusal::Refusal;
use mailroom_actors::domain::letters::rules::{Action, Facts, Rules};
use mailroom_actors::domain::letters::run::{Cancelled, Progress, Run, Standing, Tracked};
use mailroom_actors::domain::letters::runs::Leftovers;
use mailroom_actors::guard::{ActorName, ChildId, ChildSignal, DeathGuard};
use mailroom_actors::line::Line;
use mailroom_actors::messages::Retire;
use mailroom_actors::ports::{Census, Fetched, LetterLog, NotWritten, WallClock};

/// What lies in Kafka: two partitions of letters, and what was decided of them.
#[derive(Default)]
struct Queue {
    letters: BTreeMap<i32, i64>,
    opened: RefCell<HashMap<i32, Opened>>,
    /// How often the job of each letter was put back.
    replays: RefCell<BTreeMap<(i32, i64), u32>>,
    runs: RefCell<Vec<Tracked>>,
    owned: RefCell<Vec<i32>>,
    /// Who opened each partition last: only its writes are taken.
    owners: RefCell<HashMap<i32, u32>>,
    opens: Cell<u32>,
    /// Of this partition an opening takes so many seconds.
    slow_open: Cell<Option<(i32, u64)>>,
    /// How long a fetch takes, in milliseconds.
    slow_fetch_ms: Cell<u64>,
    /// What goes wrong at the next calls, in order.
    faults: RefCell<Vec<Fault>>,
    too_large: Cell<Option<i64>>,
    /// Of this letter no decision is taken.
    decision_too_large: Cell<Option<i64>>,
    /// More jobs than these are not acknowledged within the time of a transaction.
    takes_at_most: Cell<Option<usize>>,
    failed_again: Cell<Option<u64>>,
    writes: RefCell<Vec<usize>>,
    /// Somebody is to be told of parked letters.
    parked: Cell<bool>,
    /// What readers take for left over, by partition, and what was taken off.
    leftovers: RefCell<HashMap<i32, Leftovers>>,
    taken_off: RefCell<Vec<(i32, Leftovers)>>,
    notices: Cell<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Open,
    Fetch,
    PanicInFetch,
    /// The batch is written, and the answer lost.
    AnswerLost,
    Write,
}

/// The queue as one worker sees it.
#[derive(Clone)]
struct FakeLog(Rc<Queue>);

impl FakeLog {
    fn fault(&self) -> Fault {
        let mut faults = self.0.faults.borrow_mut();
        if faults.is_empty() { Fault::None } else { faults.remove(0) }
    }
}

impl LetterLog for FakeLog {
    fn partitions(&self) -> Vec<i32> {
        self.0.owned.borrow().clone()
    }

    fn census(&self) -> Census {
        Census::default()
    }

    fn runs(&self) -> Vec<Tracked> {
        let mut runs = self.0.runs.borrow().clone();
        for run in &mut runs {
            for (partition, opened) in self.0.opened.borrow().iter() {
                if let Some(progress) = opened.progress.get(&run.run.id) {
                    run.progress.insert(*partition, *progress);
                }
            }
        }
        runs.retain(|run| run.standing() == Standing::Running);
        runs
    }

    fn due(&self, _: i32, _: i64) -> Vec<Due> {
        Vec::new()
    }

    fn notice(&self, _: i64) -> Option<Record> {
        letter(0).job.filter(|_| self.0.parked.get())
    }

    fn redrive_rate(&self) -> f64 {
        10.0
    }

    fn left_below(&self, _: i32) -> Option<i64> {
        None
    }

    fn leftovers(&self, partition: i32, _: i64) -> Option<Leftovers> {
        Some(self.0.leftovers.borrow().get(&partition).cloned().unwrap_or_default())
    }

    fn open(&self, partition: i32) -> LocalBoxFuture<'static, Result<Opened, String>> {
        let (of, fault) = (self.clone(), self.fault());
        async move {
            tokio::time::sleep(Duration::from_millis(60)).await;
            if let Some((_, seconds)) = of.0.slow_open.get().filter(|(slow, _)| *slow == partition) {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            if fault == Fault::Open {
                return Err("no broker".into());
            }
            of.0.opens.set(of.0.opens.get() + 1);
            of.0.owners.borrow_mut().insert(partition, of.0.opens.get());
            Ok(of.0.opened.borrow().get(&partition).cloned().unwrap_or_default())
        }
        .boxed_local()
    }

    fn close(&self, partition: i32) {
        self.0.owners.borrow_mut().remove(&partition);
    }

    fn fetch(&self, partition: i32, tasks: &[Task]) -> LocalBoxFuture<'static, Result<Fetched, String>> {
        let (of, fault) = (self.clone(), self.fault());
        let wanted: Vec<i64> = tasks.iter().map(|task| task.offset).collect();
        async move {
            tokio::time::sleep(Duration::from_millis(5 + of.0.slow_fetch_ms.get())).await;
            assert!(fault != Fault::PanicInFetch, "a fuse has burnt");
            if fault == Fault::Fetch {
                return Err("no broker".into());
            }
            let there = of.0.letters.get(&partition).copied().unwrap_or(0);
            let letters =
                wanted.into_iter().filter(|offset| *offset < there).map(|offset| (offset, letter(offset)));
            Ok(Fetched { letters: letters.collect(), below: i64::MAX })
        }
        .boxed_local()
    }

    fn write(
        &self,
        partition: i32,
        batch: Arc<Batch>,
    ) -> LocalBoxFuture<'static, Result<Vec<i64>, NotWritten>> {
        let (of, fault) = (self.clone(), self.fault());
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if let Some(letter) = of.0.too_large.get()
                && let Some(act) = batch.acts.iter().find(|act| act.letter.offset == letter)
                && let Some(refusal) = Refusal::of_job(act)
            {
                return Err(NotWritten::TooLarge(vec![refusal]));
            }
            if let Some(letter) = of.0.decision_too_large.get()
                && let Some(act) = batch.acts.iter().find(|act| act.letter.offset == letter)
            {
                return Err(NotWritten::TooLarge(vec![Refusal::of_decision(act)]));
            }
            if of.0.takes_at_most.get().is_some_and(|most| batch.acts.len() > most) {
                return Err(NotWritten::Failed("the brokers do not acknowledge in time".into()));
            }
            if !of.0.owners.borrow().contains_key(&partition) {
                return Err(NotWritten::Failed("the partition was given up".into()));
            }
            if fault == Fault::Write {
                return Err(NotWritten::Failed("fenced".into()));
            }
            let mut opened = of.0.opened.borrow_mut();
            let opened = opened.entry(partition).or_default();
            of.0.writes.borrow_mut().push(batch.acts.len());
            for act in &batch.acts {
                let state = act.decision.latest.state;
                let known = Known { letter_timestamp_ms: act.letter.offset, state, decided_at: 0 };
                opened.known.insert(act.letter.offset, known);
                if act.job.is_some() {
                    *of.0.replays.borrow_mut().entry((partition, act.letter.offset)).or_default() += 1;
                }
            }
            if let Some(notice) = &batch.notice {
                of.0.notices.set(of.0.notices.get() + 1);
                opened.notified_ms = Some(notice.at_ms);
            }
            if !batch.leftovers.is_empty() {
                of.0.taken_off.borrow_mut().push((partition, batch.leftovers.clone()));
            }
            for (id, progress) in &batch.progress {
                opened.progress.insert(id.clone(), *progress);
            }
            for (id, canary) in &batch.canaries {
                let mut runs = of.0.runs.borrow_mut();
                runs.iter_mut().filter(|run| run.run.id == *id).for_each(|run| run.canary = Some(*canary));
            }
            if fault == Fault::AnswerLost {
                return Err(NotWritten::Failed("timed out".into()));
            }
            Ok(vec![0; batch.acts.len()])
        }
        .boxed_local()
    }

    fn failed_again(&self, _: &Tracked) -> LocalBoxFuture<'static, Result<Option<u64>, String>> {
        let answer = self.0.failed_again.get();
        async move { Ok(answer) }.boxed_local()
    }
}

fn letter(offset: i64) -> Letter {
    let cause = Some(Cause::SmtpUnreachable);
    Letter {
        timestamp_ms: offset,
        facts: Facts {
            state: Default::default(),
            cause,
            replay_count: 0,
            expires_at_ms: None,
            has_original: true,
        },
        before: None,
        job: Some(Record {
            topic: "email-queue".into(),
            partition: -1,
            offset: -1,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: vec![],
        }),
    }
}

struct Clock(tokio::time::Instant);

impl WallClock for Clock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + tokio::time::Instant::now().duration_since(self.0)
    }
}

/// Two partitions with 30 letters each, both this worker's.
fn queue() -> Rc<Queue> {
    let queue = Queue { letters: [(0, 30), (1, 30)].into(), ..Queue::default() };
    *queue.owned.borrow_mut() = vec![0, 1];
    Rc::new(queue)
}

/// A replay of all letters.
fn run(id: &str, rate: f64, canary: u64) -> Tracked {
    Tracked::new(Arc::new(Run {
        id: id.into(),
        rules: Rules::of(Action::Replay, 5),
        by: "ada".into(),
        reason: "why".into(),
        at_ms: 0,
        rate,
        canary,
        letters: [(0, (0..30).collect()), (1, (0..30).collect())].into(),
        newest_ms: i64::MAX,
        value: None,
    }))
}

fn start(queue: &Rc<Queue>) -> (Addr<DlqOwner>, async_channel::Receiver<ChildSignal>) {
    let (signals, heard) = async_channel::unbounded();
    let guard = DeathGuard::new(ChildId { name: ActorName::DlqOwner, slot: 0, generation: 1 }, signals);
    let log: Rc<dyn LetterLog> = Rc::new(FakeLog(Rc::clone(queue)));
    let metrics = Line::default();
    let parts = DlqOwnerParts {
        log,
        clock: Arc::new(Clock(tokio::time::Instant::now())),
        metrics,
        mask: Rc::new(str::to_owned),
        max_replays: 5,
    };
    (DlqOwner::new(parts, guard).start(), heard)
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

fn assert_each_once(queue: &Queue) {
    let replays = queue.replays.borrow();
    assert!(replays.values().all(|times| *times == 1), "{replays:?}");
    assert_eq!(replays.len(), 60);
}

#[actix::test]
async fn a_run_is_carried_out_in_all_partitions_at_its_rate() {
    tokio::time::pause();
    let queue = queue();
    queue.runs.borrow_mut().push(run("a", 10.0, 0));
    let (_owner, _heard) = start(&queue);
    seconds(5).await;
    let replayed = queue.replays.borrow().len();
    assert!((20..=45).contains(&replayed), "{replayed}");
    seconds(10).await;
    assert_each_once(&queue);
    assert!(queue.writes.borrow().iter().all(|acts| *acts <= 10), "{:?}", queue.writes);
}

#[actix::test]
async fn whatever_fails_and_however_often_each_letter_is_replayed_once() {
    use Fault::{AnswerLost, Fetch, None, Open, Write};
    tokio::time::pause();
    for fault in [Open, Fetch, AnswerLost, Write] {
        for at in 0..12 {
            let queue = queue();
            queue.runs.borrow_mut().push(run("a", 20.0, 0));
            let mut faults = vec![None; at];
            faults.extend([fault, None, None, fault, fault]);
            *queue.faults.borrow_mut() = faults;
            let (_owner, _heard) = start(&queue);
            seconds(60).await;
            assert_each_once(&queue);
        }
    }
}

#[actix::test]
async fn a_panic_ends_the_actor_and_the_next_one_goes_on_where_the_topic_says() {
    tokio::time::pause();
    let queue = queue();
    queue.runs.borrow_mut().push(run("a", 20.0, 0));
    let mut faults = vec![Fault::None; 6];
    faults.push(Fault::PanicInFetch);
    *queue.faults.borrow_mut() = faults;
    let (_owner, heard) = start(&queue);
    seconds(30).await;
    let signal = heard.try_recv().unwrap();
    assert!(matches!(signal, ChildSignal::Died { panic: Some(_), .. }), "{signal:?}");
    assert!(queue.replays.borrow().len() < 60);
    let (_next, _heard) = start(&queue);
    seconds(30).await;
    assert_each_once(&queue);
}

#[actix::test]
async fn a_partition_that_is_taken_away_is_left_and_begun_anew_when_it_comes_back() {
    tokio::time::pause();
    let queue = queue();
    queue.runs.borrow_mut().push(run("a", 20.0, 0));
    let (_owner, _heard) = start(&queue);
    seconds(2).await;
    *queue.owned.borrow_mut() = vec![1];
    seconds(1).await;
    let of_0 = || queue.replays.borrow().keys().filter(|(partition, _)| *partition == 0).count();
    let before = of_0();
    seconds(30).await;
    assert_eq!(of_0(), before);
    *queue.owned.borrow_mut() = vec![0, 1];
    seconds(30).await;
    assert_each_once(&queue);
}

#[actix::test]
async fn a_letter_whose_job_is_too_large_for_its_topic_is_skipped_and_the_others_go_on() {
    tokio::time::pause();
    let queue = queue();
    queue.too_large.set(Some(7));
    queue.runs.borrow_mut().push(run("a", 20.0, 0));
    let (_owner, _heard) = start(&queue);
    seconds(60).await;
    assert_eq!(queue.replays.borrow().len(), 58);
    let progress = queue.opened.borrow()[&1].progress["a"];
    assert_eq!(progress, Progress { next: 30, acted: 29, skipped: 1, at_least_once: false });
}

#[actix::test]
async fn a_canary_goes_first_and_the_rest_waits_for_what_became_of_it() {
    tokio::time::pause();
    for (failed_again, replayed) in [(2, 60), (3, 5)] {
        let queue = queue();
        queue.runs.borrow_mut().push(run("a", 100.0, 5));
        let (_owner, _heard) = start(&queue);
        seconds(20).await;
        assert_eq!(queue.replays.borrow().len(), 5);
        queue.failed_again.set(Some(failed_again));
        seconds(20).await;
        assert_eq!(queue.replays.borrow().len(), replayed);
    }
}

#[actix::test]
async fn a_partition_that_had_nothing_to_do_makes_up_for_nothing() {
    tokio::time::pause();
    let queue = queue();
    let of = |id, rate, canary, letters: BTreeMap<i32, OffsetSet>| {
        let mut run = run(id, rate, canary);
        Arc::get_mut(&mut run.run).unwrap().letters = letters;
        run
    };
    // The first opens partition 1; the second has its first letters in partition 0.
    queue.runs.borrow_mut().push(of("a", 1000.0, 0, [(1, (0..10).collect())].into()));
    queue.runs.borrow_mut().push(of("b", 10.0, 5, [(0, (0..30).collect()), (1, (10..30).collect())].into()));
    let (_owner, _heard) = start(&queue);
    seconds(20).await;
    assert_eq!(queue.replays.borrow().len(), 15);
    queue.failed_again.set(Some(0));
    let in_partition_1 =
        || queue.replays.borrow().keys().filter(|(partition, _)| *partition == 1).count() - 10;
    while in_partition_1() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Its share is 4 a second, and it has a turn every 2 s.
    assert!(in_partition_1() <= 8, "{}", in_partition_1());
    seconds(20).await;
    assert_each_once(&queue);
}

#[actix::test]
async fn while_a_partition_is_opened_again_and_again_the_others_go_on() {
    tokio::time::pause();
    let queue = queue();
    queue.slow_open.set(Some((1, 60)));
    queue.runs.borrow_mut().push(run("a", 1000.0, 0));
    let (_owner, _heard) = start(&queue);
    seconds(10).await;
    assert_eq!(queue.replays.borrow().len(), 30, "those of partition 0");
}

#[actix::test]
async fn a_cancelled_run_and_an_actor_that_retires_go_no_further() {
    tokio::time::pause();
    let queue = queue();
    queue.runs.borrow_mut().push(run("a", 10.0, 0));
    let (owner, _heard) = start(&queue);
    seconds(4).await;
    queue.runs.borrow_mut()[0].cancelled = Some(Cancelled { by: "ada".into(), at_ms: 0 });
    seconds(1).await;
    let cancelled_at = queue.replays.borrow().len();
    seconds(20).await;
    assert_eq!(queue.replays.borrow().len(), cancelled_at);
    queue.runs.borrow_mut()[0].cancelled = None;
    owner.do_send(Retire);
    seconds(20).await;
    assert_eq!(queue.replays.borrow().len(), cancelled_at);
}

#[actix::test]
async fn a_partition_with_nothing_to_do_is_let_go() {
    tokio::time::pause();
    let queue = queue();
    queue.runs.borrow_mut().push(run("a", 100.0, 0));
    let (_owner, _heard) = start(&queue);
    seconds(60).await;
    assert_eq!(queue.opens.get(), 2);
    let mut again = run("b", 100.0, 0);
    Arc::get_mut(&mut again.run).unwrap().letters = [(0, (0..3).collect())].into();
    queue.runs.borrow_mut().push(again);
    seconds(10).await;
    assert_eq!(queue.opens.get(), 3);
    assert_eq!(queue.opened.borrow()[&0].progress["b"].skipped, 3);
}

#[actix::test]
async fn what_is_left_over_of_runs_is_taken_off_once_also_while_nothing_else_is_to_do() {
    tokio::time::pause();
    let queue = queue();
    let runs = Leftovers { runs: vec!["a".into()], ..Leftovers::default() };
    let progress = |ids: &[&str]| Leftovers {
        progress: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..Leftovers::default()
    };
    // The reader is behind: it tells of "gone" too, of which nothing is left.
    *queue.leftovers.borrow_mut() = [(0, runs.clone()), (1, progress(&["gone", "b"]))].into();
    let done = Progress { next: 3, acted: 3, skipped: 0, at_least_once: false };
    queue.opened.borrow_mut().entry(1).or_default().progress.insert("b".into(), done);
    let (_owner, _heard) = start(&queue);
    seconds(20).await;
    assert_eq!(*queue.taken_off.borrow(), [(0, runs), (1, progress(&["b"]))]);
}

#[actix::test]
async fn parked_letters_are_told_of_once_an_hour_also_by_the_next_worker() {
    tokio::time::pause();
    let queue = queue();
    queue.parked.set(true);
    let (owner, _heard) = start(&queue);
    seconds(3_000).await;
    assert_eq!(queue.notices.get(), 1);
    seconds(1_000).await;
    assert_eq!(queue.notices.get(), 2);
    owner.do_send(Retire);
    queue.opened.borrow_mut().get_mut(&0).unwrap().notified_ms = Some(0);
    let (_next, _heard) = start(&queue);
    seconds(1_000).await;
    assert_eq!(queue.notices.get(), 2);
}

#[actix::test]
async fn what_was_begun_before_a_partition_went_away_is_not_written_once_it_has_come_back() {
    tokio::time::pause();
    let queue = queue();
    queue.runs.borrow_mut().push(run("a", 20.0, 0));
    // The first fetch ends while another, of what was opened after the partition had come back, is under way.
    queue.slow_fetch_ms.set(6_000);
    let (_owner, _heard) = start(&queue);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    queue.slow_fetch_ms.set(3_000);
    *queue.owned.borrow_mut() = vec![1];
    seconds(1).await;
    *queue.owned.borrow_mut() = vec![0, 1];
    seconds(20).await;
    queue.slow_fetch_ms.set(0);
    seconds(60).await;
    assert_each_once(&queue);
}

/// A replay of letter 0-7 alone, by the bytes that an operator gave.
fn edited(id: &str, value: &str) -> Tracked {
    let mut edited = run(id, 100.0, 0);
    let run = Arc::get_mut(&mut edited.run).unwrap();
    run.letters = [(0, [7].into_iter().collect())].into();
    run.value = Some(value.into());
    edited
}

#[actix::test]
async fn a_letter_that_was_too_large_is_replayed_once_it_was_edited_to_fit() {
    tokio::time::pause();
    let queue = queue();
    queue.too_large.set(Some(7));
    let mut first = run("a", 100.0, 0);
    Arc::get_mut(&mut first.run).unwrap().letters = [(0, [7].into_iter().collect())].into();
    queue.runs.borrow_mut().push(first);
    let (_owner, _heard) = start(&queue);
    seconds(20).await;
    assert!(queue.replays.borrow().is_empty());
    // The operator sends a smaller job in its stead: the topic takes that one.
    queue.too_large.set(None);
    queue.runs.borrow_mut().push(edited("b", "small"));
    seconds(20).await;
    assert_eq!(
        queue.opened.borrow()[&0].progress["b"],
        Progress { next: 8, acted: 1, skipped: 0, at_least_once: false }
    );
}

#[actix::test]
async fn an_edit_that_is_too_large_does_not_bar_the_letter_itself() {
    tokio::time::pause();
    let queue = queue();
    queue.too_large.set(Some(7));
    queue.runs.borrow_mut().push(edited("a", "as large as a house"));
    let (_owner, _heard) = start(&queue);
    seconds(20).await;
    queue.too_large.set(None);
    queue.runs.borrow_mut().push(run("b", 100.0, 0));
    seconds(60).await;
    assert_each_once(&queue);
}

#[actix::test]
async fn a_decision_that_is_too_large_does_not_hold_up_the_others_for_ever() {
    tokio::time::pause();
    let queue = queue();
    queue.decision_too_large.set(Some(7));
    let mut discard = run("a", 100.0, 0);
    Arc::get_mut(&mut discard.run).unwrap().rules.action = Action::Discard;
    queue.runs.borrow_mut().push(discard);
    let (_owner, _heard) = start(&queue);
    seconds(600).await;
    let decided: usize = queue.opened.borrow().values().map(|opened| opened.known.len()).sum();
    assert_eq!(decided, 58, "{} openings", queue.opens.get());
}

#[actix::test]
async fn a_batch_that_is_too_much_for_one_transaction_becomes_smaller() {
    tokio::time::pause();
    let queue = queue();
    queue.takes_at_most.set(Some(5));
    queue.runs.borrow_mut().push(run("a", 100.0, 0));
    let (_owner, _heard) = start(&queue);
    seconds(600).await;
    assert!(!queue.replays.borrow().is_empty(), "{} openings and not one letter", queue.opens.get());
    assert_each_once(&queue);
}
