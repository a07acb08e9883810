//! Logs to stderr: JSON where nobody looks at a terminal, and a writer that neither blocks nor panics.
//!
//! A thread of its own writes. When stderr is stalled or closed, lines beyond [`BUFFERED_LINES`] are dropped
//! and counted; no mailer ever waits for a log line.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use mailroom_actors::guard::note_panic;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{Log, LogFormat};

/// Lines that wait for the writer, at most.
const BUFFERED_LINES: usize = 8192;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Keeps the writer alive; dropping it writes what is left, waiting a second or so at most.
pub struct Telemetry {
    _writer: WorkerGuard,
}

/// Log lines that were dropped since the start.
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

/// Starts logging, and logs panics from now on. Called once a process; a second call changes nothing but
/// keeps its own writer.
pub fn start(config: &Log) -> Telemetry {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(BUFFERED_LINES)
        .thread_name("log-writer")
        .finish(io::stderr());
    DROPPED.get_or_init(|| writer.error_counter());
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.level))
        .with_span_events(FmtSpan::NONE)
        .with_writer(writer);
    let started = if json {
        let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
        tracing::subscriber::set_global_default(builder.finish())
    } else {
        tracing::subscriber::set_global_default(builder.with_ansi(io::stderr().is_terminal()).finish())
    };
    if started.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
    Telemetry { _writer: guard }
}

/// Our own lines at the wanted level, other libraries' warnings only.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!(
        "warn,mailroom={level},mailroom_actors={level},actix_server=warn,actix_http=off,actix_web=warn,librdkafka=off,rdkafka=off"
    ))
}

/// One error line a panic. A formatted message may hold data of a job, so only constant ones are shown.
fn log_panic(info: &PanicHookInfo<'_>) {
    let message =
        info.payload().downcast_ref::<&'static str>().copied().unwrap_or("a formatted message, withheld");
    let location = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
    note_panic(format!("{message} ({location})"));
    let thread = std::thread::current();
    tracing::error!(panic = message, location, thread = thread.name().unwrap_or("unnamed"), "panicked");
}
