//! Waiting for a run: a bar at a terminal, lines elsewhere, and a word when nothing goes on.

use std::io::{self, IsTerminal};
use std::time::Duration;

use mailroom_actors::domain::letters::run::{Standing, Tracked};
use tokio::time::Instant;

use super::words;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::{DONE, FAILED};
use crate::dlq::archive::{Archive, Refused};

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Lines come no closer together.
const BETWEEN_LINES: Duration = Duration::from_secs(2);
/// With nothing done for so long it is said that no worker seems to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the run has ended, or somebody presses Ctrl-C: then it goes on alone. Returns it with the exit code.
///
/// # Errors
/// When there is no such run.
pub(super) async fn watch(archive: &Archive, id: &str) -> Result<(Tracked, u8), Refused> {
    let mut watch = Watch::new(archive.run(id)?, Shown::of(archive.run(id)?.total()), Instant::now());
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        watch.see(archive.run(id)?, Instant::now());
        if watch.run.standing() != Standing::Running {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(BETWEEN_LOOKS) => {}
            _ = &mut interrupted => {
                watch.shown.end();
                output::tell(format_args!("the run goes on: 'mailroom dlq runs {id}' shows it, 'mailroom dlq cancel {id}' ends it"));
                return Ok((watch.run, FAILED));
            }
        }
    }
    watch.shown.end();
    output::tell(ended(&watch.run, archive.shelf.failed_again(&watch.run)));
    let code = if watch.run.standing() == Standing::Done { DONE } else { FAILED };
    Ok((watch.run, code))
}

fn ended(run: &Tracked, failed_again: u64) -> String {
    let mut told = format!("{}: {}", run.standing().as_str(), counts(run));
    if failed_again > 0 {
        told += &format!(", {failed_again} failed again so far");
    }
    if run.standing() == Standing::Stopped
        && let Some(canary) = run.canary
    {
        told += &format!(
            "\nof the first {}, {} failed again: the others were left as they are",
            canary.replayed, canary.failed_again
        );
    }
    told
}

fn counts(run: &Tracked) -> String {
    let mut told = format!("{} {} of {}", words::letters(run.acted()), done(run), run.total());
    if run.skipped() > 0 {
        told += &format!(", {} skipped", run.skipped());
    }
    told
}

fn done(run: &Tracked) -> &'static str {
    use mailroom_actors::domain::letters::rules::Action;
    match run.run.rules.action {
        Action::Replay => "replayed",
        Action::Discard => "discarded",
        Action::Restore => "restored",
    }
}

/// How far a run is, and since when.
struct Watch<S = Shown> {
    run: Tracked,
    shown: S,
    changed_at: Instant,
    line_at: Option<Instant>,
    told_of_silence: bool,
    told_of_canary: bool,
}

impl<S: Show> Watch<S> {
    fn new(run: Tracked, shown: S, now: Instant) -> Watch<S> {
        Watch { run, shown, changed_at: now, line_at: None, told_of_silence: false, told_of_canary: false }
    }

    fn see(&mut self, run: Tracked, now: Instant) {
        let dealt_with = |run: &Tracked| run.total() - run.left();
        if dealt_with(&run) != dealt_with(&self.run) || run.canary != self.run.canary {
            (self.changed_at, self.told_of_silence) = (now, false);
        }
        self.run = run;
        self.shown.at(dealt_with(&self.run), now);
        if self.run.standing() != Standing::Running {
            return;
        }
        let is_new = dealt_with(&self.run) > 0 && self.changed_at == now;
        if is_new && self.line_at.is_none_or(|line| now >= line + BETWEEN_LINES) {
            self.line_at = Some(now);
            self.shown.line(counts(&self.run));
        }
        if self.run.asks_for_its_canary() {
            if !std::mem::replace(&mut self.told_of_canary, true) {
                self.shown.say("the first letters are replayed; waiting until they are settled".into());
            }
        } else if now >= self.changed_at + self.patience()
            && !std::mem::replace(&mut self.told_of_silence, true)
        {
            self.shown.say(format!(
                "nothing was done for {} s: is a worker running on these topics, and well? \
                 The run stays asked for; 'mailroom dlq cancel {}' takes it back",
                self.patience().as_secs(),
                self.run.run.id
            ));
        }
    }

    /// A slow run is silent for long by itself.
    fn patience(&self) -> Duration {
        Duration::try_from_secs_f64(3.0 / self.run.run.rate).unwrap_or(PATIENCE).max(PATIENCE)
    }
}

/// Where it is shown.
trait Show {
    /// So many letters are dealt with.
    fn at(&mut self, dealt_with: u64, now: Instant);
    /// Progress; not where there is a bar.
    fn line(&mut self, text: String);
    fn say(&mut self, text: String);
}

/// A bar at a terminal, lines elsewhere.
struct Shown {
    bar: Progress,
    lines: bool,
}

impl Shown {
    fn of(total: u64) -> Shown {
        Shown { bar: Progress::of(Some(total), "letters"), lines: !io::stderr().is_terminal() }
    }

    fn end(&self) {
        self.bar.end();
    }
}

impl Show for Shown {
    fn at(&mut self, dealt_with: u64, now: Instant) {
        self.bar.at(dealt_with);
        if self.bar.shows_at().is_some_and(|at| now >= at) {
            self.bar.show();
        }
    }

    fn line(&mut self, text: String) {
        if self.lines {
            output::tell(text);
        }
    }

    fn say(&mut self, text: String) {
        self.bar.beside(|| output::tell(text));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mailroom_actors::domain::letters::rules::{Action, Rules};
    use mailroom_actors::domain::letters::run::{Canary, Progress, Run};

    use super::*;

    #[derive(Default)]
    struct Told {
        lines: Vec<String>,
        said: Vec<String>,
    }

    impl Show for Told {
        fn at(&mut self, _: u64, _: Instant) {}
        fn line(&mut self, text: String) {
            self.lines.push(text);
        }
        fn say(&mut self, text: String) {
            self.said.push(text);
        }
    }

    fn run(rate: f64, canary: u64, acted: u64) -> Tracked {
        let rules = Rules::of(Action::Replay, 5);
        let mut tracked = Tracked::new(Arc::new(Run {
            id: "r1".into(),
            rules,
            by: "ada".into(),
            reason: "why".into(),
            at_ms: 0,
            rate,
            canary,
            letters: [(0, (0..10).collect())].into(),
            newest_ms: i64::MAX,
            value: None,
        }));
        let next = i64::try_from(acted).unwrap_or_default();
        tracked.progress.insert(0, Progress { next, acted, skipped: 0, at_least_once: false });
        tracked
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_is_told_once_and_again_only_after_something_was_done() {
        let start = Instant::now();
        let mut watch = Watch::new(run(10.0, 0, 0), Told::default(), start);
        watch.see(run(10.0, 0, 0), start + seconds(29));
        assert!(watch.shown.said.is_empty());
        watch.see(run(10.0, 0, 0), start + seconds(30));
        watch.see(run(10.0, 0, 0), start + seconds(90));
        assert_eq!(watch.shown.said.len(), 1);
        assert!(watch.shown.said[0].contains("dlq cancel r1"), "{:?}", watch.shown.said);
        watch.see(run(10.0, 0, 1), start + seconds(91));
        watch.see(run(10.0, 0, 1), start + seconds(121));
        assert_eq!(watch.shown.said.len(), 2);
    }

    #[test]
    fn a_slow_run_and_one_that_waits_for_its_first_letters_are_not_taken_for_dead() {
        let start = Instant::now();
        let mut slow = Watch::new(run(0.01, 0, 0), Told::default(), start);
        slow.see(run(0.01, 0, 0), start + seconds(299));
        assert!(slow.shown.said.is_empty());
        let mut waiting = Watch::new(run(10.0, 2, 2), Told::default(), start);
        waiting.see(run(10.0, 2, 2), start + seconds(100));
        waiting.see(run(10.0, 2, 2), start + seconds(200));
        assert_eq!(waiting.shown.said.len(), 1);
        assert!(waiting.shown.said[0].contains("until they are settled"));
    }

    #[test]
    fn lines_come_when_something_was_done_and_not_too_close_together() {
        let start = Instant::now();
        let mut watch = Watch::new(run(10.0, 0, 0), Told::default(), start);
        for (acted, at) in [(0, 1), (2, 2), (3, 3), (3, 9), (4, 10)] {
            watch.see(run(10.0, 0, acted), start + seconds(at));
        }
        assert_eq!(watch.shown.lines, ["2 letters replayed of 10", "4 letters replayed of 10"]);
    }

    #[test]
    fn the_end_says_what_was_done_and_why_a_run_stopped() {
        assert_eq!(ended(&run(1.0, 0, 10), 0), "done: 10 letters replayed of 10");
        assert_eq!(ended(&run(1.0, 0, 10), 3), "done: 10 letters replayed of 10, 3 failed again so far");
        let mut stopped = run(1.0, 2, 2);
        stopped.canary = Some(Canary { replayed: 2, failed_again: 2 });
        let told = ended(&stopped, 2);
        assert!(
            told.starts_with("stopped: 2 letters replayed of 10") && told.contains("first 2, 2 failed"),
            "{told}"
        );
    }
}
