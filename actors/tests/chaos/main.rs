//! Seeded chaos: whole workers under a paused clock, between brokers and a relay in memory that go wrong.
//!
//! `SEED=17 cargo test -p mailroom-actors --test chaos graceful -- --nocapture` repeats one run and prints its
//! log; `CHAOS_SEEDS=1000` runs more of them, `CHAOS_FIRST=1000` those from that one on.

#![allow(clippy::unwrap_used)]

mod expiry;
mod group;
mod job;
mod letters;
mod member;
mod oracles;
mod pacing;
mod plan;
mod relay;
mod run;
mod worker;
mod world;

use std::collections::BTreeMap;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::plan::{Broken, Kind, Plan};
use crate::run::{PANICS, Report, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Panics that the faults are made of are not worth a line; all others are violations.
fn sort_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let text = text.unwrap_or_default();
            if !text.starts_with("chaos:") {
                PANICS.with_borrow_mut(|panics| panics.push(format!("{:?}: {text}", info.location())));
                before(info);
            }
        }));
    });
}

/// Runs the plans of all seeds on all cores; returns the reports that `wanted` keeps, and counts all.
fn run_all(plan: impl Fn(u64) -> Plan + Sync, wanted: impl Fn(&Report) -> bool + Sync) -> Vec<Report> {
    sort_panics();
    let only = number("SEED");
    let first = only.or(number("CHAOS_FIRST")).unwrap_or(0);
    let next = AtomicU64::new(first);
    let end = first + only.map_or(number("CHAOS_SEEDS").unwrap_or(200), |_| 1);
    let kept = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run(&plan(seed));
                    if wanted(&report) || only.is_some() {
                        kept.lock().push(report);
                    }
                }
            });
        }
    });
    let mut kept = kept.into_inner();
    kept.sort_by_key(|report| report.plan.seed);
    kept
}

/// Every seed keeps what is promised.
#[allow(clippy::print_stdout)]
fn assert_promises(plan: impl Fn(u64) -> Plan + Sync) {
    let reports = run_all(plan, |_| true);
    let mut failed = BTreeMap::new();
    for report in &reports {
        if !report.violations.is_empty() {
            failed.insert(report.plan.seed, report.explain());
        }
    }
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let summary = format!(
        "{} seeds: {} jobs, {} copies, {} repeated, {} letters, {} kills, {} losses, {} revokes, {} stops, \
         {} panics, {} commits, {} refused, {} ambiguous, {} circuits opened, {} probes, {} dead-lettered crash, {} innocents of them, {} expired, {} s simulated",
        reports.len(),
        sum(|r| r.jobs as u64),
        sum(|r| r.counts.copies.into()),
        sum(|r| r.counts.repeated.into()),
        sum(|r| r.counts.letters.into()),
        sum(|r| r.counts.kills.into()),
        sum(|r| r.counts.losses.into()),
        sum(|r| r.counts.revokes.into()),
        sum(|r| r.counts.stops.into()),
        sum(|r| r.counts.panics.into()),
        sum(|r| r.counts.commits.into()),
        sum(|r| r.counts.commits_refused.into()),
        sum(|r| r.counts.ambiguous.into()),
        sum(|r| r.counts.opened.into()),
        sum(|r| r.counts.probes.into()),
        sum(|r| r.counts.crashes.into()),
        sum(|r| r.counts.innocents.into()),
        sum(|r| r.counts.expired.into()),
        sum(|r| r.simulated_ms / 1_000),
    );
    println!("{summary}");
    if std::env::var("SEED").is_ok() {
        reports.iter().flat_map(|report| &report.log).for_each(|line| println!("{line}"));
    }
    let list: Vec<u64> = failed.keys().copied().collect();
    assert!(
        failed.is_empty(),
        "{} seeds fail: {list:?}\n{}",
        failed.len(),
        failed.values().take(2).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn graceful_faults_lose_nothing_and_repeat_nothing() {
    assert_promises(|seed| Plan::new(seed, Kind::Graceful));
}

#[test]
fn rough_faults_lose_nothing_and_repeat_no_more_than_they_must() {
    assert_promises(|seed| Plan { killers: true, ..Plan::new(seed, Kind::Rough) });
}

#[test]
fn the_same_seed_is_the_same_run() {
    sort_panics();
    for seed in [3, 14, 15] {
        let plan = Plan { killers: true, ..Plan::new(seed, Kind::Rough) };
        let (first, second) = (run(&plan), run(&plan));
        for (line, again) in first.log.iter().zip(&second.log) {
            assert_eq!(line, again, "SEED={seed}");
        }
        assert_eq!(first.log.len(), second.log.len(), "SEED={seed}");
    }
}

/// The oracles that complain about a world which breaks its word so.
fn complaints(broken: Broken) -> BTreeMap<&'static str, usize> {
    sort_panics();
    let mut complaints = BTreeMap::new();
    for seed in 0..10 {
        let mut plan = Plan { broken, slots: 3, ..Plan::new(seed, Kind::Graceful) };
        if broken == Broken::SettingsAreNotKept {
            plan = Plan { max_rate: Some(20), breaker_failures: 3, ..plan };
        }
        let report = run(&plan);
        for violation in &report.violations {
            *complaints.entry(violation.oracle).or_default() += 1;
        }
    }
    complaints
}

#[test]
fn an_offset_log_that_does_not_store_commits_is_noticed() {
    let found = complaints(Broken::CommitsAreNotStored);
    assert!(found.contains_key("O3") && found.contains_key("O1/O7"), "{found:?}");
}

#[test]
fn an_offset_log_that_stores_too_much_is_noticed() {
    let found = complaints(Broken::CommitsAreStoredTooHigh);
    assert!(found.contains_key("O4"), "{found:?}");
}

#[test]
fn a_relay_that_takes_copies_twice_is_noticed() {
    let found = complaints(Broken::EachEmailIsTakenTwice);
    assert!(found.contains_key("O3"), "{found:?}");
}

#[test]
fn a_dead_letter_queue_that_loses_letters_is_noticed() {
    let found = complaints(Broken::LettersAreNotStored);
    assert!(found.contains_key("O1/O7"), "{found:?}");
}

#[test]
fn a_poll_thread_that_skips_records_is_noticed() {
    let found = complaints(Broken::RecordsAreSkipped);
    assert!(found.contains_key("O4") && found.contains_key("O1/O7"), "{found:?}");
}

#[test]
fn partitions_that_are_handed_on_without_a_revoke_are_noticed() {
    let found = complaints(Broken::AssignmentsAreNotRevoked);
    assert!(!found.is_empty(), "{found:?}");
}

#[test]
fn a_worker_that_does_not_keep_to_its_settings_is_noticed() {
    let found = complaints(Broken::SettingsAreNotKept);
    for oracle in ["rate", "connections", "circuit", "attempts"] {
        assert!(found.contains_key(oracle), "{oracle}: {found:?}");
    }
}

#[test]
fn a_worker_that_sends_what_has_expired_or_gives_up_what_has_not_is_noticed() {
    let found = complaints(Broken::ExpiriesAreToldWrong);
    assert!(found.contains_key("expiry"), "{found:?}");
}
