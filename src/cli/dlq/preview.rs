//! What an act would do, in words.

use super::{ls, words};
use crate::dlq::view::PreviewView;

/// How many of how many, why not the others, which causes, and a few of the letters.
pub(super) fn in_words(action: &str, preview: &PreviewView) -> String {
    let mut told = format!("{action}: {} of {} that match", words::letters(preview.will), preview.matched);
    let skipped = words::counts(&preview.skipped);
    let causes = words::counts(&preview.causes);
    let left_for_later = preview.matched - preview.will - preview.skipped.values().sum::<u64>();
    for (name, what) in [("skipped", skipped), ("causes", causes)] {
        if !what.is_empty() {
            told += &format!("\n{name}: {what}");
        }
    }
    if left_for_later > 0 {
        told += &format!("\nleft for later by --max: {left_for_later}");
    }
    if preview.will > 0 {
        told += &format!("\n\n{}", ls::table(&preview.samples));
        let more = preview.will.saturating_sub(preview.samples.len() as u64);
        if more > 0 {
            told += &format!("\n… and {more} more");
        }
    }
    told + advice(preview)
}

/// What would take the letters along that are skipped, where something does.
fn advice(preview: &PreviewView) -> &'static str {
    let skipped = |name: &str| preview.skipped.get(name).is_some_and(|count| *count > 0);
    match (skipped("permanent"), skipped("parked")) {
        (true, true) => "\n\nskipped as permanent or parked: --include permanent,parked takes them along",
        (true, false) => {
            "\n\nskipped as permanent, since the same job will fail again: --include permanent takes them along"
        }
        (false, true) => "\n\nskipped as parked, since they need a human: --include parked takes them along",
        (false, false) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_says_how_many_and_why_not_the_others() {
        let preview = PreviewView {
            matched: 10,
            will: 3,
            skipped: [("expired", 2), ("parked", 1), ("already", 0)].into(),
            causes: [("quota", 3)].into(),
            samples: Vec::new(),
            complete: true,
            guarantee: "exactly-once",
        };
        let told = in_words("replay", &preview);
        let lines: Vec<&str> = told.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines[..4],
            [
                "replay: 3 letters of 10 that match",
                "skipped: 2 expired, 1 parked",
                "causes: 3 quota",
                "left for later by --max: 4",
            ]
        );
        assert!(told.contains("and 3 more") && told.ends_with("--include parked takes them along"), "{told}");
        let nothing = PreviewView { matched: 0, will: 0, skipped: [].into(), causes: [].into(), ..preview };
        assert_eq!(in_words("discard", &nothing), "discard: 0 letters of 0 that match");
    }
}
