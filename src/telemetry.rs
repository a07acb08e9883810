//! The log: one line an event to stderr, as JSON or for people; it never holds up or ends the work.

mod queue;

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use mailroom_actors::guard::note_panic;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};
use queue::LineQueue;

/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long a panic waits for its line: it may be the process's last.
const PANIC_LINE: Duration = Duration::from_millis(100);

static LINES: OnceLock<LineQueue> = OnceLock::new();

/// The running log. When it is dropped what was logged before is written out, for at most 1 s.
#[must_use = "when it is dropped, the last lines are written"]
pub struct Telemetry(());

impl Telemetry {
    /// Begins to log to stderr, panics too. Once a process: a second call changes nothing.
    ///
    /// # Errors
    /// When the machine gives no thread to write with.
    pub fn start(log: &Log) -> io::Result<Telemetry> {
        let terminal = io::stderr().is_terminal();
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Telemetry::start_with(log, io::stderr(), terminal, colours)
    }

    /// The same to another place than stderr, as text without colours where the format is `auto`.
    ///
    /// # Errors
    /// See [`Telemetry::start`].
    pub fn start_to(log: &Log, out: impl io::Write + Send + 'static) -> io::Result<Telemetry> {
        Telemetry::start_with(log, out, true, false)
    }

    fn start_with(
        log: &Log,
        out: impl io::Write + Send + 'static,
        terminal: bool,
        colours: bool,
    ) -> io::Result<Telemetry> {
        let queue = LineQueue::start(out)?;
        if LINES.set(queue.clone()).is_ok() {
            // It only fails where a log is running already.
            let _ = dispatch(log, terminal, colours, queue).try_init();
            std::panic::set_hook(Box::new(log_panic));
        }
        Ok(Telemetry(()))
    }

    /// See [`dropped_lines`].
    pub fn dropped_lines(&self) -> u64 {
        dropped_lines()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        flush(LAST_LINES);
    }
}

/// How many lines were not written since the process began: stderr stalled, or closed.
pub fn dropped_lines() -> u64 {
    LINES.get().map_or(0, LineQueue::dropped)
}

/// Waits until all lines so far are written, at most `patience`.
pub fn flush(patience: Duration) {
    if let Some(lines) = LINES.get() {
        lines.flush(patience);
    }
}

fn dispatch(log: &Log, terminal: bool, colours: bool, lines: LineQueue) -> tracing::Dispatch {
    let level = log.level.parse().unwrap_or(LevelFilter::INFO);
    // Both crates of ours begin so. What others log in detail is theirs, and may hold what we never log.
    let levels = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_target("mailroom", level)
        // What librdkafka has to say our own clients tell, without a flood of lines.
        .with_target("librdkafka", LevelFilter::OFF)
        .with_target("rdkafka", LevelFilter::OFF);
    // Internal errors would be printed to stderr directly, which panics when it is closed.
    let layer = fmt::layer().log_internal_errors(false).with_writer(move || lines.clone());
    let as_text = match log.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    if as_text {
        tracing_subscriber::registry().with(layer.with_ansi(colours).with_filter(levels)).into()
    } else {
        let json = layer.json().flatten_event(true).with_current_span(false).with_span_list(false);
        tracing_subscriber::registry().with(json.with_filter(levels)).into()
    }
}

/// One error line. A text that was put together at run time may hold data, and is withheld.
fn log_panic(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let reason = match info.payload().downcast_ref::<&'static str>() {
        Some(text) => text,
        None => "withheld: it may hold data",
    };
    note_panic(format!("{reason} ({location})"));
    tracing::error!(location, thread = thread.name().unwrap_or("unnamed"), reason, "panicked");
    flush(PANIC_LINE);
}

#[cfg(test)]
mod tests;
