//! Who sits there: the login, and what is answered to a question.

use std::io::{self, BufRead, IsTerminal, Write};

/// The longest name that is kept.
const MAX_NAME: usize = 64;

/// The login that acts are kept under.
pub(super) fn login() -> String {
    let uid = nix::unistd::getuid();
    let names = ["USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    // In a container, and under a service manager, the environment often names nobody.
    let of_the_system = || nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    login_of(names.chain(std::iter::once_with(of_the_system).flatten()), uid.as_raw())
}

fn login_of(mut names: impl Iterator<Item = String>, uid: u32) -> String {
    let usable = |name: &String| !name.trim().is_empty() && !name.chars().any(char::is_control);
    let name = names.find(usable).map(|name| name.trim().chars().take(MAX_NAME).collect());
    name.unwrap_or_else(|| format!("uid {uid}"))
}

/// Whether somebody can be asked: reads what we write, and can answer.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on stderr; only `y` or `yes` is yes.
pub(super) fn agrees(question: &str) -> bool {
    let mut err = io::stderr().lock();
    // Where it can't be written nobody answers either.
    let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && is_yes(&answer)
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_has_a_name_for_who_runs_this() {
        let name = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
        assert_eq!(login_of(std::iter::once(name.clone()), 7), name);
        assert!(!login().is_empty());
    }

    #[test]
    fn who_has_no_name_is_known_by_number() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(login_of(names(&["ada", "grace"]).into_iter(), 7), "ada");
        assert_eq!(login_of(names(&["", " grace "]).into_iter(), 7), "grace");
        assert_eq!(login_of(names(&["\x1b[2J"]).into_iter(), 7), "uid 7");
        assert_eq!(login_of(names(&[&"a".repeat(100)]).into_iter(), 7).len(), MAX_NAME);
    }

    #[test]
    fn only_yes_is_yes() {
        for (answer, expected) in
            [("y\n", true), ("Yes\r\n", true), ("", false), ("\n", false), ("yep", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer}");
        }
    }
}
