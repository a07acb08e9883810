//! Named places at which a test ends the process as kill -9 does, freezes it, or has its thread hang for ever. Without the feature
//! `kill-points`, which is off by default, there is nothing of this in the binary.

/// Does what the environment says of this point, when it is reached for the `N`-th time (`N` from 1):
/// `MAILROOM_KILL_AT="POINT:N"` ends the process, without unwinding or flushing; `MAILROOM_HANG_AT="POINT:N"` never
/// gives the thread back, and the actors have only one; `MAILROOM_FREEZE_AT="POINT:N"` stops all of it, by SIGSTOP, until
/// somebody sends SIGCONT.
#[cfg(feature = "kill-points")]
pub fn reach(point: &'static str) {
    static KILL: Trap = Trap::named("MAILROOM_KILL_AT");
    static FREEZE: Trap = Trap::named("MAILROOM_FREEZE_AT");
    static HANG: Trap = Trap::named("MAILROOM_HANG_AT");

    if KILL.springs_at(point) {
        std::process::abort();
    }
    if FREEZE.springs_at(point) {
        // Where there is no shell the test waits in vain, and says so.
        let _ = std::process::Command::new("sh").args(["-c", "kill -s STOP $PPID"]).status();
    }
    if HANG.springs_at(point) {
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(feature = "kill-points"))]
#[inline(always)]
pub fn reach(_point: &'static str) {}

/// One variable of the environment, and how often its point has been reached.
#[cfg(feature = "kill-points")]
struct Trap {
    variable: &'static str,
    wanted: std::sync::OnceLock<Option<(String, u64)>>,
    reached: std::sync::atomic::AtomicU64,
}

#[cfg(feature = "kill-points")]
impl Trap {
    const fn named(variable: &'static str) -> Trap {
        let reached = std::sync::atomic::AtomicU64::new(0);
        Trap { variable, wanted: std::sync::OnceLock::new(), reached }
    }

    fn springs_at(&self, point: &str) -> bool {
        let wanted = self.wanted.get_or_init(|| {
            let text = std::env::var(self.variable).ok()?;
            let (name, times) = text.rsplit_once(':')?;
            Some((name.to_owned(), times.parse().ok()?))
        });
        matches!(wanted, Some((name, times)) if name == point
            && self.reached.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == *times)
    }
}
