//! One frame of the live view, drawn of a scene and nothing else.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, RenderDirection, Sparkline};

use super::history::SECONDS;
use super::journal::Kind;
use super::letters_view;
use super::place::Place;
use super::scene::Scene;
use super::text::{clock, cut, number, right};
use super::verdict::{Mood, Verdict};
use crate::demo::readings::Readings;

/// The left column; the right one then has 60 of 80, a minute's curve.
const LEFT: u16 = 18;
/// From this height on the last dead letters are on the overview too.
const TALL: u16 = 32;

/// Draws the scene. Where the terminal is too small for all of it the end is cut off.
pub fn draw(frame: &mut Frame<'_>, scene: &Scene<'_>) {
    let [head, body, keys] =
        Layout::vertical([Constraint::Length(4), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    draw_head(frame, head, scene);
    match scene.place {
        Place::Overview => draw_overview(frame, body, scene),
        Place::Letters { chosen } => letters_view::draw(frame, body, scene, chosen),
        Place::Letter { offset, scrolled } => letters_view::draw_one(frame, body, scene, offset, scrolled),
    }
    frame.render_widget(Paragraph::new(key_line(scene)), keys);
}

/// A rule with a title in it, and what is below.
pub(super) fn titled(title: impl Into<String>, scene: &Scene<'_>) -> Block<'static> {
    Block::new()
        .borders(Borders::TOP)
        .border_style(scene.theme.faint())
        .title(Span::styled(format!("─ {} ", title.into()), scene.theme.strong()))
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let [top, _, headline, why] = Layout::vertical([Constraint::Length(1); 4]).areas(area);
    let about =
        format!(" Mailroom demo   {} jobs a second   http://{}/health", scene.rate.max(1), scene.http);
    frame.render_widget(Paragraph::new(Span::styled(about, scene.theme.faint())), top);
    let time = Span::styled(format!("{} ", clock(scene.elapsed)), scene.theme.strong());
    frame.render_widget(Paragraph::new(Line::from(time).right_aligned()), top);

    let verdict = Verdict::of(scene.readings, scene.history, scene.relay, scene.rate, scene.phase);
    let (sign, style) = match verdict.mood {
        Mood::Good => ("●", scene.theme.good()),
        Mood::Warning => ("▲", scene.theme.warning()),
        Mood::Bad => ("■", scene.theme.bad()),
    };
    frame.render_widget(Span::styled(format!(" {sign} {}", verdict.headline), style), headline);
    frame.render_widget(Span::raw(format!("   {}", verdict.why)), why);
}

fn draw_overview(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let letters = if area.height + 5 >= TALL { Constraint::Fill(1) } else { Constraint::Length(0) };
    let [flow, worker, last, journal] =
        Layout::vertical([Constraint::Length(7), Constraint::Length(7), letters, Constraint::Fill(1)])
            .areas(area);
    let columns = Layout::horizontal([Constraint::Length(LEFT), Constraint::Fill(1)]).spacing(2);
    let [jobs, curve] = columns.areas(flow);
    draw_jobs(frame, jobs, scene);
    draw_curve(frame, curve, scene);
    let [pool, causes] = columns.areas(worker);
    draw_worker(frame, pool, scene);
    draw_causes(frame, causes, scene);
    if last.height > 0 {
        letters_view::draw_list(frame, last, scene, None);
    }
    draw_journal(frame, journal, scene);
}

/// A name at the left and what it is at the right.
fn row(name: &'static str, value: String, style: Style) -> Line<'static> {
    let room = usize::from(LEFT) - name.len();
    Line::from(vec![Span::raw(name), Span::styled(right(&value, room), style)])
}

fn count(name: &'static str, count: u64, style: Style) -> Line<'static> {
    row(name, number(count), style)
}

fn draw_jobs(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let nothing = Readings::default();
    let readings = scene.readings.unwrap_or(&nothing);
    let dead: u64 = readings.dead_lettered.iter().map(|(_, letters)| letters).sum();
    let theme = scene.theme;
    let lines = vec![
        count("queue", readings.backlog, theme.plain()),
        count("in flight", readings.in_flight, theme.plain()),
        count("  waiting", readings.waiting, theme.plain()),
        count("sent", readings.sent, theme.good()),
        count("dead-letters", dead, if dead > 0 { theme.bad() } else { theme.plain() }),
    ];
    frame.render_widget(Paragraph::new(lines).block(titled("Jobs", scene)), area);
}

fn draw_curve(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let seconds = usize::from(area.width).min(SECONDS);
    let most = number(scene.history.most());
    let title = match seconds {
        SECONDS => format!("Sent a second, the last minute (most {most})"),
        _ => format!("Sent a second, the last {seconds} s (most {most})"),
    };
    // The same scale whether little goes out or much; what was held up and comes at once is cut at the top.
    let usual = u64::from(scene.rate.max(1));
    let curve = Sparkline::default()
        .data(scene.history.seconds().collect::<Vec<u64>>())
        .max(scene.history.most().clamp(usual, usual * 2))
        .direction(RenderDirection::RightToLeft)
        .style(scene.theme.lively())
        .block(titled(title, scene));
    // A minute's curve stays at the left, beside the numbers, however wide the terminal is.
    frame.render_widget(curve, Rect { width: area.width.min(SECONDS as u16), ..area });
    if area.width > SECONDS as u16 {
        let rest = Rect { x: area.x + SECONDS as u16, width: area.width - SECONDS as u16, ..area };
        frame.render_widget(Block::new().borders(Borders::TOP).border_style(scene.theme.faint()), rest);
    }
}

fn draw_worker(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let nothing = Readings::default();
    let readings = scene.readings.unwrap_or(&nothing);
    let theme = scene.theme;
    let held_back = readings.pool_allowed < readings.pool_size;
    let circuit = match readings.circuit {
        0 => row("circuit", "closed".into(), theme.good()),
        1 => row("circuit", "half-open".into(), theme.warning()),
        _ => row("circuit", "open".into(), theme.bad()),
    };
    let relay = match (scene.relay.down, scene.relay.slow, scene.relay.too_many) {
        (true, ..) => row("relay", "down".into(), theme.bad()),
        (_, true, true) => row("relay", "slow, 5/s".into(), theme.warning()),
        (_, true, false) => row("relay", "slow".into(), theme.warning()),
        (_, false, true) => row("relay", "5/s only".into(), theme.warning()),
        (_, false, false) => row("relay", "up".into(), theme.good()),
    };
    let busy = format!("{} of {}", number(readings.pool_busy), number(readings.pool_size));
    let lines = vec![
        row("busy", busy, theme.plain()),
        Line::from(Span::styled(mailers(readings, usize::from(LEFT)), theme.lively())),
        count("allowed", readings.pool_allowed, if held_back { theme.warning() } else { theme.plain() }),
        circuit,
        relay,
        count("restarts", readings.restarts, theme.plain()),
    ];
    frame.render_widget(Paragraph::new(lines).block(titled("Mailers", scene)), area);
}

/// The mailers as so many signs at most: busy ones full, those that may work open, the others as dots.
fn mailers(readings: &Readings, room: usize) -> String {
    let size = readings.pool_size.max(1);
    let signs = size.min(room as u64);
    // Rounded up, so that a single busy one among many is seen.
    let part = |mailers: u64| (mailers.min(size) * signs).div_ceil(size) as usize;
    let busy = part(readings.pool_busy);
    let allowed = part(readings.pool_allowed).max(busy);
    let signs = if readings.pool_size == 0 { 0 } else { signs as usize };
    (0..signs)
        .map(|index| match index {
            index if index < busy => '■',
            index if index < allowed => '□',
            _ => '·',
        })
        .collect()
}

fn draw_causes(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let mut reasons: Vec<_> = scene.reasons.iter().collect();
    reasons.sort_by_key(|(_, _, jobs)| std::cmp::Reverse(*jobs));
    let rows = usize::from(area.height.saturating_sub(1));
    let others = reasons.len().saturating_sub(rows);
    let shown = if others > 0 { rows.saturating_sub(1) } else { rows };
    let width = usize::from(area.width);
    let mut lines: Vec<Line<'_>> = reasons
        .iter()
        .take(shown)
        .map(|(cause, reason, jobs)| {
            let count = Span::styled(right(&number(*jobs), 6), scene.theme.bad());
            let reason = cut(&crate::mask::mask_text(reason), width.saturating_sub(27));
            Line::from(vec![count, Span::raw(format!("  {:<17}  ", cause.as_str())), Span::raw(reason)])
        })
        .collect();
    if lines.is_empty() {
        lines.push(Line::from(Span::styled("none so far", scene.theme.faint())));
    }
    if others > 0 {
        let more = format!("        and {} other reasons", reasons.len() - shown);
        lines.push(Line::from(Span::styled(more, scene.theme.faint())));
    }
    frame.render_widget(Paragraph::new(lines).block(titled("Why jobs became dead letters", scene)), area);
}

fn draw_journal(frame: &mut Frame<'_>, area: Rect, scene: &Scene<'_>) {
    let rows = usize::from(area.height.saturating_sub(1));
    let width = usize::from(area.width).saturating_sub(8);
    let first = scene.journal.len().saturating_sub(rows);
    let lines: Vec<Line<'_>> = scene.journal[first..]
        .iter()
        .map(|entry| {
            let (sign, style) = match entry.kind {
                Kind::Deed => ("►", scene.theme.strong()),
                Kind::Warning => ("!", scene.theme.warning()),
                Kind::Error => ("!", scene.theme.bad()),
                Kind::Line => (" ", scene.theme.plain()),
            };
            let time = Span::styled(format!("{:>5} ", clock(entry.at)), scene.theme.faint());
            Line::from(vec![time, Span::styled(format!("{sign} {}", cut(&entry.text, width)), style)])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(titled("What happened", scene)), area);
}

fn key_line(scene: &Scene<'_>) -> Line<'static> {
    let keys: &[(&str, &str)] = match scene.place {
        Place::Overview => &[
            ("d", if scene.relay.down { "up" } else { "down" }),
            ("s", if scene.relay.slow { "fast" } else { "slow" }),
            ("t", if scene.relay.too_many { "easy" } else { "strict" }),
            ("k", "kill"),
            ("+-", "pool"),
            ("p", if scene.readings.is_some_and(|readings| readings.paused) { "go on" } else { "pause" }),
            ("r", "replay"),
            ("l", "letters"),
            ("q", "end"),
        ],
        Place::Letters { .. } => {
            &[("↑ ↓", "choose"), ("Enter", "shows one"), ("r", "replay"), ("Esc", "back"), ("q", "end")]
        }
        Place::Letter { .. } => &[("↑ ↓", "scroll"), ("Esc", "back"), ("q", "end")],
    };
    let spans = keys.iter().flat_map(|(key, what)| {
        [
            Span::styled(format!(" {key}"), scene.theme.lively().patch(scene.theme.strong())),
            Span::raw(format!(" {what} ")),
        ]
    });
    Line::from(spans.collect::<Vec<_>>())
}
