//! Named places at which a test ends the process as kill -9 does. Without the feature `kill-points`, which is off by
//! default, there is nothing of this in the binary.

/// Ends the process, without unwinding or flushing, when the environment says so:
/// `MAILROOM_KILL_AT="POINT:N"` names this point, and it is reached for the `N`-th time (`N` from 1).
#[cfg(feature = "kill-points")]
pub fn reach(point: &'static str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let text = std::env::var("MAILROOM_KILL_AT").ok()?;
        let (name, times) = text.rsplit_once(':')?;
        Some((name.to_owned(), times.parse().ok()?))
    });
    static REACHED: AtomicU64 = AtomicU64::new(0);

    if let Some((name, times)) = WANTED.as_ref()
        && name == point
        && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *times
    {
        std::process::abort();
    }
}

#[cfg(not(feature = "kill-points"))]
#[inline(always)]
pub fn reach(_point: &'static str) {}
