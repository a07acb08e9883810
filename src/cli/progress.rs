//! The progress bar of work that takes its time, where somebody sits at a terminal.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tokio::time::Instant;

use super::spinner::PATIENCE;

const BETWEEN_TICKS: Duration = Duration::from_millis(200);

/// Hidden at first; for good where stderr is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    shows_at: Instant,
    is_shown: bool,
    /// The bar and what is printed would be mixed up.
    shares_terminal: bool,
}

impl Progress {
    /// Of `total` things of that name, in the plural, where it is known how many there are.
    pub fn of(total: Option<u64>, things: &str) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = match total {
            Some(_) => format!("{{bar:30}} {{pos}} of {{len}} {things}, {{rate}}, {{eta}} left"),
            None => format!("{{spinner}} {{pos}} {things}, {{rate}}"),
        };
        let style = ProgressStyle::with_template(&template).expect("the template is well made");
        // Its own rate has four digits behind the point.
        bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            // What a terminal does not take is drawn again.
            let _ = write!(out, "{:.1}/s", state.per_sec());
        }));
        Progress {
            bar,
            shows_at: Instant::now() + PATIENCE,
            is_shown: !io::stderr().is_terminal(),
            shares_terminal: io::stdout().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// When the bar is to be shown; none once it has been, and where it is not.
    pub fn shows_at(&self) -> Option<Instant> {
        (!self.is_shown).then_some(self.shows_at)
    }

    pub fn show(&mut self) {
        self.is_shown = true;
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.enable_steady_tick(BETWEEN_TICKS);
    }

    /// One more is done; `print` writes its line.
    pub fn one_more<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.inc(1);
        if self.shares_terminal { self.bar.suspend(print) } else { print() }
    }

    /// So many are done.
    pub fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Prints something else on stderr.
    pub fn beside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Takes the bar off the terminal.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}
