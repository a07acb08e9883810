//! What log lines say of a job beside its place on the queue: its tags.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::domain::job::Record;
use crate::ports::Composer;

/// The job's tags for the line that says what became of it; none where it has none, or nobody would read the line. Should a
/// job make reading its tags panic, they are left out.
pub fn shown(record: &Record, composer: &dyn Composer) -> Option<String> {
    if !tracing::enabled!(tracing::Level::INFO) {
        return None;
    }
    catch_unwind(AssertUnwindSafe(|| composer.tags(record))).ok().flatten()
}
