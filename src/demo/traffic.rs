//! The jobs that the demo produces: who gets e-mail, and what the mail server will make of each.

use serde_json::json;

/// The domain of every recipient. RFC 2606, section 2: it can never be anybody's.
const DOMAIN: &str = "customers.example";

/// What the sender of every e-mail is called.
pub const SENDER: &str = "Demo Shop <no-reply@shop.example>";

/// Which of the guide's scenarios a recipient stands for; the mail server knows them by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// `customer-N`: takes its e-mail.
    Fine,
    /// `nobody-N`: invalid address, `550 5.1.1 No such user`.
    InvalidAddress,
    /// `hasty-N`: rate limit at the first attempt only, so a retry saves the e-mail.
    LimitedOnce,
    /// `busy-N`: rate limit at the first three attempts, `451 4.7.1 Too many requests`: it takes a replay to save the e-mail.
    Limited,
    /// `silent-N`: time-out, no answer to RCPT.
    SilentAtRcpt,
    /// `mute-N`: time-out, no answer to DATA.
    SilentAtData,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Scenario; 6] = [
        Scenario::Fine,
        Scenario::InvalidAddress,
        Scenario::LimitedOnce,
        Scenario::Limited,
        Scenario::SilentAtRcpt,
        Scenario::SilentAtData,
    ];

    fn name(self) -> &'static str {
        match self {
            Scenario::Fine => "customer",
            Scenario::InvalidAddress => "nobody",
            Scenario::LimitedOnce => "hasty",
            Scenario::Limited => "busy",
            Scenario::SilentAtRcpt => "silent",
            Scenario::SilentAtData => "mute",
        }
    }

    /// The scenario of job `number` in a flow of `rate` jobs a second: of 100 jobs 5 go to an invalid address
    /// and 7 meet the rate limit; one in 2 s, and never more than one in 40, meets silence, which holds a
    /// mailer for as long as the time-out, three times.
    pub fn of_job(number: u64, rate: u32) -> Scenario {
        let silence_every = u64::from(rate).saturating_mul(2).max(40);
        match number {
            n if n % silence_every == 29 && (n / silence_every).is_multiple_of(2) => Scenario::SilentAtRcpt,
            n if n % silence_every == 29 => Scenario::SilentAtData,
            n if n % 20 == 7 => Scenario::InvalidAddress,
            n if n % 20 == 13 => Scenario::LimitedOnce,
            n if n % 50 == 19 => Scenario::Limited,
            _ => Scenario::Fine,
        }
    }

    /// The scenario that a recipient's address stands for; [`Scenario::Fine`] where it stands for none.
    pub fn of_recipient(address: &str) -> Scenario {
        let name = address.split('-').next().unwrap_or_default();
        Scenario::ALL.into_iter().find(|scenario| scenario.name() == name).unwrap_or(Scenario::Fine)
    }
}

/// One record for the main queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub key: String,
    pub value: String,
}

/// Job `number` for a recipient of that scenario: every other one in the guide's form, the rest spelt out.
pub fn job(number: u64, scenario: Scenario) -> Job {
    let name = format!("{}-{number}", scenario.name());
    let to = format!("{name}@{DOMAIN}");
    let id = format!("demo-{number}");
    let value = if number.is_multiple_of(2) {
        json!({"id": id, "to": to, "otp": format!("{:06}", number.wrapping_mul(7919) % 1_000_000)})
    } else {
        json!({
            "id": id,
            "to": to,
            "subject": format!("Your order {number}"),
            "text": format!("Thank you. Order {number} is on its way.\n"),
            "html": format!("<p>Thank you. Order <b>{number}</b> is on its way.</p>\n"),
        })
    };
    Job { key: name, value: value.to_string() }
}

/// The number of the job that `recipient` is the only recipient of; none where it is no recipient of ours.
pub fn number_of_recipient(recipient: &str) -> Option<u64> {
    let name = recipient.strip_suffix(DOMAIN)?.strip_suffix('@')?;
    name.split_once('-')?.1.parse().ok()
}

/// The number of the job with this idempotency key; none where it is no key of ours.
pub fn number_of_key(idempotency_key: &str) -> Option<u64> {
    idempotency_key.strip_prefix("demo-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_seconds_at_the_default_rate_meet_every_kind_of_trouble() {
        let mut seen: HashMap<Scenario, u32> = HashMap::new();
        for number in 0..60 {
            *seen.entry(Scenario::of_job(number, 20)).or_default() += 1;
        }
        for scenario in [Scenario::Fine, Scenario::InvalidAddress, Scenario::LimitedOnce, Scenario::Limited] {
            assert!(seen.contains_key(&scenario), "{scenario:?}");
        }
        assert_eq!(seen.get(&Scenario::SilentAtRcpt), Some(&1));
    }

    #[test]
    fn silence_takes_turns_between_its_two_steps() {
        let silent: Vec<Scenario> = (0..160)
            .map(|number| Scenario::of_job(number, 20))
            .filter(|s| matches!(s, Scenario::SilentAtRcpt | Scenario::SilentAtData))
            .collect();
        use Scenario::{SilentAtData, SilentAtRcpt};
        assert_eq!(silent, [SilentAtRcpt, SilentAtData, SilentAtRcpt, SilentAtData]);
    }

    #[test]
    fn strangers_have_no_number_and_meet_no_trouble() {
        for address in ["", "ada@example.com", "customer-7@example.com", "customer-x@customers.example", "-@"]
        {
            assert_eq!(number_of_recipient(address), None, "{address}");
        }
        for key in ["", "7", "demo-", "demo-x", "email-queue-0-7"] {
            assert_eq!(number_of_key(key), None, "{key}");
        }
        assert_eq!(Scenario::of_recipient("ada@example.com"), Scenario::Fine);
    }

    proptest! {
        #[test]
        fn a_job_is_known_again_by_its_recipient_and_by_its_key(number in any::<u64>(), rate in any::<u32>()) {
            let scenario = Scenario::of_job(number, rate);
            let job = job(number, scenario);
            let value: serde_json::Value = serde_json::from_str(&job.value).unwrap();
            let to = value["to"].as_str().unwrap();
            prop_assert_eq!(number_of_recipient(to), Some(number));
            prop_assert_eq!(number_of_key(value["id"].as_str().unwrap()), Some(number));
            prop_assert_eq!(Scenario::of_recipient(to), scenario);
            prop_assert!(to.starts_with(&job.key));
        }

        #[test]
        fn at_most_one_job_in_two_seconds_meets_silence(rate in 20u32..5_000, start in 0u64..1_000_000) {
            let window = u64::from(rate) * 2;
            let silent = (start..start + window)
                .map(|number| Scenario::of_job(number, rate))
                .filter(|s| matches!(s, Scenario::SilentAtRcpt | Scenario::SilentAtData))
                .count();
            prop_assert_eq!(silent, 1);
        }
    }
}
