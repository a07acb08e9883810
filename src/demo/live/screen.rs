//! The terminal while the live view has it, and the keys pressed on it.

use std::io::{self, BufWriter, Stdout, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::Rect;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::demo::background::Background;

/// How long one look for a key may take, and so how late the end may be noticed.
const LOOK: Duration = Duration::from_millis(50);
/// A frame goes out in one write, as far as it has room in this.
const FRAME_BYTES: usize = 64 * 1024;

/// The terminal, taken. Dropping it, also while a panic unwinds, gives it back as it was.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    events: UnboundedReceiver<Event>,
    gone: Arc<AtomicBool>,
    _guard: Guard,
}

impl Screen {
    /// Takes the terminal of this process: the other screen, no echo, keys as they are pressed.
    ///
    /// # Errors
    /// When there is no terminal, or it has no size.
    pub(super) fn take() -> io::Result<Screen> {
        let guard = Guard::take()?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME_BYTES, io::stdout()));
        let terminal = Terminal::new(backend)?;
        let (sender, events) = unbounded_channel();
        let gone = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&gone);
        Background::start("demo-keys", move || read_keys(&sender, &until))?;
        Ok(Screen { terminal, events, gone, _guard: guard })
    }

    /// The next key, or a new size. None: the terminal can't be read any more. May be cancelled without losing one.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Draws one frame.
    ///
    /// # Errors
    /// When the terminal does not take it.
    pub(super) fn draw(&mut self, render: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(render).map(|_| ())
    }

    /// The next frame is drawn whole: what was on the screen may have been spoiled.
    pub(super) fn forget(&mut self, width: u16, height: u16) -> io::Result<()> {
        self.terminal.resize(Rect::new(0, 0, width, height))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

fn read_keys(sender: &UnboundedSender<Event>, gone: &AtomicBool) {
    while !gone.load(Ordering::Relaxed) {
        match event::poll(LOOK) {
            Ok(false) => {}
            Ok(true) => {
                let Ok(event) = event::read() else { return };
                if sender.send(event).is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// Gives the terminal back, whatever else has failed.
struct Guard;

impl Guard {
    fn take() -> io::Result<Guard> {
        enable_raw_mode()?;
        // From here on a drop undoes all, also what has not come about.
        let guard = Guard;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Where the terminal is gone nothing is left to be given back.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}
