//! Dead letters: how many of each cause, the last ones as a list, and one of them in full.

use mailroom_actors::domain::letters::decision::State;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::place;
use super::scene::Scene;
use super::text::{cut, number, right};
use super::view::titled;
use crate::demo::letter::{Letter, MOST_LETTERS};
use crate::dlq::view::GroupView;

/// From this height on there is room for the groups above the list.
const WITH_GROUPS: u16 = 9;

/// Draws the groups, and below them the list with the chosen one as in [`place::Place::Letters`].
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, chosen: Option<i64>) {
    // The list keeps at least half.
    let rows = (scene.groups.len().max(1) as u16).saturating_add(1).min(area.height / 2);
    let rows = if area.height < WITH_GROUPS { 0 } else { rows };
    let [groups, list] = Layout::vertical([Constraint::Length(rows), Constraint::Fill(1)]).areas(area);
    draw_groups(frame, groups, scene);
    draw_list(frame, list, scene, Some(chosen));
}

fn draw_groups(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let rows = usize::from(area.height.saturating_sub(1));
    let mut lines: Vec<Line<'_>> =
        scene.groups.iter().take(rows).map(|group| group_line(group, scene)).collect();
    if lines.is_empty() {
        lines.push(Line::from(Span::styled("none so far", scene.theme.faint())));
    }
    frame.render_widget(Paragraph::new(lines).block(titled("Dead letters by cause", scene)), area);
}

/// `    40  smtp_unreachable   12 waiting, 28 replayed          replay: it may pass`.
fn group_line<'a>(group: &GroupView, scene: &Scene<'_>) -> Line<'a> {
    let states = State::ALL.iter().filter_map(|state| {
        let count = group.states.get(state.as_str()).filter(|count| **count > 0)?;
        Some(format!("{} {}", number(*count), state.as_str()))
    });
    let states = states.collect::<Vec<_>>().join(", ");
    let advice = match group.advice {
        "replay" => Span::styled("replay: it may pass", scene.theme.good()),
        "after-fix" => Span::styled("replay after a fix", scene.theme.warning()),
        _ => Span::styled("no use to replay", scene.theme.faint()),
    };
    Line::from(vec![
        Span::styled(right(&number(group.count), 6), scene.theme.bad()),
        Span::raw(format!("  {:<17}  {states:<31}  ", group.key)),
        advice,
    ])
}

/// Draws the list. `chosen` is none where none can be chosen, else as in [`place::Place::Letters`].
pub(super) fn draw_list(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, chosen: Option<Option<i64>>) {
    let rows = usize::from(area.height.saturating_sub(1));
    let marked = chosen.map(|chosen| place::index(chosen, scene.letters));
    // The chosen one stays in sight, with the newer ones above it as far as there is room.
    let first = marked.unwrap_or(0).saturating_sub(rows.saturating_sub(1));
    let width = usize::from(area.width);
    let mut lines: Vec<Line<'_>> = scene
        .letters
        .iter()
        .enumerate()
        .skip(first)
        .take(rows)
        .map(|(index, letter)| {
            let style = if marked == Some(index) { scene.theme.chosen() } else { scene.theme.plain() };
            Line::from(Span::styled(format!("{:<width$}", cut(&one_line(letter), width)), style))
        })
        .collect();
    if lines.is_empty() {
        lines.push(Line::from(Span::styled("none so far", scene.theme.faint())));
    }
    let title = match marked {
        Some(index) if !scene.letters.is_empty() => {
            format!("Dead letters: {} of the last {}", index + 1, scene.letters.len())
        }
        _ => "The last dead letters".into(),
    };
    frame.render_widget(Paragraph::new(lines).block(titled(title, scene)), area);
}

/// `20:55:08  waiting    invalid_recipient  n***@customers.example  550 5.1.1 No such user`.
fn one_line(letter: &Letter) -> String {
    let time = letter.failed_at.get(11..19).unwrap_or("");
    let (state, cause) = (state_of(letter), &letter.cause);
    format!(" {time:<8}  {state:<9}  {cause:<17}  {:<22}  {}", letter.whom(), letter.error_reason)
}

fn state_of(letter: &Letter) -> &'static str {
    letter.state.map_or("-", State::as_str)
}

/// Draws the letter at this offset, so many lines scrolled down.
pub(super) fn draw_one(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>, offset: i64, scrolled: u16) {
    let title = format!("Dead letter email-dlq-0-{offset}");
    let lines = match scene.letters.iter().find(|letter| letter.offset == offset) {
        Some(letter) => in_full(letter, scene),
        None => vec![Line::from(format!("It is no longer among the last {MOST_LETTERS}."))],
    };
    let text = Paragraph::new(lines).wrap(Wrap { trim: false }).block(titled(title, scene));
    frame.render_widget(text.scroll((scrolled, 0)), area);
}

fn in_full(letter: &Letter, scene: &Scene<'_>) -> Vec<Line<'static>> {
    let faint = scene.theme.faint();
    let field = |name: &str, value: String, style: Style| {
        Line::from(vec![
            Span::styled(format!(" {name:<12} "), faint),
            Span::styled(cut(&value, 2_000), style),
        ])
    };
    let plain = scene.theme.plain();
    let code = letter.smtp_code.map_or("no reply".into(), |code| code.to_string());
    let enhanced = letter.enhanced_code.as_deref().unwrap_or("");
    let Letter { source, .. } = letter;
    let mut lines = vec![
        field("state", state_of(letter).into(), scene.theme.strong()),
        field("cause", letter.cause.clone(), scene.theme.bad()),
        field("reason", letter.error_reason.clone(), scene.theme.strong()),
        field("stage", letter.stage.clone(), plain),
        field("reply", format!("{code} {enhanced}"), plain),
        field("not reached", letter.recipients.join(", "), plain),
        field("attempts", letter.retry_count.to_string(), plain),
    ];
    lines.extend(letter.attempts.iter().map(|attempt| {
        let time = attempt.at.get(11..23).unwrap_or("");
        let what = format!(
            "{}. {time}  {:<9}  {:>5} ms  {}",
            attempt.number, attempt.stage, attempt.took_ms, attempt.error
        );
        field("", what, plain)
    }));
    lines.extend([
        field("failed at", letter.failed_at.clone(), plain),
        field("worker", letter.worker_id.clone(), plain),
        field("job", format!("{}-{}-{}", source.topic, source.partition, source.offset), plain),
        field("key", letter.idempotency_key.clone(), plain),
        field("Message-ID", letter.message_id.clone(), plain),
        Line::default(),
        Line::from(Span::styled(" Addresses are masked; what was to be sent is not shown.", faint)),
    ]);
    lines
}
