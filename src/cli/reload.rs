//! Reloads the templates on SIGHUP, on a thread of its own: no actor waits for the disk.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::notify::Notifier;
use crate::templates::{Mistakes, TemplateStore};

/// So many mistakes stand in a log line; `mailroom check` tells all.
const MISTAKES_IN_A_LINE: usize = 20;

/// Reloads once for each of `hangups`; the thread ends with the process.
///
/// # Errors
/// When the machine gives no thread.
pub(super) fn on(
    mut hangups: mpsc::Receiver<()>,
    templates: Arc<TemplateStore>,
    notifier: Notifier,
) -> io::Result<()> {
    std::thread::Builder::new().name("templates".into()).spawn(move || {
        while hangups.blocking_recv().is_some() {
            notifier.reloading();
            reload(&templates);
            notifier.ready();
        }
    })?;
    Ok(())
}

fn reload(templates: &TemplateStore) {
    match templates.reload() {
        Ok(Some(templates)) => {
            tracing::info!(templates = templates.names().count(), "templates reloaded");
            for text in templates.warnings() {
                tracing::warn!(key = "templates.dir", text, "configuration");
            }
        }
        Ok(None) => tracing::info!("there is no templates.dir, so nothing to reload"),
        Err(mistakes) => {
            let mistakes = in_a_line(&mistakes);
            tracing::error!(mistakes, "templates not reloaded, the old ones stay");
        }
    }
}

fn in_a_line(Mistakes(mistakes): &Mistakes) -> String {
    let told: Vec<_> = mistakes.iter().take(MISTAKES_IN_A_LINE).map(ToString::to_string).collect();
    let more = match mistakes.len() - told.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    told.join("; ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::templates::Mistake;

    #[test]
    fn a_line_has_a_bounded_number_of_mistakes() {
        let mistake = |n: usize| Mistake { file: Some("a.txt".into()), line: Some(n), what: "wrong".into() };
        let few = in_a_line(&Mistakes((1..3).map(mistake).collect()));
        assert_eq!(few, "a.txt:1: wrong; a.txt:2: wrong");
        let many = in_a_line(&Mistakes((1..31).map(mistake).collect()));
        assert!(many.ends_with("a.txt:20: wrong; and 10 more"), "{many}");
    }
}
