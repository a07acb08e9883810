//! One job of the simulated queue: what the relay will say to it, and what has become of it.

use fastrand::Rng;

use crate::plan::Plan;

/// What making the e-mail does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    Works,
    /// It is none: refused as invalid.
    Invalid,
    /// Panics the first so many times.
    Panics(u32),
    /// Ends the process, each time.
    Kills,
}

/// What the relay thinks of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mailbox {
    Takes,
    /// 550, always.
    Refuses,
    /// 451, the first so many times.
    PutsOff(u32),
    /// 452 the first time, when others were taken before.
    TooMany,
}

#[derive(Clone, Debug)]
pub struct Recipient {
    pub mailbox: Mailbox,
    pub asked: u32,
    pub copies: u32,
    /// When a worker that owned the job was last told that the relay took this recipient's copy.
    pub told_at: Option<u64>,
    /// Another copy is no violation: nobody who lived on could know of the last one.
    pub may_repeat: bool,
    /// Was ever so.
    pub unclear: bool,
    /// A dead letter says that it was not reached.
    pub named: bool,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub partition: usize,
    pub offset: i64,
    pub bytes: usize,
    pub making: Making,
    /// Not to be sent from then on, in milliseconds since the epoch.
    pub expires_at: Option<u64>,
    pub made: u32,
    /// The final dot is answered 451 the first so many times.
    pub put_off_at_the_dot: u32,
    pub transactions: u32,
    pub recipients: Vec<Recipient>,
    pub letters: u32,
    /// When a worker that owned the job was told that its letter is stored.
    pub letter_told_at: Option<u64>,
    pub letter_may_repeat: bool,
    pub letter_unclear: bool,
    /// It may have panicked, by itself or by a fuse.
    pub panicked: bool,
    /// A commit said that it was being tried when its worker ended or lost it.
    pub suspected: bool,
    /// How often it has ended a process.
    pub ended_a_process: u32,
    /// The attempt under way, or the last one, was a probe.
    pub is_probe: bool,
    /// The last transaction of that attempt was answered "slower".
    pub is_limited: bool,
    /// Attempts before that which ended so.
    pub limited: u32,
}

impl Job {
    /// One that is produced at `now`.
    pub fn draw(plan: &Plan, rng: &mut Rng, partition: usize, offset: i64, now: u64) -> Job {
        let making = match rng.u32(0..60) {
            0 | 1 => Making::Invalid,
            2 | 3 => Making::Panics(rng.u32(1..5)),
            4 if plan.killers && !plan.heavy => Making::Kills,
            _ => Making::Works,
        };
        let lives_ms = match rng.u32(0..24) {
            0 => Some(rng.u64(0..60)),
            1 | 2 => Some(rng.u64(60..4_000)),
            3 | 4 => Some(rng.u64(1_000..30_000)),
            _ => None,
        };
        let several = if rng.u32(0..4) == 0 { rng.usize(2..5) } else { 1 };
        let recipients: Vec<Recipient> = std::iter::repeat_with(|| {
            let mailbox = match rng.u32(0..20) {
                0 | 1 => Mailbox::Refuses,
                2..=4 => Mailbox::PutsOff(rng.u32(1..5)),
                6..=16 if plan.heavy => Mailbox::PutsOff(rng.u32(1..4)),
                5 => Mailbox::TooMany,
                _ => Mailbox::Takes,
            };
            Recipient {
                mailbox,
                asked: 0,
                copies: 0,
                told_at: None,
                may_repeat: false,
                unclear: false,
                named: false,
            }
        })
        .take(several)
        .collect();
        Job {
            partition,
            offset,
            bytes: if rng.u32(0..8) == 0 { rng.usize(200..900) } else { rng.usize(1..80) },
            making,
            expires_at: lives_ms.map(|ms| now + ms),
            made: 0,
            put_off_at_the_dot: if rng.u32(0..12) == 0 { rng.u32(1..3) } else { 0 },
            transactions: 0,
            recipients,
            letters: 0,
            letter_told_at: None,
            letter_may_repeat: false,
            letter_unclear: false,
            panicked: false,
            suspected: false,
            ended_a_process: 0,
            is_probe: false,
            is_limited: false,
            limited: 0,
        }
    }

    /// A worker knows for certain that there is nothing left to do.
    pub fn is_finished(&self) -> bool {
        self.letter_told_at.is_some() || self.recipients.iter().all(|found| found.told_at.is_some())
    }

    /// Nothing is lost: each recipient has it, or is named in a dead letter.
    pub fn is_safe(&self) -> bool {
        self.recipients.iter().all(|found| found.copies > 0 || found.named)
    }
}
