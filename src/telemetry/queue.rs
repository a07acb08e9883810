//! The lines on their way to the log: bounded, written by a thread of their own, dropped where it is too slow.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// More lines than this do not wait.
const MAX_LINES: usize = 8192;
/// More bytes than this do not wait.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A writer that never blocks and never fails; each call of `write` is one line. A copy is the same queue.
///
/// It is our own, and not tracing-appender's, since the guard of that prints to stdout when stderr has
/// stalled, and panics there when stdout is closed.
#[derive(Clone)]
pub(super) struct LineQueue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is something to write.
    filled: Condvar,
    /// All has been written.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    waiting_lines: usize,
    /// What the thread has in hand counts against the bounds too.
    being_written: usize,
    lines_being_written: usize,
    dropped: u64,
}

impl LineQueue {
    /// Starts the thread that writes to `out`, and lives as long as the process.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn start(mut out: impl Write + Send + 'static) -> io::Result<LineQueue> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new() });
        let queue = LineQueue(Arc::clone(&shared));
        std::thread::Builder::new().name("log".into()).spawn(move || {
            loop {
                let lines = shared.take();
                let written = out.write_all(&lines).and_then(|()| out.flush()).is_ok();
                shared.put_down(written);
            }
        })?;
        Ok(queue)
    }

    /// How many lines there was no room for, or nobody to read them.
    pub fn dropped(&self) -> u64 {
        self.0.state.lock().dropped
    }

    /// Waits until all has been written, at most `patience`.
    pub fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.0.state.lock();
        while state.lines() > 0 {
            if self.0.emptied.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }
}

impl State {
    fn lines(&self) -> usize {
        self.waiting_lines + self.lines_being_written
    }
}

impl Shared {
    /// Waits for lines, and takes all there are.
    fn take(&self) -> Vec<u8> {
        let mut state = self.state.lock();
        while state.waiting_lines == 0 {
            self.filled.wait(&mut state);
        }
        let lines = std::mem::take(&mut state.waiting);
        state.being_written = lines.len();
        state.lines_being_written = std::mem::take(&mut state.waiting_lines);
        lines
    }

    fn put_down(&self, written: bool) {
        let mut state = self.state.lock();
        if !written {
            state.dropped += state.lines_being_written as u64;
        }
        state.being_written = 0;
        state.lines_being_written = 0;
        if state.lines() == 0 {
            self.emptied.notify_all();
        }
    }
}

impl Write for LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        let bytes = state.waiting.len() + state.being_written + line.len();
        if state.lines() < MAX_LINES && bytes <= MAX_BYTES {
            state.waiting.extend_from_slice(line);
            state.waiting_lines += 1;
            self.0.filled.notify_one();
        } else {
            state.dropped += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Long, and never waited for where all is well.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Tells what it is given, then waits to be let on.
    struct Stalling {
        told: SyncSender<Vec<u8>>,
        go_on: Receiver<()>,
    }

    impl Write for Stalling {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.told.send(bytes.to_vec()).map_err(io::Error::other)?;
            self.go_on.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalling() -> (LineQueue, Receiver<Vec<u8>>, SyncSender<()>) {
        let (told, lines) = sync_channel(1000);
        let (let_on, go_on) = sync_channel(1000);
        (LineQueue::start(Stalling { told, go_on }).expect("a thread"), lines, let_on)
    }

    #[test]
    fn a_stalled_reader_blocks_nobody_and_the_lines_over_the_bound_are_counted() {
        let (mut queue, lines, let_on) = stalling();
        queue.write_all(b"first\n").expect("never fails");
        assert_eq!(lines.recv().expect("the thread runs"), b"first\n");
        // The thread holds one line and writes no more.
        for _ in 0..MAX_LINES + 9 {
            queue.write_all(b"more\n").expect("never fails");
        }
        assert_eq!(queue.dropped(), 10);
        queue.flush(Duration::from_millis(1));
        let_on.send(()).expect("the thread runs");
        assert_eq!(lines.recv().expect("the thread runs").len(), (MAX_LINES - 1) * "more\n".len());
        let_on.send(()).expect("the thread runs");
        queue.flush(PATIENCE);
        queue.write_all(b"after\n").expect("never fails");
        assert_eq!(lines.recv().expect("the thread runs"), b"after\n");
        assert_eq!(queue.dropped(), 10);
    }

    #[test]
    fn bytes_have_a_bound_too() {
        let (mut queue, lines, let_on) = stalling();
        let half = vec![b'x'; MAX_BYTES / 2];
        queue.write_all(&half).expect("never fails");
        lines.recv().expect("the thread runs");
        queue.write_all(&half).expect("never fails");
        assert_eq!(queue.dropped(), 0);
        queue.write_all(b"x").expect("never fails");
        assert_eq!(queue.dropped(), 1);
        drop(let_on);
    }

    #[test]
    fn a_closed_log_is_no_failure_and_its_lines_count_as_dropped() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut queue = LineQueue::start(Closed).expect("a thread");
        for sent in 1..=3 {
            queue.write_all(b"line\n").expect("never fails");
            queue.flush(PATIENCE);
            assert_eq!(queue.dropped(), sent);
        }
    }
}
