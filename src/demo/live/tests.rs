//! What the live view looks like, drawn on a terminal in memory.

use std::net::{Ipv4Addr, SocketAddr};

use mailroom_actors::domain::failure::Cause;
use mailroom_actors::domain::letters::decision::State;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::journal::Entry;
use super::place::Movement;
use super::*;
use crate::demo::letter::{Attempt, Source};
use crate::dlq::view::GroupView;

/// Everything that a scene refers to.
struct World {
    readings: Readings,
    history: History,
    reasons: Vec<(Cause, String, u64)>,
    groups: Vec<GroupView>,
    letters: Vec<Letter>,
    journal: Vec<Entry>,
}

fn world() -> World {
    let mut history = History::default();
    let mut sent = 0;
    for second in 0..=90u64 {
        history.look(Duration::from_secs(second), sent);
        sent += [20, 22, 19, 0][(second / 20 % 4) as usize];
    }
    let letter = |offset: i64, cause: &str, to: &str, reason: &str| Letter {
        offset,
        state: Some(if offset % 2 == 0 { State::Waiting } else { State::Replayed }),
        cause: cause.into(),
        stage: "rcpt".into(),
        error_reason: reason.into(),
        smtp_code: Some(550),
        enhanced_code: Some("5.1.1".into()),
        recipients: vec![to.into()],
        retry_count: 1,
        failed_at: format!("2026-11-24T21:31:{:02}.123456Z", offset % 60),
        worker_id: "demo".into(),
        attempts: vec![Attempt {
            number: 1,
            at: "2026-11-24T21:31:41.148000Z".into(),
            stage: "rcpt".into(),
            error: reason.into(),
            took_ms: 3,
        }],
        source: Source { topic: "email-queue".into(), partition: 3, offset: 161 },
        idempotency_key: "demo-647".into(),
        message_id: "<59a242ea@shop.example>".into(),
    };
    let group = |key: &str, states: [u64; 2], advice| GroupView {
        key: key.into(),
        count: states.iter().sum(),
        states: ["waiting", "replayed"].into_iter().zip(states).collect(),
        first: String::new(),
        last: String::new(),
        example: String::new(),
        advice,
    };
    World {
        groups: vec![
            group("invalid_recipient", [1_040, 0], "no"),
            group("throttled", [2, 7], "replay"),
            group("smtp_auth", [1, 0], "after-fix"),
        ],
        readings: Readings {
            backlog: 12,
            in_flight: 1_034,
            waiting: 34,
            sent: 12_345,
            dead_lettered: vec![("invalid_recipient".into(), 40), ("throttled".into(), 9)],
            pool_busy: 3,
            pool_size: 8,
            pool_allowed: 4,
            circuit: 0,
            paused: false,
            restarts: 1,
        },
        history,
        reasons: vec![
            (Cause::InvalidRecipient, "550 5.1.1 No such user".into(), 40),
            (Cause::Throttled, "451 4.7.1 Too many requests, says postmaster@customers.example".into(), 9),
        ],
        letters: (0..30)
            .rev()
            .map(|offset| match offset % 2 {
                0 => letter(offset, "invalid_recipient", "n***@customers.example", "550 5.1.1 No such user"),
                _ => letter(offset, "throttled", "b***@customers.example", "451 4.7.1 Too many requests"),
            })
            .collect(),
        journal: vec![
            Entry { at: Duration::from_secs(9), kind: Kind::Deed, text: "there are 8 mailers".into() },
            Entry {
                at: Duration::from_secs(61),
                kind: Kind::Error,
                text: "actor died, starting it again".into(),
            },
            Entry { at: Duration::from_secs(75), kind: Kind::Warning, text: "circuit open".into() },
        ],
    }
}

fn scene(world: &World, place: Place) -> Scene<'_> {
    Scene {
        rate: 20,
        http: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
        elapsed: Duration::from_secs(90),
        phase: Phase::Performing,
        readings: Some(&world.readings),
        history: &world.history,
        relay: Relay { down: false, slow: false, too_many: true },
        reasons: &world.reasons,
        groups: &world.groups,
        letters: &world.letters,
        journal: &world.journal,
        place,
        theme: Theme { colours: true },
    }
}

fn drawn(scene: &Scene<'_>, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, scene)).unwrap();
    terminal
}

/// The lines of the screen, without spaces at their ends.
fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let row = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..buffer.area.height).map(|y| row(y).trim_end().to_owned()).collect()
}

#[test]
fn eighty_columns_and_24_lines_hold_all_that_matters() {
    let world = world();
    let text = lines(&drawn(&scene(&world, Place::Overview), 80, 24));
    let expected = r#" Mailroom demo   20 jobs a second   http://127.0.0.1:8080/health           1:30

 ▲ MAIL GOES OUT, HELD BACK   20 a second
   after "too many" or an outage 4 of 8 mailers may send; 1,046 jobs wait
─ Jobs ───────────  ─ Sent a second, the last minute (most 22) ─────────────────
queue           12  ██████████▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁                    ▃▃▃▃▃▃▃▃▃▃
in flight    1,034  ██████████████████████████████                    ██████████
  waiting       34  ██████████████████████████████                    ██████████
sent        12,345  ██████████████████████████████                    ██████████
dead-letters    49  ██████████████████████████████                    ██████████
                    ██████████████████████████████                    ██████████
─ Mailers ────────  ─ Why jobs became dead letters ─────────────────────────────
busy        3 of 8      40  invalid_recipient  550 5.1.1 No such user
■■■□····                 9  throttled          451 4.7.1 Too many requests, say…
allowed          4
circuit     closed
relay     5/s only
restarts         1
─ What happened ────────────────────────────────────────────────────────────────
 0:09 ► there are 8 mailers
 1:01 ! actor died, starting it again
 1:15 ! circuit open

 d down  s slow  t easy  k kill  +- pool  p pause  r replay  l letters  q end"#;
    assert_eq!(text, expected.lines().collect::<Vec<_>>());
}

#[test]
fn a_tall_terminal_shows_the_last_dead_letters_too_and_a_wide_one_whole_reasons() {
    let world = world();
    let text = lines(&drawn(&scene(&world, Place::Overview), 120, 40));
    let has = |what: &str| text.iter().any(|line| line.contains(what));
    assert!(has("451 4.7.1 Too many requests, says p***@customers.example"), "{text:#?}");
    assert!(has("─ The last dead letters ─"), "{text:#?}");
    assert!(
        has(" 21:31:29  replayed   throttled          b***@customers.example  451 4.7.1 Too many requests"),
        "{text:#?}"
    );
    assert!(has("─ What happened ─") && has("circuit open"), "{text:#?}");
    assert!(text[39].contains("q end"), "{text:#?}");
}

#[test]
fn the_chosen_letter_is_marked_and_in_sight_and_shown_in_full() {
    let world = world();
    let chosen =
        Place::Overview.moved(Movement::Letters, &world.letters).moved(Movement::Lines(25), &world.letters);
    assert_eq!(chosen, Place::Letters { chosen: Some(4) });
    let terminal = drawn(&scene(&world, chosen), 80, 24);
    let text = lines(&terminal);
    assert!(text[4].starts_with("─ Dead letters by cause ─"), "{text:#?}");
    let groups = [
        " 1,040  invalid_recipient  1,040 waiting                    no use to replay",
        "     9  throttled          2 waiting, 7 replayed            replay: it may pass",
        "     1  smtp_auth          1 waiting                        replay after a fix",
    ];
    assert_eq!(text[5..8], groups);
    assert!(text[8].starts_with("─ Dead letters: 26 of the last 30 ─"), "{text:#?}");
    assert_eq!(text[23], " ↑ ↓ choose  Enter shows one  r replay  Esc back  q end");
    let line = text
        .iter()
        .position(|line| line.starts_with(" 21:31:04  waiting    invalid_recipient"))
        .expect("in sight");
    let buffer = terminal.backend().buffer();
    let marked: Vec<usize> = (0..24)
        .filter(|y| buffer[(1, *y as u16)].modifier.contains(ratatui::style::Modifier::REVERSED))
        .collect();
    assert_eq!(marked, [line]);

    let text = lines(&drawn(&scene(&world, chosen.moved(Movement::In, &world.letters)), 80, 24)).join("\n");
    for told in [
        "─ Dead letter email-dlq-0-4 ─",
        " state        waiting\n",
        " cause        invalid_recipient\n",
        " reply        550 5.1.1\n",
        " not reached  n***@customers.example\n",
        "              1. 21:31:41.148  rcpt           3 ms  550 5.1.1 No such user\n",
        " job          email-queue-3-161\n",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    let gone = Place::Letter { offset: 77, scrolled: 0 };
    let text = lines(&drawn(&scene(&world, gone), 80, 24)).join("\n");
    assert!(text.contains("It is no longer among the last 200."), "{text}");
}

#[test]
fn without_colours_no_cell_has_one_and_the_words_say_it_all() {
    let mut world = world();
    world.readings.circuit = 2;
    for (colours, expected) in [(true, true), (false, false)] {
        let mut scene = scene(&world, Place::Overview);
        scene.theme = Theme { colours };
        let terminal = drawn(&scene, 120, 40);
        let cells = &terminal.backend().buffer().content;
        let coloured = cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured, expected);
        assert!(lines(&terminal)[2].contains("NO MAIL GOES OUT"));
    }
}

proptest! {
    #[test]
    fn no_terminal_is_too_small_and_no_scene_too_strange(
        (width, height) in (1u16..140, 1u16..50),
        (which, scrolled) in (0usize..5, any::<u16>()),
        numbers in proptest::collection::vec(any::<u32>(), 7),
        blind in any::<bool>(),
    ) {
        let mut world = world();
        let number = |index: usize| u64::from(numbers[index]);
        world.readings = Readings {
            backlog: number(0), in_flight: number(1), waiting: number(2), sent: number(3),
            pool_busy: number(4), pool_size: number(5), pool_allowed: number(6), ..Readings::default()
        };
        let place = [
            Place::Overview,
            Place::Letters { chosen: None },
            Place::Letters { chosen: Some(4) },
            Place::Letter { offset: 4, scrolled },
            Place::Letter { offset: -1, scrolled },
        ][which];
        let mut scene = scene(&world, place);
        if blind {
            scene.readings = None;
            scene.letters = &[];
            scene.journal = &[];
            scene.reasons = &[];
            scene.groups = &[];
        }
        drawn(&scene, width, height);
    }

    #[test]
    fn the_smallest_terminal_still_says_whether_mail_goes_out(width in 20u16..30, height in 5u16..9) {
        let world = world();
        let text = lines(&drawn(&scene(&world, Place::Overview), width, height));
        prop_assert!(text[2].starts_with(" ▲ MAIL GOES OUT"), "{text:#?}");
    }
}
