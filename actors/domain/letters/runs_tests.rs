use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::letters::owner::{Batch, MAX_BATCH, Opened, Owner, Purpose};
use crate::domain::letters::run::tests::a_replay;

const SECOND: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 24 * 3_600_000;
/// Letters in each of the two partitions.
const LETTERS: i64 = 8;

fn run(id: &str, at_ms: i64, letters: &[(i32, &[i64])]) -> Run {
    let letters = letters.iter().map(|(partition, letters)| (*partition, letters.iter().copied().collect()));
    Run { at_ms, ..a_replay(id, letters) }
}

fn progress(next: i64) -> Progress {
    Progress { next, acted: 1, skipped: 0, at_least_once: false }
}

fn cancelled() -> Cancelled {
    Cancelled { by: "ada".into(), at_ms: 0 }
}

fn ids(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn a_run_is_taken_off_by_the_judge_once_it_is_old_and_all_its_letters_have_left() {
    let mut runs = Runs::default();
    runs.ask(run("a", 0, &[(0, &[1, 5]), (2, &[9])]));
    runs.ask(run("nothing", 0, &[]));
    let lows = |zero: i64, two: i64| move |partition| if partition == 0 { zero } else { two };
    let of = |runs: &[&str]| Leftovers { runs: ids(runs), progress: vec![] };
    assert_eq!(runs.leftovers(JUDGE, lows(6, 10), RUNS_KEPT_MS - 1), of(&[]));
    assert_eq!(runs.leftovers(JUDGE, lows(5, 10), RUNS_KEPT_MS), of(&["nothing"]));
    assert_eq!(runs.leftovers(JUDGE, lows(6, 9), RUNS_KEPT_MS), of(&["nothing"]));
    assert_eq!(runs.leftovers(JUDGE, lows(6, 10), RUNS_KEPT_MS), of(&["a", "nothing"]));
    assert_eq!(runs.leftovers(2, lows(6, 10), RUNS_KEPT_MS), of(&[]));
}

#[test]
fn what_was_done_is_taken_off_when_the_run_is_gone_and_its_letters_have_left() {
    let mut runs = Runs::default();
    runs.ask(run("a", 0, &[(1, &[0, 5])]));
    runs.progress("a".into(), 1, progress(6));
    let of = |progress: &[&str]| Leftovers { runs: vec![], progress: ids(progress) };
    assert_eq!(runs.leftovers(1, |_| 9, RUNS_KEPT_MS), of(&[]));
    runs.forget("a");
    assert_eq!(runs.get("a"), None);
    assert_eq!(runs.leftovers(1, |_| 5, 0), of(&[]));
    assert_eq!(runs.leftovers(1, |_| 6, 0), of(&["a"]));
    assert_eq!(runs.leftovers(JUDGE, |_| 6, 0), of(&[]));
}

#[test]
fn nothing_is_kept_in_memory_of_what_was_taken_off() {
    let mut runs = Runs::default();
    runs.ask(run("a", 0, &[(1, &[0])]));
    runs.cancel("a".into(), cancelled());
    runs.judge("a".into(), Canary { replayed: 1, failed_again: 1 });
    runs.progress("a".into(), 1, progress(1));
    runs.forget_progress("a", 1);
    assert_eq!(runs.all().len(), 1);
    runs.forget("a");
    runs.forget("never heard of");
    assert!(runs.0.is_empty(), "{runs:?}");
    // One of the same id, later on, is neither cancelled nor judged.
    runs.ask(run("a", 9, &[(1, &[7])]));
    assert_eq!(runs.under_way(), [Tracked::new(Arc::new(run("a", 9, &[(1, &[7])])))]);
}

/// A record of the decisions topic about a run.
#[derive(Clone, Debug)]
enum Entry {
    Asked(Run),
    Cancelled(String),
    Progress(String, Progress),
    RunForgotten(String),
    CancelForgotten(String),
    ProgressForgotten(String),
}

impl Entry {
    fn key(&self) -> (u8, &str) {
        match self {
            Entry::Asked(run) => (0, &run.id),
            Entry::RunForgotten(id) => (0, id),
            Entry::Cancelled(id) | Entry::CancelForgotten(id) => (1, id),
            Entry::Progress(id, _) | Entry::ProgressForgotten(id) => (2, id),
        }
    }

    fn is_tombstone(&self) -> bool {
        !matches!(self, Entry::Asked(_) | Entry::Cancelled(_) | Entry::Progress(..))
    }
}

/// One of the workers: how far it has read, and what it knows. It may know of the queue's beginning too little.
#[derive(Default)]
struct Worker {
    read: [usize; 2],
    runs: Runs,
    lows: [i64; 2],
}

/// Two partitions of the queue and of the decisions topic, and two workers.
#[derive(Default)]
struct World {
    /// None: compacted away.
    topic: [Vec<Option<Entry>>; 2],
    lows: [i64; 2],
    workers: [Worker; 2],
    owned_by: [usize; 2],
    owners: [Option<Owner>; 2],
    now_ms: i64,
    /// By run, partition and offset. What was decided of a letter does not stop a run here: somebody may have restored it.
    acted: BTreeMap<(String, usize, i64), u32>,
}

impl World {
    fn read(&mut self, worker: usize, partition: usize, count: usize) {
        let Worker { read, runs, .. } = &mut self.workers[worker];
        for entry in self.topic[partition].iter().skip(read[partition]).take(count) {
            read[partition] += 1;
            match entry.clone() {
                Some(Entry::Asked(run)) => runs.ask(run),
                Some(Entry::Cancelled(id)) => runs.cancel(id, cancelled()),
                Some(Entry::Progress(id, progress)) => runs.progress(id, partition as i32, progress),
                Some(Entry::RunForgotten(id)) => runs.forget(&id),
                Some(Entry::ProgressForgotten(id)) => runs.forget_progress(&id, partition as i32),
                Some(Entry::CancelForgotten(_)) | None => {}
            }
        }
    }

    fn restart(&mut self, worker: usize) {
        self.workers[worker] = Worker::default();
        (0..2).for_each(|partition| self.read(worker, partition, usize::MAX));
        (0..2).filter(|of| self.owned_by[*of] == worker).for_each(|of| self.owners[of] = None);
    }

    fn open(&self, partition: usize) -> Owner {
        let mut opened = Opened::default();
        for entry in self.topic[partition].iter().flatten().cloned() {
            match entry {
                Entry::Asked(run) => drop(opened.forgotten_runs.remove(&run.id)),
                Entry::RunForgotten(id) => drop(opened.forgotten_runs.insert(id)),
                Entry::Progress(id, progress) => drop(opened.progress.insert(id, progress)),
                Entry::ProgressForgotten(id) => drop(opened.progress.remove(&id)),
                Entry::Cancelled(_) | Entry::CancelForgotten(_) => {}
            }
        }
        Owner::new(partition as i32, opened)
    }

    /// A turn of the partition's owner; where it dies, another begins with what the topic says.
    fn turn(&mut self, partition: usize, dies: bool) {
        let mut owner = self.owners[partition].take().unwrap_or_else(|| self.open(partition));
        let worker = &mut self.workers[self.owned_by[partition]];
        let under_way = worker.runs.under_way();
        let lows = worker.lows;
        let leftovers = worker.runs.leftovers(partition as i32, |of| lows[of as usize], self.now_ms);
        let tasks = owner.plan(&under_way, &[], 0.0, SECOND, SECOND, MAX_BATCH);
        for task in &tasks {
            let Purpose::Run(run) = &task.purpose else { continue };
            if task.offset >= self.lows[partition] {
                *self.acted.entry((run.id.clone(), partition, task.offset)).or_default() += 1;
            }
        }
        let mut batch = owner.conclude(tasks, &HashMap::new(), &BTreeSet::new(), 5, self.now_ms);
        batch.leftovers = owner.still_left(leftovers, 2);
        self.write(partition, &batch);
        owner.written(&batch, &[]);
        self.owners[partition] = Some(owner).filter(|_| !dies);
    }

    fn write(&mut self, partition: usize, batch: &Batch) {
        let topic = &mut self.topic[partition];
        topic
            .extend(batch.progress.iter().map(|(id, progress)| Some(Entry::Progress(id.clone(), *progress))));
        topic.extend(batch.leftovers.progress.iter().cloned().map(Entry::ProgressForgotten).map(Some));
        for id in &batch.leftovers.runs {
            topic.extend([Entry::CancelForgotten(id.clone()), Entry::RunForgotten(id.clone())].map(Some));
        }
    }

    /// In which nobody is behind for long.
    fn days_pass(&mut self, days: i64) {
        for partition in 0..2 {
            (0..2).for_each(|worker| self.read(worker, partition, usize::MAX));
            self.turn(partition, false);
        }
        self.now_ms += days * DAY_MS;
    }

    /// Leaves the last record of each key, and no tombstone; but what not all workers have read lies in the open segment.
    fn compact(&mut self, partition: usize) {
        let read = self.workers.iter().map(|worker| worker.read[partition]).min().unwrap();
        let mut later = BTreeSet::new();
        for slot in self.topic[partition].iter_mut().take(read).rev() {
            let Some(entry) = slot else { continue };
            let (what, id) = entry.key();
            if !later.insert((what, id.to_owned())) || entry.is_tombstone() {
                *slot = None;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_run_is_carried_out_twice_and_nothing_is_left_of_those_whose_letters_have_left(
        events in prop::collection::vec((0u8..10, 0usize..2, 0usize..2, 1usize..4), 0..150),
    ) {
        let mut world = World::default();
        let all: Vec<i64> = (0..LETTERS).collect();
        let ask = |id: &str, at_ms| Some(Entry::Asked(run(id, at_ms, &[(0, &all), (1, &all[2..])])));
        world.topic[0].extend([ask("a", 0), ask("c", 0), Some(Entry::Cancelled("c".into()))]);
        for (event, partition, worker, count) in events {
            match event {
                0 | 1 => world.read(worker, partition, count),
                2 | 3 => world.turn(partition, false),
                4 => world.turn(partition, true),
                5 => world.lows[partition] = (world.lows[partition] + count as i64).min(LETTERS),
                6 => world.workers[worker].lows[partition] = world.lows[partition],
                7 => {
                    world.owned_by[partition] = worker;
                    world.owners[partition] = None;
                }
                8 if count == 1 => world.restart(worker),
                8 => world.days_pass(20),
                _ if count == 1 => world.topic[0].push(ask("a", world.now_ms)),
                _ => world.compact(partition),
            }
        }
        // Asked for again by the same id, it is another run once the first is gone; but of letters that have left.
        prop_assert!(world.acted.values().all(|times| *times == 1), "{:?}", world.acted);
        world.days_pass(31);
        world.lows = [LETTERS; 2];
        for _ in 0..20 {
            for of in 0..4 {
                let (worker, partition) = (of / 2, of % 2);
                world.workers[worker].lows[partition] = LETTERS;
                world.read(worker, partition, usize::MAX);
                world.turn(partition, false);
            }
        }
        for partition in 0..2 {
            world.workers.iter_mut().for_each(|worker| worker.read[partition] = usize::MAX);
            world.compact(partition);
            prop_assert!(world.topic[partition].iter().all(Option::is_none), "{:?}", world.topic);
        }
        prop_assert!(world.workers.iter().all(|worker| worker.runs.0.is_empty()));
    }
}
