//! Whether mail goes out, in one line for a stranger, and why in a second one.

use super::history::History;
use super::scene::Relay;
use super::text::number;
use crate::demo::readings::Readings;
use crate::demo::stage::Phase;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Good,
    Warning,
    Bad,
}

/// The two lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub mood: Mood,
    pub headline: String,
    pub why: String,
}

/// Jobs of so many seconds that wait for a mailer are worth a word.
const LATE_SECONDS: f64 = 2.0;

impl Verdict {
    fn new(mood: Mood, headline: impl Into<String>, why: impl Into<String>) -> Verdict {
        Verdict { mood, headline: headline.into(), why: why.into() }
    }

    /// What is to be said of this moment. `rate` is how many jobs come a second.
    pub fn of(
        readings: Option<&Readings>,
        history: &History,
        relay: Relay,
        rate: u32,
        phase: Phase,
    ) -> Verdict {
        let Some(readings) = readings else {
            return Verdict::new(Mood::Bad, "NOBODY KNOWS", "the worker's metrics do not answer");
        };
        let under_way = readings.in_flight + readings.backlog;
        let in_hand = number(under_way);
        if phase == Phase::Ending {
            let headline = format!("ENDING   {in_hand} jobs are still under way");
            let why = "no more are produced; Ctrl-C again ends at once and leaves them";
            return Verdict::new(Mood::Warning, headline, why);
        }
        if readings.circuit > 0 {
            let cause = match relay {
                Relay { down: true, .. } => "the relay is down",
                Relay { too_many: true, .. } => "the relay says \"too many\"",
                _ => "the relay kept failing",
            };
            let why = format!("{cause}: circuit open, a probe each 5 s; {in_hand} jobs wait");
            return Verdict::new(Mood::Bad, "NO MAIL GOES OUT", why);
        }
        if relay.down {
            let why = "the relay is down: attempts fail, soon the circuit opens and saves the rest";
            return Verdict::new(Mood::Bad, "NO MAIL GOES OUT", why);
        }
        if readings.paused {
            let why = "paused by hand: what is in hand is finished, nothing more is taken";
            return Verdict::new(Mood::Warning, "NO NEW MAIL IS TAKEN", why);
        }
        let speed = format!("{:.0} a second", history.rate());
        if !history.goes_out() {
            return match under_way {
                _ if history.is_young() => {
                    Verdict::new(Mood::Warning, "STARTING", "the worker joins its group")
                }
                0 => Verdict::new(Mood::Good, "NOTHING TO SEND", "no job is under way"),
                _ => Verdict::new(Mood::Warning, "NO MAIL GOES OUT", "nothing was sent in the last seconds"),
            };
        }
        if readings.pool_allowed < readings.pool_size {
            let why = format!(
                "after \"too many\" or an outage {} of {} mailers may send; {in_hand} jobs wait",
                readings.pool_allowed, readings.pool_size
            );
            return Verdict::new(Mood::Warning, format!("MAIL GOES OUT, HELD BACK   {speed}"), why);
        }
        let ready = under_way.saturating_sub(readings.waiting + readings.pool_busy);
        let late = ready as f64 / f64::from(rate.max(1));
        if late >= LATE_SECONDS {
            let ready = number(ready);
            let why = if readings.pool_busy >= readings.pool_size {
                format!(
                    "all {} mailers are busy and {ready} jobs wait for one: + adds mailers",
                    readings.pool_size
                )
            } else {
                format!("{ready} jobs wait for a mailer")
            };
            return Verdict::new(Mood::Warning, format!("MAIL GOES OUT LATE   {speed}"), why);
        }
        let why = match readings.waiting {
            0 => "what comes is sent at once".into(),
            1 => "what comes is sent at once; 1 that failed waits to be tried again".into(),
            waiting => format!("what comes is sent at once; {waiting} that failed wait to be tried again"),
        };
        Verdict::new(Mood::Good, format!("MAIL GOES OUT   {speed}"), why)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn verdict(change: impl FnOnce(&mut Readings, &mut Relay)) -> Verdict {
        let mut history = History::default();
        (0..20).for_each(|second| history.look(Duration::from_secs(second), second * 19));
        let mut readings = Readings { pool_size: 8, pool_allowed: 8, ..Readings::default() };
        let mut relay = Relay::default();
        change(&mut readings, &mut relay);
        Verdict::of(Some(&readings), &history, relay, 20, Phase::Performing)
    }

    #[test]
    fn one_look_says_whether_mail_goes_out_and_why_not() {
        let cases: [(&str, &str, Verdict); 7] = [
            ("MAIL GOES OUT   19 a second", "sent at once", verdict(|_, _| {})),
            ("MAIL GOES OUT   19", "3 that failed wait", verdict(|readings, _| readings.waiting = 3)),
            ("NO MAIL GOES OUT", "soon the circuit opens", verdict(|_, relay| relay.down = true)),
            (
                "NO MAIL GOES OUT",
                "kept failing: circuit open, a probe each 5 s; 70 jobs wait",
                verdict(|readings, _| (readings.circuit, readings.in_flight) = (2, 70)),
            ),
            (
                "MAIL GOES OUT, HELD BACK",
                "2 of 8 mailers may send",
                verdict(|readings, _| readings.pool_allowed = 2),
            ),
            (
                "MAIL GOES OUT LATE",
                "all 8 mailers are busy and 62 jobs wait for one: + adds mailers",
                verdict(|readings, _| (readings.pool_busy, readings.in_flight) = (8, 70)),
            ),
            ("NO NEW MAIL IS TAKEN", "paused by hand", verdict(|readings, _| readings.paused = true)),
        ];
        for (headline, why, verdict) in cases {
            assert!(verdict.headline.starts_with(headline) && verdict.why.contains(why), "{verdict:?}");
        }
    }

    #[test]
    fn where_nothing_was_sent_it_matters_whether_there_is_anything_to_send() {
        let idle = |since, in_flight| {
            let readings = Readings { in_flight, pool_size: 8, pool_allowed: 8, ..Readings::default() };
            let mut history = History::default();
            history.look(Duration::from_secs(since), 0);
            Verdict::of(Some(&readings), &history, Relay::default(), 20, Phase::Performing)
        };
        assert_eq!(idle(1, 1).headline, "STARTING");
        assert_eq!(idle(9, 0).headline, "NOTHING TO SEND");
        assert_eq!((idle(9, 1).headline.as_str(), idle(9, 1).mood), ("NO MAIL GOES OUT", Mood::Warning));
    }

    #[test]
    fn without_readings_and_at_the_end_it_says_just_that() {
        let history = History::default();
        let blind = Verdict::of(None, &history, Relay::default(), 20, Phase::Performing);
        assert_eq!(blind.headline, "NOBODY KNOWS");
        let readings = Readings { in_flight: 3, ..Readings::default() };
        let end = Verdict::of(Some(&readings), &history, Relay::default(), 20, Phase::Ending);
        assert_eq!(end.headline, "ENDING   3 jobs are still under way");
    }

    proptest! {
        #[test]
        fn whatever_is_said_fits_into_80_columns(
            // The demo never has more than 4,000 jobs under way.
            numbers in proptest::collection::vec(0u64..4_000, 4),
            (busy, size, allowed) in (0u64..5_000, 1u64..4_097, 0u64..4_097),
            (down, slow, too_many) in any::<(bool, bool, bool)>(),
            (circuit, paused, sent) in (0u64..3, any::<bool>(), 0u64..2),
        ) {
            let mut history = History::default();
            (0..9).for_each(|second| history.look(Duration::from_secs(second), second * numbers[3] * sent));
            let readings = Readings {
                backlog: numbers[0], in_flight: numbers[1], waiting: numbers[2], pool_busy: busy, pool_size: size,
                pool_allowed: allowed, circuit, paused, ..Readings::default()
            };
            for phase in [Phase::Performing, Phase::Ending] {
                let verdict = Verdict::of(Some(&readings), &history, Relay { down, slow, too_many }, 20, phase);
                prop_assert!(verdict.headline.chars().count() <= 77 && verdict.why.chars().count() <= 77, "{verdict:?}");
            }
        }
    }
}
