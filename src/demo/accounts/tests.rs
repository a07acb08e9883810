use proptest::prelude::*;

use super::*;

#[test]
fn a_calm_run_is_accounted_for_and_its_table_says_so() {
    let mut accounts = Accounts::default();
    for _ in 0..12 {
        let number = accounts.open();
        match number {
            3 => accounts.dead_lettered(Some(number), Cause::InvalidRecipient, "550 5.1.1 No such user"),
            4 => accounts.dead_lettered(Some(number), Cause::Throttled, "451 4.7.1 Too many requests"),
            5 => accounts.dead_lettered(Some(number), Cause::Throttled, "451 4.7.1 Slow down"),
            _ => accounts.delivered(Some(number), "<a@shop.example>"),
        }
    }
    let totals = accounts.totals();
    assert!(totals.all_accounted_for());
    assert_eq!(
        totals.to_string(),
        "\
jobs produced                                      12
delivered                                           9
dead-lettered                                       3
  invalid_recipient                                 1
    550 5.1.1 No such user                          1
  throttled                                         2
    451 4.7.1 Slow down                             1
    451 4.7.1 Too many requests                     1
delivered twice                                     0
dead-lettered twice                                 0
delivered and dead-lettered                         0
missing                                             0
every job is accounted for"
    );
}

#[test]
fn a_job_that_nothing_was_seen_of_is_missing() {
    let mut accounts = Accounts::default();
    accounts.open();
    assert_eq!(accounts.under_way(), 1);
    let totals = accounts.totals();
    assert_eq!(totals.missing, 1);
    assert!(!totals.all_accounted_for());
    assert!(totals.to_string().ends_with("NOT every job is accounted for"));
}

#[test]
fn a_second_copy_is_seen_and_so_is_another_message_id() {
    let mut accounts = Accounts::default();
    let same = accounts.open();
    accounts.delivered(Some(same), "<one@shop.example>");
    accounts.delivered(Some(same), "<one@shop.example>");
    let other = accounts.open();
    accounts.delivered(Some(other), "<one@shop.example>");
    accounts.delivered(Some(other), "<two@shop.example>");
    let totals = accounts.totals();
    assert_eq!((totals.delivered, totals.delivered_twice, totals.renamed), (2, 2, 1));
    assert!(totals.all_accounted_for());
}

#[test]
fn a_second_letter_keeps_the_first_ones_cause() {
    let mut accounts = Accounts::default();
    let number = accounts.open();
    accounts.dead_lettered(Some(number), Cause::Quota, "as told");
    accounts.dead_lettered(Some(number), Cause::Unknown, "as told");
    let totals = accounts.totals();
    assert_eq!((totals.dead_lettered, totals.dead_lettered_twice), (1, 1));
    assert_eq!(totals.by_reason, [(Cause::Quota, "as told".to_owned(), 1)]);
}

#[test]
fn a_job_that_was_replayed_and_delivered_is_no_contradiction_and_has_its_own_row() {
    let mut accounts = Accounts::default();
    for _ in 0..4 {
        let number = accounts.open();
        accounts.dead_lettered(Some(number), Cause::SmtpUnreachable, "Connection refused");
    }
    accounts.delivered(Some(3), "<3@shop.example>");
    for number in 0..3 {
        accounts.replayed(Some(number));
    }
    assert_eq!((accounts.under_way(), accounts.replays().open), (3, 3), "a replayed job is to come");
    accounts.delivered(Some(0), "<0@shop.example>");
    accounts.delivered(Some(1), "<1@shop.example>");
    accounts.dead_lettered(Some(2), Cause::InvalidRecipient, "550 5.1.1 No such user");
    assert_eq!(accounts.replays(), Replays { replayed: 3, open: 0, failed_again: 1 });
    let totals = accounts.totals();
    assert!(totals.all_accounted_for());
    assert_eq!(
        totals.to_string(),
        "\
jobs produced                                       4
delivered                                           3
dead-lettered                                       4
  smtp_unreachable                                  4
    Connection refused                              4
replayed and delivered                              2
replayed and dead-lettered again                    1
delivered twice                                     0
dead-lettered twice                                 0
delivered and dead-lettered                         1
missing                                             0
every job is accounted for"
    );
}

#[test]
fn a_replayed_job_that_nothing_came_of_is_missing_and_one_replayed_or_sent_twice_is_seen() {
    let mut accounts = Accounts::default();
    for _ in 0..3 {
        let number = accounts.open();
        accounts.dead_lettered(Some(number), Cause::Quota, "as told");
        accounts.replayed(Some(number));
    }
    accounts.replayed(Some(1));
    accounts.delivered(Some(1), "<a@x>");
    accounts.delivered(Some(1), "<a@x>");
    for _ in 0..2 {
        accounts.dead_lettered(Some(2), Cause::Quota, "as told");
    }
    let totals = accounts.totals();
    assert_eq!((totals.missing, totals.replayed_twice), (1, 1));
    assert_eq!((totals.delivered_twice, totals.dead_lettered_twice, totals.both), (1, 1, 0));
    assert!(totals.to_string().ends_with("NOT every job is accounted for"));
}

#[test]
fn what_belongs_to_no_job_is_not_accounted_for() {
    for stranger in [None, Some(1), Some(u64::MAX)] {
        let mut accounts = Accounts::default();
        let number = accounts.open();
        accounts.delivered(Some(number), "");
        accounts.delivered(stranger, "");
        accounts.dead_lettered(stranger, Cause::Malformed, "as told");
        accounts.replayed(stranger);
        let totals = accounts.totals();
        assert_eq!(totals.strangers, 3);
        assert_eq!(accounts.replays(), Replays::default());
        assert!(!totals.all_accounted_for());
    }
}

#[test]
fn a_job_that_the_queue_refused_counts_only_when_it_is_seen() {
    let mut accounts = Accounts::default();
    let gone = accounts.open();
    let seen_later = accounts.open();
    let seen_before = accounts.open();
    accounts.delivered(Some(seen_before), "");
    for number in [gone, seen_later, seen_before] {
        accounts.refused(number);
        accounts.refused(number);
    }
    assert_eq!(accounts.under_way(), 0);
    accounts.delivered(Some(seen_later), "");
    let totals = accounts.totals();
    assert_eq!((totals.produced, totals.delivered, totals.refused, totals.missing), (2, 2, 1, 0));
    assert!(totals.all_accounted_for());
}

#[test]
fn endlessly_many_reasons_are_counted_together_in_the_end() {
    let mut accounts = Accounts::default();
    for each in 0..1_000 {
        let number = accounts.open();
        accounts.dead_lettered(Some(number), Cause::Policy, &format!("550 5.7.1 ticket {each}"));
    }
    let totals = accounts.totals();
    assert_eq!(totals.by_cause(), [(Cause::Policy, 1_000)]);
    assert_eq!(totals.by_reason.len(), MOST_REASONS + 1);
    assert!(totals.by_reason.contains(&(
        Cause::Policy,
        OTHER_REASONS.to_owned(),
        1_000 - MOST_REASONS as u64
    )));
}

#[derive(Clone, Debug)]
enum Event {
    Open,
    Refused(u64),
    Delivered(u64, bool),
    DeadLettered(u64, usize),
    Replayed(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Open),
        1 => (0u64..8).prop_map(Event::Refused),
        3 => (0u64..8, any::<bool>()).prop_map(|(n, renamed)| Event::Delivered(n, renamed)),
        1 => (0u64..8).prop_map(Event::Replayed),
        2 => (0u64..8, 0..Cause::ALL.len()).prop_map(|(n, cause)| Event::DeadLettered(n, cause)),
    ]
}

proptest! {
    #[test]
    fn the_books_always_balance(events in proptest::collection::vec(event(), 0..60)) {
        let mut accounts = Accounts::default();
        for event in events {
            match event {
                Event::Open => { accounts.open(); }
                Event::Refused(number) => accounts.refused(number),
                Event::Delivered(number, renamed) => {
                    accounts.delivered(Some(number), if renamed { "<b@x>" } else { "<a@x>" });
                }
                Event::Replayed(number) => accounts.replayed(Some(number)),
                Event::DeadLettered(number, cause) => accounts.dead_lettered(Some(number), Cause::ALL[cause], if cause % 2 == 0 { "even" } else { "odd" }),
            }
            let totals = accounts.totals();
            let settled = |account: &&Account| account.delivered > 0 || account.dead_lettered > account.replayed;
            let open = accounts.jobs.iter().filter(|account| account.is_seen() && !settled(account)).count() as u64;
            let settled = accounts.jobs.iter().filter(settled).count() as u64;
            prop_assert_eq!(totals.produced, settled + totals.missing);
            prop_assert_eq!(accounts.replays().open, open);
            let replayed = accounts.jobs.iter().filter(|account| account.replayed > 0).count() as u64;
            prop_assert_eq!(totals.replayed_and_delivered + totals.failed_again + open, replayed);
            let plain = |account: &&Account| account.replayed == 0 && account.delivered > 0 && account.dead_lettered > 0;
            prop_assert_eq!(totals.both, accounts.jobs.iter().filter(plain).count() as u64);
            prop_assert_eq!(totals.by_cause().iter().map(|(_, jobs)| jobs).sum::<u64>(), totals.dead_lettered);
            prop_assert_eq!(totals.missing, accounts.under_way());
            prop_assert!(totals.renamed <= totals.delivered_twice);
            prop_assert!(totals.delivered_twice <= totals.delivered);
        }
    }
}
