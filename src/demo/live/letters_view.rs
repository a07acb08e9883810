//! The last dead letters: the list, and one of them in full.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::place;
use super::scene::Scene;
use super::text::cut;
use super::view::titled;
use crate::demo::letter::{Letter, MOST_LETTERS};

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

/// `20:55:08  invalid_recipient  n***@customers.example  550 5.1.1 No such user`.
fn one_line(letter: &Letter) -> String {
    let time = letter.failed_at.get(11..19).unwrap_or("");
    format!(" {time:<8}  {:<17}  {:<22}  {}", letter.cause, letter.whom(), letter.error_reason)
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
