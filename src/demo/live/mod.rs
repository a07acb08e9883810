//! The demo at a terminal: what happens as it happens, and keys to break things.

pub mod history;
pub mod journal;
pub mod keys;
mod letters_view;
pub mod place;
pub mod scene;
mod screen;
mod text;
pub mod theme;
pub mod verdict;
pub mod view;

use std::io::{self, Write};
use std::time::Duration;

use ratatui::crossterm::event::Event;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval};

use self::history::History;
use self::journal::{Journal, Kind};
use self::keys::Action;
use self::place::Place;
use self::scene::{Relay, Scene};
use self::screen::Screen;
use self::theme::Theme;
use super::letter::Letter;
use super::levers::Lever;
use super::readings::Readings;
use super::stage::{Cue, Phase, Stage, Told};

/// Between two looks at the metrics.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// The keys make the pool no larger than this; more is a matter of a script.
const MOST_MAILERS: u64 = 256;

/// The live view, with the terminal in its hands. Dropping it gives the terminal back.
pub(super) struct Live {
    screen: Screen,
    journal: Journal,
    theme: Theme,
    readings: Option<Readings>,
    history: History,
    place: Place,
    /// Behind the screen, so that it is dropped when the terminal has been given back.
    _last_words: LastWords,
}

/// What the journal held when a panic took it off the screen, for stderr.
struct LastWords(Journal);

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in self.0.entries() {
                // Nobody is left to be told when this fails.
                let _ = writeln!(io::stderr().lock(), "mailroom demo: {}", entry.text);
            }
        }
    }
}

impl Live {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When it can't be had.
    pub(super) fn start(journal: Journal) -> io::Result<Live> {
        Ok(Live {
            screen: Screen::take()?,
            _last_words: LastWords(journal.clone()),
            journal,
            theme: Theme::of_environment(),
            readings: None,
            history: History::default(),
            place: Place::default(),
        })
    }

    /// Shows what happens and does what the keys say, until it is to end.
    pub(super) async fn tell(
        &mut self,
        stage: &Stage,
        told: &mut UnboundedReceiver<Told>,
        phase: Phase,
    ) -> Cue {
        let mut looks = interval(BETWEEN_LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    if !stage.worker.is_alive().await {
                        return Cue::WorkerEnds;
                    }
                    self.look(stage).await;
                }
                Some(Told { text, .. }) = told.recv() => self.journal.note(Kind::Deed, text),
                event = self.screen.next() => match event {
                    Some(Event::Key(key)) => {
                        if let Some(action) = keys::action(&key, self.place)
                            && let Some(cue) = self.act(action, stage).await
                        {
                            return cue;
                        }
                    }
                    Some(Event::Resize(width, height)) => {
                        if self.screen.forget(width, height).is_err() {
                            return Cue::NobodyListens;
                        }
                    }
                    Some(_) => {}
                    None => return Cue::NobodyListens,
                },
            }
            if self.draw(stage, phase).is_err() {
                return Cue::NobodyListens;
            }
        }
    }

    async fn look(&mut self, stage: &Stage) {
        self.readings = stage.worker.scrape().await.ok().map(|text| Readings::parse(&text));
        if let Some(readings) = &mut self.readings {
            // The worker looks for the queue's end every few seconds only; the books know how many wait there.
            readings.backlog = stage.accounts.lock().under_way().saturating_sub(readings.in_flight);
            self.history.look(stage.began.elapsed(), readings.sent);
        }
    }

    async fn act(&mut self, action: Action, stage: &Stage) -> Option<Cue> {
        let relay = relay(stage);
        let size = self.readings.as_ref().map_or(1, |readings| readings.pool_size);
        let lever = match action {
            Action::Quit => return Some(Cue::Interrupted),
            Action::Move(movement) => {
                let letters = letters(stage);
                self.place = self.place.moved(movement, &letters);
                return None;
            }
            Action::Relay => Lever::RelayDown(!relay.down),
            Action::Slow => Lever::Slow(!relay.slow),
            Action::TooMany => Lever::TooMany(!relay.too_many),
            Action::KillMailer => Lever::KillMailer,
            Action::Replay => Lever::Replay,
            // A pool that is larger already stays so.
            Action::Grow => Lever::Pool((size * 2).min(MOST_MAILERS.max(size)) as usize),
            Action::Pause => Lever::Pause(!self.readings.as_ref().is_some_and(|readings| readings.paused)),
            Action::Shrink => Lever::Pool((size / 2).max(1) as usize),
        };
        stage.pull_by_hand(lever).await;
        // So that the next press of the key counts from what this one has done.
        self.look(stage).await;
        None
    }

    fn draw(&mut self, stage: &Stage, phase: Phase) -> io::Result<()> {
        let (letters, journal) = (letters(stage), self.journal.entries());
        let reasons = stage.accounts.lock().by_reason();
        let groups = match self.place {
            Place::Letters { .. } => stage.worker.groups(),
            _ => Vec::new(),
        };
        let scene = Scene {
            rate: stage.options.rate,
            http: stage.worker.http_address(),
            elapsed: stage.began.elapsed(),
            phase,
            readings: self.readings.as_ref(),
            history: &self.history,
            relay: relay(stage),
            reasons: &reasons,
            groups: &groups,
            letters: &letters,
            journal: &journal,
            place: self.place,
            theme: self.theme,
        };
        self.screen.draw(|frame| view::draw(frame, &scene))
    }
}

fn relay(stage: &Stage) -> Relay {
    let server = &stage.mail_server;
    Relay { down: server.is_down(), slow: server.is_slow(), too_many: server.is_strict() }
}

fn letters(stage: &Stage) -> Vec<Letter> {
    let mut letters: Vec<Letter> = stage.letters.lock().iter().cloned().collect();
    let offsets: Vec<i64> = letters.iter().map(|letter| letter.offset).collect();
    for (letter, state) in letters.iter_mut().zip(stage.worker.states(&offsets)) {
        letter.state = state;
    }
    letters
}

#[cfg(test)]
mod tests;
