//! What each key means.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::place::{Movement, Place};

/// What somebody at the keys wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The relay goes down, or comes up again.
    Relay,
    /// The relay becomes slow, or fast again.
    Slow,
    /// The relay takes only a few e-mails a second, or as many as come.
    TooMany,
    KillMailer,
    /// Twice as many mailers.
    Grow,
    /// Half as many.
    Shrink,
    /// The worker takes no more jobs, or takes them again.
    Pause,
    /// The dead letters whose causes may pass go back on the queue.
    Replay,
    Move(Movement),
    /// End the demo; a second time: at once.
    Quit,
}

/// Lines that a page is moved by.
const PAGE: i32 = 10;

/// What the key means at this place; none: nothing.
pub fn action(key: &KeyEvent, place: Place) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
    }
    let action = match key.code {
        KeyCode::Char(letter) => match letter.to_ascii_lowercase() {
            'q' => Action::Quit,
            'd' => Action::Relay,
            's' => Action::Slow,
            't' => Action::TooMany,
            'k' => Action::KillMailer,
            'p' => Action::Pause,
            'r' => Action::Replay,
            '+' | '=' => Action::Grow,
            '-' | '_' => Action::Shrink,
            'l' => Action::Move(Movement::Letters),
            ' ' if place != Place::Overview => Action::Move(Movement::Lines(PAGE)),
            _ => return None,
        },
        KeyCode::Up => Action::Move(Movement::Lines(-1)),
        KeyCode::Down => Action::Move(Movement::Lines(1)),
        KeyCode::PageUp => Action::Move(Movement::Lines(-PAGE)),
        KeyCode::PageDown => Action::Move(Movement::Lines(PAGE)),
        KeyCode::Home => Action::Move(Movement::First),
        KeyCode::End => Action::Move(Movement::Last),
        KeyCode::Enter | KeyCode::Right => Action::Move(Movement::In),
        KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Action::Move(Movement::Out),
        _ => return None,
    };
    Some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(code: KeyCode) -> Option<Action> {
        action(&KeyEvent::new(code, KeyModifiers::NONE), Place::Overview)
    }

    #[test]
    fn each_key_on_the_screen_means_what_the_screen_says() {
        for (key, expected) in [
            ('d', Action::Relay),
            ('s', Action::Slow),
            ('t', Action::TooMany),
            ('k', Action::KillMailer),
            ('p', Action::Pause),
            ('r', Action::Replay),
            ('+', Action::Grow),
            ('-', Action::Shrink),
            ('l', Action::Move(Movement::Letters)),
            ('q', Action::Quit),
            ('Q', Action::Quit),
        ] {
            assert_eq!(pressed(KeyCode::Char(key)), Some(expected));
        }
        assert_eq!(pressed(KeyCode::Char('x')), None);
        assert_eq!(pressed(KeyCode::Char(' ')), None);
        assert_eq!(pressed(KeyCode::Enter), Some(Action::Move(Movement::In)));
        assert_eq!(pressed(KeyCode::F(1)), None);
    }

    #[test]
    fn only_control_c_is_meant_with_control_and_a_release_means_nothing() {
        let control = |letter| KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
        assert_eq!(action(&control('c'), Place::Overview), Some(Action::Quit));
        assert_eq!(action(&control('d'), Place::Overview), None);
        let mut released = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        released.kind = KeyEventKind::Release;
        assert_eq!(action(&released, Place::Overview), None);
    }
}
