use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::run::tests::a_replay;
use super::*;
use crate::domain::failure::Cause;
use crate::domain::letters::lessons::Lessons;

const SECOND: Duration = Duration::from_secs(1);

/// A partition of the queue and of the decisions topic, as they lie in Kafka.
#[derive(Default)]
struct World {
    letters: BTreeMap<i64, Letter>,
    opened: Opened,
    decisions: Vec<Decision>,
    refused: BTreeSet<Refusal>,
    /// How often each letter's job was put back on its queue.
    replays: BTreeMap<i64, u32>,
}

impl World {
    fn with(letters: i64) -> World {
        let mut world = World::default();
        for offset in 0..letters {
            world.letters.insert(offset, letter(offset, 0));
        }
        world
    }

    fn fetch(&self, tasks: &[Task]) -> HashMap<i64, Letter> {
        let fetched = tasks.iter().filter_map(|task| {
            let mut letter = self.letters.get(&task.offset)?.clone();
            letter.before = task.decided_at.map(|at| self.decisions[at as usize].clone());
            Some((task.offset, letter))
        });
        fetched.collect()
    }

    /// A transaction that was taken.
    fn write(&mut self, batch: &Batch) -> Vec<i64> {
        let mut decided_at = Vec::new();
        for act in &batch.acts {
            decided_at.push(self.decisions.len() as i64);
            self.decisions.push(act.decision.clone());
            if act.job.is_some() {
                *self.replays.entry(act.letter.offset).or_default() += 1;
            }
        }
        let mut owner = Owner::new(0, std::mem::take(&mut self.opened));
        owner.written(batch, &decided_at);
        self.opened = owner.opened;
        decided_at
    }

    /// One turn of an owner whose transaction is taken.
    fn turn(&mut self, owner: &mut Owner, runs: &[Tracked], due: &[Due]) -> Batch {
        let tasks = owner.plan(runs, due, 1000.0, SECOND, SECOND, MAX_BATCH);
        let fetched = self.fetch(&tasks);
        let batch = owner.conclude(tasks, &fetched, &self.refused, 5, 1_000);
        let decided_at = self.write(&batch);
        owner.written(&batch, &decided_at);
        batch
    }
}

fn letter(offset: i64, replay_count: u32) -> Letter {
    let cause = Some(Cause::SmtpUnreachable);
    Letter {
        timestamp_ms: offset,
        facts: Facts { state: State::Waiting, cause, replay_count, expires_at_ms: None, has_original: true },
        before: None,
        job: Some(Record {
            topic: "email-queue".into(),
            partition: -1,
            offset: -1,
            timestamp_ms: None,
            key: None,
            value: Some("job".into()),
            headers: vec![],
        }),
    }
}

fn run(id: &str, action: Action, letters: impl Iterator<Item = i64>, rate: f64) -> Tracked {
    let run = a_replay(id, [(0, letters.collect())]);
    Tracked::new(Arc::new(Run { rules: Rules::of(action, 5), rate, ..run }))
}

fn due_at(offset: i64, plan: Plan) -> Due {
    Due { offset, timestamp_ms: offset, plan }
}

proptest! {
    #[test]
    fn a_letter_is_replayed_once_whatever_is_refused_and_whoever_takes_over(
        events in prop::collection::vec(0u8..4, 1..60), overlap in 0i64..25,
    ) {
        let mut world = World::with(40);
        // Two runs over some of the same letters, and the redriver over all.
        let runs = [run("a", Action::Replay, 0..25, 3.0), run("b", Action::Replay, overlap..40, 4.0)];
        let due: Vec<_> = (0..40).map(|offset| due_at(offset, Plan::ReplayAt(0))).collect();
        let mut owner = Owner::new(0, world.opened.clone());
        for event in events.into_iter().chain([0; 40]) {
            let due = if event == 3 { &due[..3] } else { &[] };
            match event {
                0 | 3 => drop(world.turn(&mut owner, &runs, due)),
                // Taken, but nobody is told so; or not taken: a new owner begins with what the topic says.
                1 => {
                    let tasks = owner.plan(&runs, due, 1000.0, SECOND, SECOND, MAX_BATCH);
                    let batch = owner.conclude(tasks.clone(), &world.fetch(&tasks), &world.refused, 5, 1_000);
                    world.write(&batch);
                    owner = Owner::new(0, world.opened.clone());
                }
                _ => {
                    let tasks = owner.plan(&runs, due, 1000.0, SECOND, SECOND, MAX_BATCH);
                    let fetched = world.fetch(&tasks);
                    drop(owner.conclude(tasks, &fetched, &world.refused, 5, 1_000));
                    owner = Owner::new(0, world.opened.clone());
                }
            }
        }
        prop_assert!(world.replays.values().all(|replays| *replays == 1), "{:?}", world.replays);
        prop_assert_eq!(world.replays.len(), 40);
        let progress = world.opened.progress["b"];
        prop_assert_eq!((progress.next, progress.acted + progress.skipped), (40, 40 - overlap as u64));
    }
}

#[test]
fn a_run_goes_at_its_rate_and_does_not_make_up_for_lost_time() {
    let mut world = World::with(1_000);
    let runs = [run("a", Action::Replay, 0..1_000, 2.5)];
    let mut owner = Owner::new(0, Opened::default());
    let acted: Vec<usize> = (0..4).map(|_| world.turn(&mut owner, &runs, &[]).acts.len()).collect();
    assert_eq!(acted, [2, 3, 2, 3]);
    assert_eq!(owner.plan(&runs, &[], 0.0, Duration::from_secs(3600), SECOND, MAX_BATCH).len(), 5);
}

#[test]
fn a_run_alone_fills_its_batches_so_that_they_grow_again_after_failures() {
    let mut world = World::with(600);
    let runs = [run("a", Action::Replay, 0..600, 1000.0)];
    let mut owner = Owner::new(0, Opened::default());
    let mut lessons = Lessons::default();
    for _ in 0..20 {
        lessons.not_written(&Batch { forgotten: vec![1], ..Batch::default() });
    }
    let mut sizes = Vec::new();
    for _ in 0..12 {
        let tasks = owner.plan(&runs, &[], 0.0, SECOND, SECOND, lessons.most());
        let batch = owner.conclude(tasks.clone(), &world.fetch(&tasks), &world.refused, 5, 1_000);
        let decided_at = world.write(&batch);
        owner.written(&batch, &decided_at);
        lessons.written(&batch);
        sizes.push(batch.size());
    }
    assert_eq!(sizes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15]);
}

#[test]
fn runs_and_the_redriver_share_a_batch_and_what_one_leaves_the_others_have() {
    let world = World::with(40);
    let runs = [
        run("a", Action::Replay, 0..10, 1000.0),
        run("b", Action::Replay, 10..12, 1000.0),
        run("c", Action::Replay, 12..12, 1000.0),
    ];
    let due: Vec<Due> = (20..40)
        .map(|offset| Due { offset, timestamp_ms: world.letters[&offset].timestamp_ms, plan: Plan::Park })
        .collect();
    for (most, expected) in
        [(1, [1, 0, 0]), (3, [1, 1, 1]), (9, [4, 2, 3]), (30, [10, 2, 18]), (40, [10, 2, 20])]
    {
        let mut owner = Owner::new(0, Opened::default());
        let tasks = owner.plan(&runs, &due, 1000.0, SECOND, SECOND, most);
        let of = |from: i64, to: i64| tasks.iter().filter(|task| (from..to).contains(&task.offset)).count();
        assert_eq!([of(0, 10), of(10, 12), of(20, 40)], expected, "{most}");
    }
}

#[test]
fn a_slow_run_acts_on_a_letter_every_few_seconds() {
    let mut world = World::with(10);
    let runs = [run("a", Action::Replay, 0..10, 0.25)];
    let mut owner = Owner::new(0, Opened::default());
    let acted: Vec<usize> = (0..9).map(|_| world.turn(&mut owner, &runs, &[]).acts.len()).collect();
    assert_eq!(acted, [0, 0, 0, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn what_is_gone_newer_than_asked_for_or_too_large_is_skipped_and_blocks_nothing() {
    let mut world = World::with(5);
    world.letters.remove(&1);
    world.letters.get_mut(&2).unwrap().timestamp_ms = 99;
    let mut asked = run("a", Action::Replay, 0..5, 100.0);
    Arc::get_mut(&mut asked.run).unwrap().newest_ms = 50;
    let mut owner = Owner::new(0, Opened::default());
    world.refused.insert(Refusal::Job { letter: 3, letter_timestamp_ms: 3, bytes: 3 });
    let batch = world.turn(&mut owner, &[asked], &[]);
    assert_eq!(batch.skipped, BTreeMap::from([(Skip::Undecodable, 2)]));
    assert_eq!(batch.refused, [LetterName { partition: 0, offset: 3 }].into());
    assert_eq!(batch.concluded, 5, "it was as large as it might be");
    assert_eq!(world.replays, BTreeMap::from([(0, 1), (4, 1)]));
    assert_eq!(batch.progress["a"], Progress { next: 5, acted: 2, skipped: 3, at_least_once: false });
}

#[test]
fn decisions_of_a_letter_of_the_same_name_on_an_older_topic_count_for_nothing() {
    let mut world = World::with(1);
    let known = Known { letter_timestamp_ms: 77, state: State::Discarded, decided_at: 0 };
    world.opened.known.insert(0, known);
    let step =
        Step { state: State::Discarded, run: None, by: "x".into(), reason: "y".into(), at_ms: 1, round: 4 };
    world.decisions.push(Decision { letter_timestamp_ms: 77, latest: step, history: vec![] });
    let mut owner = Owner::new(0, world.opened.clone());
    let batch = world.turn(&mut owner, &[run("a", Action::Replay, 0..1, 10.0)], &[]);
    assert_eq!((batch.acts.len(), batch.acts[0].decision.latest.round), (1, 1));
}

#[test]
fn an_edited_job_takes_the_place_of_the_letter_s() {
    let mut world = World::with(1);
    let mut asked = run("a", Action::Replay, 0..1, 10.0);
    Arc::get_mut(&mut asked.run).unwrap().value = Some(b"edited".to_vec());
    let batch = world.turn(&mut Owner::new(0, Opened::default()), &[asked], &[]);
    assert_eq!(batch.acts[0].job.as_ref().unwrap().value.as_deref(), Some(&b"edited"[..]));
}

#[test]
fn the_redriver_replays_what_is_due_and_parks_what_it_can_not_replay() {
    let mut world = World::with(4);
    world.letters.get_mut(&1).unwrap().facts.has_original = false;
    world.letters.get_mut(&2).unwrap().facts.replay_count = 9;
    let due = [(0, Plan::ReplayAt(0)), (1, Plan::ReplayAt(0)), (2, Plan::ReplayAt(0)), (3, Plan::Park)];
    let due = due.map(|(offset, plan)| due_at(offset, plan));
    let mut owner = Owner::new(0, Opened::default());
    let batch = world.turn(&mut owner, &[], &due);
    let made: Vec<State> = batch.acts.iter().map(|act| act.decision.latest.state).collect();
    assert_eq!(made, [State::Replayed, State::Parked, State::Parked, State::Parked]);
    let why: Vec<&str> = batch.acts.iter().map(|act| act.decision.latest.reason.as_str()).collect();
    let too_often = "it was replayed dlq.max_replays times";
    assert_eq!(why, ["its wait is over", "it does not hold its job", too_often, "no wait is left"]);
    assert_eq!(batch.acts[0].decision.latest.by, REDRIVER);
    assert!(world.turn(&mut owner, &[], &due).is_empty());
}

#[test]
fn the_redriver_parks_a_job_that_is_refused_and_leaves_a_letter_of_which_nothing_can_be_said() {
    let mut world = World::with(2);
    world.refused.insert(Refusal::Job { letter: 0, letter_timestamp_ms: 0, bytes: 3 });
    world.refused.insert(Refusal::Decision { letter: 1, letter_timestamp_ms: 1 });
    let mut owner = Owner::new(0, Opened::default());
    let batch = world.turn(&mut owner, &[], &[0, 1].map(|offset| due_at(offset, Plan::ReplayAt(0))));
    assert_eq!(batch.acts.len(), 1);
    assert_eq!((batch.acts[0].decision.latest.state, batch.acts[0].job.is_none()), (State::Parked, true));
    assert_eq!(batch.acts[0].decision.latest.reason, "its job is larger than the topic takes");
    assert_eq!(batch.refused, [LetterName { partition: 0, offset: 0 }].into());
}

#[test]
fn a_letter_that_a_person_has_put_back_to_waiting_is_not_parked_again() {
    let mut world = World::with(2);
    let mut owner = Owner::new(0, Opened::default());
    let due = [due_at(0, Plan::Park), due_at(1, Plan::Park)];
    assert_eq!(world.turn(&mut owner, &[], &due[..1]).acts.len(), 1);
    assert_eq!(world.turn(&mut owner, &[run("a", Action::Restore, 0..1, 10.0)], &[]).acts.len(), 1);
    // What the redriver was told is from before.
    let batch = world.turn(&mut owner, &[], &due);
    assert_eq!(batch.acts.iter().map(|act| act.letter.offset).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_run_that_waits_for_its_first_letters_saves_nothing_up() {
    let mut world = World::with(40);
    let mut asked = run("a", Action::Replay, 0..40, 5.0);
    Arc::get_mut(&mut asked.run).unwrap().canary = 2;
    let mut owner = Owner::new(0, Opened::default());
    let acted: Vec<usize> =
        (0..4).map(|_| world.turn(&mut owner, &[asked.clone()], &[]).acts.len()).collect();
    assert_eq!(acted, [2, 0, 0, 0]);
    asked.canary = Some(Canary { replayed: 2, failed_again: 0 });
    let acted: Vec<usize> =
        (0..3).map(|_| world.turn(&mut owner, &[asked.clone()], &[]).acts.len()).collect();
    assert_eq!(acted, [5, 5, 5]);
}

#[test]
fn decisions_of_letters_that_have_left_are_forgotten() {
    let mut world = World::with(6);
    let mut owner = Owner::new(0, Opened::default());
    world.turn(&mut owner, &[run("a", Action::Discard, 0..6, 100.0)], &[]);
    let mut gone = owner.to_forget(4, 100);
    gone.sort_unstable();
    assert_eq!((gone.clone(), owner.to_forget(4, 2).len()), (vec![0, 1, 2, 3], 2));
    owner.written(&Batch { forgotten: gone, ..Batch::default() }, &[]);
    assert_eq!(owner.to_forget(4, 100), Vec::<i64>::new());
}

#[test]
fn a_run_is_taken_off_once_until_its_id_is_used_again() {
    let leftovers = || Leftovers { runs: vec!["a".into(), "b".into()], progress: vec![] };
    let opened = Opened { forgotten_runs: ["a".to_owned()].into(), ..Opened::default() };
    let mut owner = Owner::new(0, opened);
    // The reader is behind.
    let left = owner.still_left(leftovers(), 9);
    assert_eq!(left.runs, ["b"]);
    owner.written(&Batch { leftovers: left, ..Batch::default() }, &[]);
    assert!(owner.still_left(leftovers(), 9).is_empty());
    // It has come by both; thirty days later there are others by these names.
    assert!(owner.still_left(Leftovers::default(), 9).is_empty());
    assert_eq!(owner.still_left(leftovers(), 1).runs, ["a"]);
}

#[test]
fn what_a_run_did_before_it_could_say_so_counts_as_done() {
    let mut world = World::with(4);
    let runs = [run("r1", Action::Replay, 0..4, 1000.0)];
    let mut owner = Owner::new(0, Opened::default());
    let tasks = owner.plan(&runs, &[], 0.0, SECOND, SECOND, MAX_BATCH);
    let mut batch =
        owner.conclude(tasks, &world.letters.clone().into_iter().collect(), &world.refused, 5, 1_000);
    // As without transactions: two letters were done when the worker died.
    batch.acts.truncate(2);
    batch.progress.clear();
    world.write(&batch);

    let mut next = Owner::new(0, std::mem::take(&mut world.opened));
    let batch = world.turn(&mut next, &runs, &[]);
    assert_eq!(batch.progress["r1"], Progress { next: 4, acted: 4, skipped: 0, at_least_once: false });
    assert_eq!((batch.replayed_before, batch.acts.len()), (2, 2));
    assert!(batch.skipped.is_empty());
    assert!(world.replays.values().all(|times| *times == 1), "{:?}", world.replays);
}

#[test]
fn what_was_due_on_the_former_queue_says_nothing_of_another_letter_of_that_name() {
    let mut world = World::with(2);
    for (offset, letter) in &mut world.letters {
        // Came in just now, and not for a cause that the redriver has to do with.
        letter.timestamp_ms = 999_000 + offset;
        letter.facts.cause = Some(Cause::Policy);
    }
    let mut owner = Owner::new(0, Opened::default());
    let due = [due_at(0, Plan::ReplayAt(0)), due_at(1, Plan::Park)];
    let batch = world.turn(&mut owner, &[], &due);
    assert!(batch.acts.is_empty(), "{:?}", batch.acts);
}

#[test]
fn a_notice_from_the_future_does_not_silence_those_to_come() {
    let opened = Opened { notified_ms: Some(1_000 + 365 * 86_400_000), ..Opened::default() };
    assert!(Owner::new(0, opened).may_notify(1_000));
}
