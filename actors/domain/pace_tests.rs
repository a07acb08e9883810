//! The window, the circuit and the slow return: by example, and against any history.

use proptest::prelude::*;

use super::*;

const INTERVAL: Duration = Duration::from_secs(5);
const START: Duration = Duration::ZERO;

fn pace(size: usize, failures: u32) -> Pace {
    Pace::new(size, Breaker { failures, probe_interval: INTERVAL })
}

/// As many turns as may be had.
fn begin_all(pace: &mut Pace, now: Duration) -> Vec<Turn> {
    let mut turns = Vec::new();
    while let Some(turn) = pace.begin(turns.len(), now) {
        turns.push(turn);
    }
    turns
}

/// One attempt after the other, nothing else under way.
fn one_by_one(pace: &mut Pace, count: usize, seen: Seen) {
    for _ in 0..count {
        let turn = pace.begin(0, START).expect("one may always work");
        pace.ended(turn, seen, START);
    }
}

/// A pace whose circuit has just closed.
fn returning(size: usize, failures: u32) -> Pace {
    let mut pace = pace(size, failures);
    one_by_one(&mut pace, failures as usize, Seen::Infrastructure);
    let probe = pace.begin(0, INTERVAL).expect("the interval has passed");
    pace.ended(probe, Seen::Taken, INTERVAL);
    assert_eq!((pace.circuit(), pace.allowed()), (Circuit::Closed, 1));
    pace
}

#[test]
fn so_many_failures_in_a_row_of_whatever_kind_open_the_circuit() {
    let mut pace = pace(8, 3);
    for seen in [Seen::Infrastructure, Seen::Ambiguous] {
        one_by_one(&mut pace, 1, seen);
        assert_eq!(pace.circuit(), Circuit::Closed);
    }
    one_by_one(&mut pace, 1, Seen::Limited);
    assert_eq!((pace.circuit(), pace.allowed(), pace.failures_in_a_row()), (Circuit::Open, 0, 3));
    assert_eq!(pace.next_probe(), Some(INTERVAL));
}

#[test]
fn any_answer_about_an_e_mail_ends_the_row_and_no_word_does_not() {
    let mut pace = pace(8, 3);
    for answer in [Seen::Taken, Seen::Answered] {
        one_by_one(&mut pace, 2, Seen::Infrastructure);
        one_by_one(&mut pace, 1, answer);
        assert_eq!(pace.failures_in_a_row(), 0);
    }
    one_by_one(&mut pace, 2, Seen::Infrastructure);
    one_by_one(&mut pace, 1, Seen::Nothing);
    one_by_one(&mut pace, 1, Seen::Infrastructure);
    assert_eq!(pace.circuit(), Circuit::Open);
}

#[test]
fn with_no_failures_the_circuit_never_opens() {
    let mut pace = pace(2, 0);
    one_by_one(&mut pace, 1000, Seen::Infrastructure);
    assert_eq!((pace.circuit(), pace.allowed(), pace.failures_in_a_row()), (Circuit::Closed, 2, 1000));
}

#[test]
fn slower_halves_once_for_all_that_were_under_way_and_goes_on_by_ones() {
    let mut pace = pace(8, 0);
    let turns = begin_all(&mut pace, START);
    assert_eq!(turns.len(), 8);
    for turn in turns {
        pace.ended(turn, Seen::Limited, START);
        assert_eq!(pace.allowed(), 4);
    }
    one_by_one(&mut pace, 3, Seen::Taken);
    one_by_one(&mut pace, 9, Seen::Answered);
    assert_eq!(pace.allowed(), 4);
    one_by_one(&mut pace, 1, Seen::Taken);
    assert_eq!(pace.allowed(), 5);
    one_by_one(&mut pace, 5, Seen::Taken);
    assert_eq!(pace.allowed(), 6);
    one_by_one(&mut pace, 6 + 7, Seen::Taken);
    assert_eq!(pace.allowed(), 8);
    one_by_one(&mut pace, 100, Seen::Taken);
    assert_eq!(pace.allowed(), 8);
}

#[test]
fn nothing_halves_again_until_each_that_was_under_way_has_had_its_outcome() {
    let mut pace = pace(8, 0);
    let mut turns = begin_all(&mut pace, START);
    let slow = turns.pop().expect("eight");
    for turn in turns {
        pace.ended(turn, Seen::Limited, START);
    }
    let new = pace.begin(1, START).expect("four may work");
    pace.ended(new, Seen::Limited, START);
    assert_eq!(pace.allowed(), 4, "one is still out from before");
    let new = pace.begin(1, START).expect("four may work");
    pace.ended(slow, Seen::Taken, START);
    assert_eq!(pace.allowed(), 4);
    pace.ended(new, Seen::Limited, START);
    assert_eq!(pace.allowed(), 2);
}

#[test]
fn what_was_under_way_at_a_halving_does_not_count_towards_growth() {
    let mut pace = pace(8, 0);
    let mut turns = begin_all(&mut pace, START).into_iter();
    pace.ended(turns.next().expect("eight"), Seen::Limited, START);
    for turn in turns {
        pace.ended(turn, Seen::Taken, START);
    }
    assert_eq!(pace.allowed(), 4);
}

#[test]
fn one_may_always_work_while_the_circuit_is_closed() {
    let mut pace = pace(3, 0);
    one_by_one(&mut pace, 50, Seen::Limited);
    assert_eq!(pace.allowed(), 1);
}

#[test]
fn probes_go_one_at_a_time_and_the_interval_begins_anew_at_their_end() {
    let mut pace = pace(8, 1);
    one_by_one(&mut pace, 1, Seen::Infrastructure);
    let mut now = START;
    for seen in [Seen::Infrastructure, Seen::Limited, Seen::Ambiguous] {
        assert_eq!(pace.begin(0, now + INTERVAL - Duration::from_nanos(1)), None);
        let probe = pace.begin(0, now + INTERVAL).expect("the interval has passed");
        assert!(probe.probe);
        assert_eq!((pace.circuit(), pace.allowed(), pace.next_probe()), (Circuit::HalfOpen, 1, None));
        assert_eq!(pace.begin(1, now + 10 * INTERVAL), None);
        now += 11 * INTERVAL;
        pace.ended(probe, seen, now);
        assert_eq!((pace.circuit(), pace.next_probe()), (Circuit::Open, Some(now + INTERVAL)));
    }
    assert_eq!(pace.failures_in_a_row(), 4);
}

#[test]
fn a_probe_without_a_word_from_the_relay_lets_the_next_begin_at_once() {
    let mut pace = pace(8, 1);
    one_by_one(&mut pace, 1, Seen::Infrastructure);
    let probe = pace.begin(0, INTERVAL).expect("the interval has passed");
    pace.ended(probe, Seen::Nothing, INTERVAL);
    assert_eq!((pace.circuit(), pace.next_probe()), (Circuit::Open, Some(INTERVAL)));
    assert!(pace.begin(0, INTERVAL).is_some_and(|turn| turn.probe));
}

#[test]
fn the_return_is_slow_one_two_four_and_any_answer_is_a_way_through() {
    let mut pace = returning(7, 3);
    for (seen, expected) in [(Seen::Answered, 2), (Seen::Taken, 4), (Seen::Answered, 7)] {
        let allowed = pace.allowed();
        one_by_one(&mut pace, allowed - 1, seen);
        assert_eq!(pace.allowed(), allowed);
        one_by_one(&mut pace, 1, seen);
        assert_eq!(pace.allowed(), expected);
    }
}

#[test]
fn slower_in_the_slow_return_halves_and_goes_on_by_ones() {
    let mut pace = returning(16, 3);
    one_by_one(&mut pace, 1 + 2, Seen::Taken);
    one_by_one(&mut pace, 1, Seen::Limited);
    assert_eq!(pace.allowed(), 2);
    one_by_one(&mut pace, 2, Seen::Taken);
    assert_eq!(pace.allowed(), 3);
}

#[test]
fn after_closing_it_takes_as_many_failures_as_ever_to_open_again() {
    let mut pace = returning(8, 3);
    one_by_one(&mut pace, 2, Seen::Infrastructure);
    assert_eq!(pace.circuit(), Circuit::Closed);
    one_by_one(&mut pace, 1, Seen::Infrastructure);
    assert_eq!(pace.circuit(), Circuit::Open);
}

#[test]
fn stragglers_change_nothing_and_hold_up_nobody_once_the_relay_is_back() {
    let mut pace = pace(8, 3);
    let mut turns = begin_all(&mut pace, START);
    let mut stragglers = turns.split_off(3);
    for turn in turns {
        pace.ended(turn, Seen::Infrastructure, START);
    }
    pace.ended(stragglers.pop().expect("five"), Seen::Taken, START);
    pace.ended(stragglers.pop().expect("four"), Seen::Limited, START);
    assert_eq!((pace.circuit(), pace.failures_in_a_row()), (Circuit::Open, 3));

    let probe = pace.begin(3, INTERVAL).expect("the interval has passed");
    pace.ended(probe, Seen::Taken, INTERVAL);
    assert!(pace.begin(3, INTERVAL).is_some(), "three stragglers are past the dot, and one may work");
    assert!(pace.begin(4, INTERVAL).is_none());
    for turn in stragglers {
        pace.ended(turn, Seen::Infrastructure, INTERVAL);
    }
    assert_eq!((pace.circuit(), pace.allowed(), pace.failures_in_a_row()), (Circuit::Closed, 1, 0));
    assert!(pace.begin(1, INTERVAL).is_none(), "they were told of, so nobody works beside the one");
}

#[test]
fn with_stragglers_there_are_never_more_at_work_than_mailers() {
    let mut pace = pace(4, 1);
    let mut turns = begin_all(&mut pace, START);
    pace.ended(turns.pop().expect("four"), Seen::Infrastructure, START);
    let probe = pace.begin(3, INTERVAL).expect("the interval has passed");
    pace.ended(probe, Seen::Taken, INTERVAL);
    one_by_one(&mut pace, 1 + 2 + 4, Seen::Taken);
    assert_eq!(pace.allowed(), 4);
    assert!(pace.begin(4, INTERVAL).is_none());
}

#[test]
fn a_full_window_stays_full_when_the_pool_is_resized_and_another_is_only_cut() {
    let mut full = pace(8, 0);
    for size in [32, 2, 8] {
        full.resize(size);
        assert_eq!(full.allowed(), size);
    }
    let mut halved = pace(8, 0);
    one_by_one(&mut halved, 1, Seen::Limited);
    for (size, allowed) in [(32, 4), (5, 4), (2, 2)] {
        halved.resize(size);
        assert_eq!(halved.allowed(), allowed);
    }
    let mut slow = returning(8, 1);
    for size in [1, 64] {
        slow.resize(size);
        assert_eq!(slow.allowed(), 1, "a resize is no shortcut through the slow return");
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin,
    /// One of those under way, by its index modulo their number.
    End(usize, Seen),
    /// Milliseconds pass.
    Pass(u64),
    Resize(usize),
}

fn any_seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        6 => Just(Seen::Taken),
        2 => Just(Seen::Answered),
        4 => Just(Seen::Infrastructure),
        4 => Just(Seen::Limited),
        1 => Just(Seen::Ambiguous),
        1 => Just(Seen::Nothing),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => Just(Step::Begin),
        10 => (any::<usize>(), any_seen()).prop_map(|(which, seen)| Step::End(which, seen)),
        2 => (0u64..12_000).prop_map(Step::Pass),
        1 => (1usize..20).prop_map(Step::Resize),
    ]
}

/// The contract's words, kept beside the pace in the simplest way: each attempt remembers what it needs.
struct Model {
    size: usize,
    failures: u32,
    now: Duration,
    under_way: Vec<Attempt>,
    /// How often the circuit has opened.
    openings: u32,
    row: u32,
    open: bool,
    /// The first moment at which a probe may begin while the circuit is open.
    next_probe: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    turn: Turn,
    openings: u32,
    /// Begun before the last halving.
    before_halving: bool,
}

impl Model {
    fn new(size: usize, failures: u32) -> Model {
        Model {
            size,
            failures,
            now: START,
            under_way: Vec::new(),
            openings: 0,
            row: 0,
            open: false,
            next_probe: START,
        }
    }

    fn is_straggler(&self, attempt: &Attempt) -> bool {
        !attempt.turn.probe && attempt.openings < self.openings
    }

    fn probe_is_under_way(&self) -> bool {
        self.under_way.iter().any(|attempt| attempt.turn.probe)
    }

    fn step(&mut self, pace: &mut Pace, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Pass(milliseconds) => self.now += Duration::from_millis(milliseconds),
            Step::Resize(size) => {
                let before = pace.allowed();
                pace.resize(size);
                if !self.open {
                    let full = before == self.size;
                    let expected = if full { vec![size, before.min(size)] } else { vec![before.min(size)] };
                    prop_assert!(expected.contains(&pace.allowed()), "{before} of {} to {size}", self.size);
                }
                self.size = size;
            }
            Step::Begin => self.begin(pace)?,
            Step::End(which, seen) => self.end(pace, which, seen)?,
        }
        self.check(pace)
    }

    fn begin(&mut self, pace: &mut Pace) -> Result<(), TestCaseError> {
        let working = self.under_way.len();
        let stragglers = self.under_way.iter().filter(|attempt| self.is_straggler(attempt)).count();
        let may = if self.open {
            !self.probe_is_under_way() && self.now >= self.next_probe
        } else {
            working < self.size && working - stragglers < pace.allowed()
        };
        let turn = pace.begin(working, self.now);
        prop_assert_eq!(turn.is_some(), may);
        if let Some(turn) = turn {
            prop_assert_eq!(turn.probe, self.open);
            self.under_way.push(Attempt { turn, openings: self.openings, before_halving: false });
        }
        Ok(())
    }

    fn end(&mut self, pace: &mut Pace, which: usize, seen: Seen) -> Result<(), TestCaseError> {
        if self.under_way.is_empty() {
            return Ok(());
        }
        let attempt = self.under_way.swap_remove(which % self.under_way.len());
        let before = (pace.allowed(), pace.circuit(), pace.failures_in_a_row(), pace.next_probe());
        pace.ended(attempt.turn, seen, self.now);
        let answer = matches!(seen, Seen::Taken | Seen::Answered);
        let failure = !answer && seen != Seen::Nothing;
        if self.is_straggler(&attempt) {
            let after = (pace.allowed(), pace.circuit(), pace.failures_in_a_row(), pace.next_probe());
            prop_assert_eq!(before, after, "a straggler changes nothing");
            return Ok(());
        }
        if answer {
            self.row = 0;
            self.open = false;
        } else if failure {
            self.row += 1;
        }
        if attempt.turn.probe {
            let interval = if failure { INTERVAL } else { Duration::ZERO };
            self.next_probe = self.now + interval;
            return Ok(());
        }
        if failure && self.failures > 0 && self.row >= self.failures {
            self.open = true;
            self.openings += 1;
            self.next_probe = self.now + INTERVAL;
            return Ok(());
        }
        self.check_window(before.0, pace.allowed(), attempt, seen)
    }

    /// What the end of an ordinary attempt may do to the window.
    fn check_window(
        &mut self,
        before: usize,
        after: usize,
        attempt: Attempt,
        seen: Seen,
    ) -> Result<(), TestCaseError> {
        let out_from_before =
            self.under_way.iter().any(|other| other.before_halving && other.openings == self.openings);
        if seen == Seen::Limited && !attempt.before_halving && !out_from_before {
            prop_assert_eq!(after, (before / 2).max(1), "slower halves");
            let openings = self.openings;
            for other in self.under_way.iter_mut().filter(|other| other.openings == openings) {
                other.before_halving = true;
            }
            return Ok(());
        }
        match seen {
            Seen::Taken if !attempt.before_halving => prop_assert!(after >= before),
            Seen::Answered if !attempt.before_halving => {
                prop_assert!([before, before * 2, self.size].contains(&after))
            }
            _ => prop_assert_eq!(after, before, "{:?} {:?}", attempt, seen),
        }
        Ok(())
    }

    fn check(&self, pace: &Pace) -> Result<(), TestCaseError> {
        prop_assert_eq!(pace.circuit() == Circuit::Closed, !self.open);
        prop_assert_eq!(pace.circuit() == Circuit::HalfOpen, self.probe_is_under_way());
        prop_assert_eq!(pace.failures_in_a_row(), self.row);
        prop_assert!(self.under_way.iter().filter(|attempt| attempt.turn.probe).count() <= 1);
        let allowed = pace.allowed();
        match pace.circuit() {
            Circuit::Closed => prop_assert!((1..=self.size).contains(&allowed)),
            Circuit::HalfOpen => prop_assert_eq!(allowed, 1),
            Circuit::Open => prop_assert_eq!(allowed, 0),
        }
        let next_probe = (pace.circuit() == Circuit::Open).then_some(self.next_probe);
        prop_assert_eq!(pace.next_probe(), next_probe);
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_pace_does_what_the_contract_says(
        size in 1usize..20, failures in 0u32..8, steps in proptest::collection::vec(any_step(), 1..300),
    ) {
        let (mut pace, mut model) = (pace(size, failures), Model::new(size, failures));
        for step in steps {
            model.step(&mut pace, step)?;
        }
    }

    #[test]
    fn after_any_history_enough_e_mails_that_are_taken_bring_it_back_to_its_size(
        size in 1usize..20, failures in 0u32..8, steps in proptest::collection::vec(any_step(), 1..200),
    ) {
        let (mut pace, mut model) = (pace(size, failures), Model::new(size, failures));
        for step in steps {
            model.step(&mut pace, step)?;
        }
        // By ones it takes at most 1 + 2 + … + size; one more for a probe, and those that are under way.
        let enough = model.under_way.len() + 1 + model.size * (model.size + 1) / 2;
        model.now += INTERVAL;
        for _ in 0..enough {
            model.step(&mut pace, Step::Begin)?;
            model.step(&mut pace, Step::End(0, Seen::Taken))?;
        }
        prop_assert_eq!((pace.circuit(), pace.allowed()), (Circuit::Closed, model.size));
    }

    #[test]
    fn while_the_relay_is_away_there_is_at_most_one_attempt_each_interval(
        size in 1usize..20, failures in 1u32..8, waits_ms in proptest::collection::vec(0u64..3_000, 1..200),
    ) {
        let mut pace = pace(size, failures);
        let (mut now, mut opened, mut attempts) = (START, None, 0);
        for wait in waits_ms {
            now += Duration::from_millis(wait);
            for turn in begin_all(&mut pace, now) {
                attempts += u32::from(turn.probe);
                // The probe takes its time, too.
                now += Duration::from_millis(wait / 2);
                pace.ended(turn, Seen::Infrastructure, now);
                if opened.is_none() && pace.circuit() == Circuit::Open {
                    opened = Some(now);
                }
            }
        }
        if let Some(opened) = opened {
            prop_assert!(INTERVAL * attempts <= now - opened);
        }
    }
}
