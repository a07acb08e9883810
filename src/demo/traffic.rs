//! The jobs that the demo produces, and what the mail server makes of each recipient.

use serde_json::json;

/// RFC 2606, section 3: it is nobody's.
const DOMAIN: &str = "example.com";

/// How the mail server treats a recipient; it is told by the beginning of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `user-N`: takes its e-mail.
    Fine,
    /// `nobody-N`: `550 5.1.1 No such user`, always.
    Nobody,
    /// `limited-N`: `451 4.7.1 Too many requests`, always.
    Limited,
    /// `slow-N`: no answer to RCPT.
    Slow,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [Kind::Fine, Kind::Nobody, Kind::Limited, Kind::Slow];

    fn name(self) -> &'static str {
        match self {
            Kind::Fine => "user",
            Kind::Nobody => "nobody",
            Kind::Limited => "limited",
            Kind::Slow => "slow",
        }
    }

    /// The kind of job `number` (0, 1, 2 …) at this rate: of 100 jobs 5 are for nobody, 3 limited and 1 slow.
    /// Slow ones come at most every 2 s whatever the rate: each holds a mailer for three time-outs of 2 s, so
    /// more of them would hold all eight.
    pub fn of_job(number: u64, rate: u32) -> Kind {
        let slow_every = u64::from(rate).saturating_mul(2).max(100);
        match number {
            n if n % slow_every == 28 => Kind::Slow,
            n if n % 20 == 4 => Kind::Nobody,
            n if matches!(n % 100, 13 | 46 | 79) => Kind::Limited,
            _ => Kind::Fine,
        }
    }

    /// The kind that an address stands for; [`Kind::Fine`] where it stands for none.
    pub fn of_address(address: &str) -> Kind {
        Kind::ALL.into_iter().find(|kind| address.starts_with(kind.name())).unwrap_or(Kind::Fine)
    }
}

/// The recipient of job `number`, like no other's.
pub fn recipient(number: u64, kind: Kind) -> String {
    format!("{}-{number:06}@{DOMAIN}", kind.name())
}

/// The record's value in the guide's form. The codes are made up and mean nothing.
pub fn job(number: u64, recipient: &str) -> String {
    let otp = format!("{:06}", number.wrapping_mul(7_919) % 1_000_000);
    json!({"to": recipient, "otp": otp}).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_a_hundred_jobs_five_are_for_nobody_three_limited_and_one_slow() {
        let kinds: Vec<Kind> = (0..100).map(|number| Kind::of_job(number, 20)).collect();
        let count = |kind| kinds.iter().filter(|one| **one == kind).count();
        assert_eq!(Kind::ALL.map(count), [91, 5, 3, 1]);
    }

    #[test]
    fn addresses_read_as_the_guide_writes_them() {
        assert_eq!(recipient(123, Kind::Fine), "user-000123@example.com");
        assert_eq!(recipient(124, Kind::Nobody), "nobody-000124@example.com");
        assert_eq!(job(1, "user-000001@example.com"), r#"{"otp":"007919","to":"user-000001@example.com"}"#);
        assert_eq!(Kind::of_address("ada@example.com"), Kind::Fine);
    }

    proptest! {
        #[test]
        fn the_mail_server_knows_each_kind_by_its_address(number in any::<u64>(), rate in any::<u32>()) {
            let kind = Kind::of_job(number, rate);
            prop_assert_eq!(Kind::of_address(&recipient(number, kind)), kind);
        }

        #[test]
        fn within_two_seconds_at_most_one_job_is_slow(start in 0u64..1_000_000, rate in 1u32..3_000) {
            let window = u64::from(rate) * 2;
            let slow = (start..start + window).filter(|number| Kind::of_job(*number, rate) == Kind::Slow).count();
            prop_assert!(slow <= 1);
        }
    }
}
