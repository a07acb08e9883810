//! Where in the live view one is, and how keys lead from there to somewhere else.

use crate::demo::letter::Letter;

/// What fills the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    #[default]
    Overview,
    /// The list of dead letters. Chosen is the one at this offset of the topic; none: always the newest.
    Letters { chosen: Option<i64> },
    /// One of them, so many lines scrolled down.
    Letter { offset: i64, scrolled: u16 },
}

/// A step within the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// To the letters, and from them back.
    Letters,
    /// So many lines down, or up.
    Lines(i32),
    First,
    Last,
    /// Into the one that is chosen.
    In,
    /// Back to where one came from.
    Out,
}

impl Place {
    /// The next place. `letters` are those that there are, the newest first.
    pub fn moved(self, movement: Movement, letters: &[Letter]) -> Place {
        match (self, movement) {
            (Place::Overview, Movement::Letters | Movement::In) => Place::Letters { chosen: None },
            (Place::Overview, _) => self,
            (Place::Letters { .. }, Movement::Letters | Movement::Out) => Place::Overview,
            (Place::Letters { chosen }, Movement::In) => match letters.get(index(chosen, letters)) {
                Some(letter) => Place::Letter { offset: letter.offset, scrolled: 0 },
                None => self,
            },
            (Place::Letters { chosen }, _) => {
                let last = letters.len().saturating_sub(1);
                let now = index(chosen, letters);
                let next = match movement {
                    Movement::Lines(lines) => now.saturating_add_signed(lines as isize).min(last),
                    Movement::Last => last,
                    _ => 0,
                };
                let chosen = letters.get(next).filter(|_| next > 0).map(|letter| letter.offset);
                Place::Letters { chosen }
            }
            (Place::Letter { .. }, Movement::Letters) => Place::Overview,
            (Place::Letter { offset, .. }, Movement::In | Movement::Out) => {
                Place::Letters { chosen: Some(offset) }
            }
            (Place::Letter { offset, scrolled }, _) => {
                let scrolled = match movement {
                    Movement::Lines(lines) => (i32::from(scrolled) + lines).clamp(0, 1_000) as u16,
                    _ => 0,
                };
                Place::Letter { offset, scrolled }
            }
        }
    }
}

/// Where the chosen letter stands among them; the newest where none is chosen, and where it is gone.
pub fn index(chosen: Option<i64>, letters: &[Letter]) -> usize {
    chosen.and_then(|offset| letters.iter().position(|letter| letter.offset == offset)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(offsets: std::ops::Range<i64>) -> Vec<Letter> {
        offsets.rev().map(|offset| Letter { offset, ..Letter::default() }).collect()
    }

    #[test]
    fn the_newest_is_followed_until_another_is_chosen_and_that_one_is_kept() {
        let place = Place::Overview.moved(Movement::Letters, &letters(0..5));
        assert_eq!(place, Place::Letters { chosen: None });
        let place = place.moved(Movement::Lines(2), &letters(0..5));
        assert_eq!(place, Place::Letters { chosen: Some(2) });
        // Two more have come: the same letter is chosen.
        let place = place.moved(Movement::Lines(-1), &letters(0..7));
        assert_eq!(place, Place::Letters { chosen: Some(3) });
        assert_eq!(place.moved(Movement::Lines(-9), &letters(0..7)), Place::Letters { chosen: None });
        assert_eq!(place.moved(Movement::Last, &letters(0..7)), Place::Letters { chosen: Some(0) });
    }

    #[test]
    fn enter_shows_the_chosen_one_and_escape_leads_back_to_it() {
        let all = letters(0..5);
        let place = Place::Letters { chosen: Some(3) }.moved(Movement::In, &all);
        assert_eq!(place, Place::Letter { offset: 3, scrolled: 0 });
        let place = place.moved(Movement::Lines(4), &all);
        assert_eq!(place, Place::Letter { offset: 3, scrolled: 4 });
        let place = place.moved(Movement::Out, &all);
        assert_eq!(place, Place::Letters { chosen: Some(3) });
        assert_eq!(place.moved(Movement::Out, &all), Place::Overview);
    }

    proptest! {
        #[test]
        fn nothing_leads_astray(steps in proptest::collection::vec((0usize..6, -300i32..300, 0i64..20), 0..50)) {
            let mut place = Place::Overview;
            for (what, lines, first) in steps {
                let movement = [
                    Movement::Letters, Movement::Lines(lines), Movement::First, Movement::Last, Movement::In, Movement::Out,
                ][what];
                let all = letters(first..first * 2);
                place = place.moved(movement, &all);
                if let Place::Letters { chosen: Some(offset) } = place {
                    prop_assert!(movement == Movement::Out || movement == Movement::In || (first..first * 2).contains(&offset));
                }
            }
        }
    }
}
