//! The limit on file descriptors, raised to what `mailers.max` connections need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// For all but the connections to the relay: Kafka's, HTTP's, files, and those that are just being closed.
const RESERVE: u64 = 256;

/// Raises this process's soft limit to what so many mailers need, at most to the hard limit. A limit that is high
/// enough stays as it is.
///
/// # Errors
/// When that is too little: in words, with the number needed, the limit, and the remedy. The limit is raised as
/// far as it goes all the same.
pub fn provide_for(mailers: usize) -> Result<(), String> {
    let needed = needed(mailers);
    let limit = getrlimit(Resource::Nofile);
    if let Some(raised) = raised(limit, needed) {
        setrlimit(Resource::Nofile, raised).map_err(|error| too_low(needed, limit.current, &error))?;
    }
    match limit.maximum {
        Some(maximum) if maximum < needed => Err(too_low(needed, limit.maximum, &"the hard limit is lower")),
        _ => Ok(()),
    }
}

fn needed(mailers: usize) -> u64 {
    u64::try_from(mailers).unwrap_or(u64::MAX).saturating_add(RESERVE)
}

/// The limit to set; none where the present one is enough, or can't be raised.
fn raised(limit: Rlimit, needed: u64) -> Option<Rlimit> {
    // None is no limit.
    let current = limit.current?;
    let target = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    (current < target).then_some(Rlimit { current: Some(target), maximum: limit.maximum })
}

fn too_low(needed: u64, limit: Option<u64>, why: &dyn std::fmt::Display) -> String {
    let limit = limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    format!(
        "so many connections need {needed} file descriptors, and this process may have {limit} ({why}): raise the \
         limit (ulimit -n {needed}, or LimitNOFILE={needed} in a systemd unit), or lower mailers.max"
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn limit(current: u64, maximum: u64) -> Rlimit {
        Rlimit { current: Some(current), maximum: Some(maximum) }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_is_needed_and_allowed_and_never_lowered() {
        assert_eq!(needed(4096), 4352);
        assert_eq!(raised(limit(1024, 524_288), 4352), Some(limit(4352, 524_288)));
        assert_eq!(raised(limit(1024, 2048), 4352), Some(limit(2048, 2048)));
        assert_eq!(raised(limit(4352, 524_288), 4352), None);
        assert_eq!(raised(limit(20_000, 20_000), 4352), None);
        assert_eq!(raised(limit(1024, 1024), 4352), None);
        let unlimited = Rlimit { current: Some(1024), maximum: None };
        assert_eq!(raised(unlimited, 4352), Some(Rlimit { current: Some(4352), maximum: None }));
        assert_eq!(raised(Rlimit { current: None, maximum: None }, 4352), None);
    }

    /// Says to this test that it runs in a process of its own, and which limits that has.
    const IN_A_CHILD: &str = "MAILROOM_TEST_LIMITS";

    #[test]
    fn a_process_with_less_gets_more_or_says_what_is_missing() {
        match std::env::var(IN_A_CHILD).as_deref() {
            Ok("soft") => {
                assert_eq!(provide_for(100), Ok(()));
                assert_eq!(getrlimit(Resource::Nofile).current, Some(356));
            }
            Ok(_) => {
                let text = provide_for(1000).expect_err("the hard limit is 300");
                assert_eq!(getrlimit(Resource::Nofile).current, Some(300));
                for part in ["need 1256 ", "may have 300 ", "ulimit -n 1256", "LimitNOFILE=1256"] {
                    assert!(text.contains(part), "{text}");
                }
            }
            Err(_) => {
                in_a_child("soft", "ulimit -S -n 250");
                in_a_child("hard", "ulimit -S -n 250; ulimit -H -n 300");
            }
        }
    }

    /// This test once more, behind a shell that sets the limits.
    fn in_a_child(limits: &str, command: &str) {
        let name = "descriptors::tests::a_process_with_less_gets_more_or_says_what_is_missing";
        let output = Command::new("sh")
            .args(["-c", &format!("{command}; exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().expect("the tests' own binary"))
            .args(["--exact", name])
            .env(IN_A_CHILD, limits)
            .output()
            .expect("there is a shell");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
