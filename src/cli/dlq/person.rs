//! Who sits there: the login, and what is answered to a question.

use std::io::{self, BufRead, IsTerminal, Write};

/// The longest name that is kept.
const MAX_NAME: usize = 64;

/// The login that acts are kept under.
pub(super) fn login() -> String {
    let uid = nix::unistd::getuid();
    let names = ["USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let of_the_system = || nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    login_of(names, of_the_system, uid.as_raw())
}

/// In a container, and under a service manager, the environment often names nobody: then the system is asked.
fn login_of(
    names: impl Iterator<Item = String>,
    of_the_system: impl FnOnce() -> Option<String>,
    uid: u32,
) -> String {
    let mut names = names.chain(std::iter::once_with(of_the_system).flatten());
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
    fn who_has_no_name_is_known_by_number() {
        let of = |names: &[&str], of_the_system: Option<&str>| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            login_of(names.into_iter(), || of_the_system.map(str::to_owned), 7)
        };
        assert_eq!(of(&["ada", "grace"], Some("root")), "ada");
        assert_eq!(of(&["", " grace "], Some("root")), "grace");
        assert_eq!(of(&[], Some("root")), "root");
        assert_eq!(of(&["\x1b[2J"], None), "uid 7");
        assert_eq!(of(&[], Some("\n")), "uid 7");
        assert_eq!(of(&[&"a".repeat(100)], None).len(), MAX_NAME);
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
