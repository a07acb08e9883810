//! What one seed means: how large the world is, what the jobs are like, and which faults come when.

use fastrand::Rng;

/// Whether a run may have faults after which something may come twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stops, rebalances, resizes, broker restarts, panics before the dot, an awkward relay that answers
    /// each final dot in time: nobody may get anything twice.
    Graceful,
    /// The same and kill -9, expired sessions, refused last commits, ambiguous endings, dots that take too long.
    Rough,
}

/// A world that does not keep its word, to see that the oracles notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    No,
    CommitsAreNotStored,
    CommitsAreStoredTooHigh,
    EachEmailIsTakenTwice,
    LettersAreNotStored,
    RecordsAreSkipped,
    /// A partition is handed on without a word to the worker that has it.
    AssignmentsAreNotRevoked,
    /// The workers are given other limits than they are measured by.
    SettingsAreNotKept,
    /// Jobs are said to expire later or earlier than they do.
    ExpiriesAreToldWrong,
}

/// A port that panics at one of its next calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fuse {
    Commit,
    Clock,
    Jitter,
    Compose,
    Send,
    SendPastTheDot,
    Publish,
}

#[derive(Clone, Debug)]
pub enum Fault {
    Produce {
        partition: usize,
        jobs: usize,
    },
    Start {
        slot: usize,
    },
    Stop {
        slot: usize,
        back_after_ms: Option<u64>,
    },
    Kill {
        slot: usize,
        back_after_ms: u64,
    },
    /// No word between this worker and the brokers; longer than the session it loses its partitions.
    Cut {
        slot: usize,
        ms: u64,
    },
    Resize {
        slot: usize,
        mailers: usize,
    },
    Burn {
        slot: usize,
        fuse: Fuse,
        calls: i64,
    },
    BrokersAway {
        ms: u64,
    },
    CommitTrouble {
        ms: u64,
    },
    RelayAway {
        ms: u64,
    },
    RelayTakesFewConnections {
        connections: usize,
        ms: u64,
    },
    RelayIsAwkward {
        ms: u64,
    },
    LettersRefused {
        ms: u64,
    },
    /// The wall clock of all workers is set, to so much more than the time that has passed.
    ClockStep {
        ms: i64,
    },
    /// Letters are stored, and said not to be.
    LettersDenied {
        ms: u64,
    },
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub kind: Kind,
    pub broken: Broken,
    pub slots: usize,
    pub first_workers: usize,
    pub partitions: usize,
    pub mailers: usize,
    pub jobs_in_flight: usize,
    pub bytes_in_flight: usize,
    pub commit_interval_ms: u64,
    pub drain_ms: u64,
    pub crash_limit: u32,
    pub breaker_failures: u32,
    pub probe_interval_ms: u64,
    /// E-mails a second.
    pub max_rate: Option<u32>,
    pub emails_per_connection: u32,
    pub idle_ms: u64,
    pub session_ms: u64,
    /// Jobs that end the process at each attempt.
    pub killers: bool,
    /// Very many jobs in few partitions, and most are put off: what is to be remembered of them is a lot.
    pub heavy: bool,
    pub faults: Vec<(u64, Fault)>,
}

impl Plan {
    /// Faults come for so long.
    const TROUBLED_MS: u64 = 20_000;

    pub fn new(seed: u64, kind: Kind) -> Plan {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6d61_696c);
        let slots = [1, 2, 2, 3, 3][rng.usize(0..5)];
        let heavy = rng.u32(0..25) == 0;
        let mut plan = Plan {
            seed,
            kind,
            broken: Broken::No,
            slots,
            first_workers: rng.usize(1..=slots),
            partitions: if heavy { rng.usize(1..=2) } else { rng.usize(1..=4) },
            mailers: rng.usize(1..=6),
            jobs_in_flight: if heavy { 2_000 } else { [3, 10, 40, 1_000][rng.usize(0..4)] },
            bytes_in_flight: if heavy { 1 << 20 } else { [500, 5_000, 1 << 20][rng.usize(0..3)] },
            commit_interval_ms: [50, 200, 1_000][rng.usize(0..3)],
            drain_ms: 8_000,
            crash_limit: rng.u32(1..4),
            breaker_failures: [0, 1, 3, 5, 20][rng.usize(0..5)],
            probe_interval_ms: [500, 2_000, 5_000][rng.usize(0..3)],
            max_rate: if rng.u32(0..5) == 0 { Some(rng.u32(20..200)) } else { None },
            emails_per_connection: [2, 20, 1_000][rng.usize(0..3)],
            idle_ms: [200, 2_000, 30_000][rng.usize(0..3)],
            session_ms: rng.u64(4_000..10_000),
            killers: false,
            heavy,
            faults: Vec::new(),
        };
        for _ in 0..rng.usize(3..14) {
            let at = if rng.u32(0..4) == 0 { 0 } else { rng.u64(0..Self::TROUBLED_MS) };
            let partition = rng.usize(0..plan.partitions);
            plan.faults.push((
                at,
                Fault::Produce { partition, jobs: rng.usize(1..16) * if heavy { 16 } else { 1 } },
            ));
        }
        for _ in 0..rng.usize(3..18) {
            let at = rng.u64(100..Self::TROUBLED_MS);
            let fault = plan.draw(&mut rng);
            plan.faults.push((at, fault));
        }
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    fn draw(&self, rng: &mut Rng) -> Fault {
        let slot = rng.usize(0..self.slots);
        let ms = rng.u64(200..8_000);
        let rough = self.kind == Kind::Rough;
        loop {
            return match rng.u32(0..21) {
                0 | 1 => Fault::Stop { slot, back_after_ms: Some(rng.u64(0..5_000)) },
                2 => Fault::Stop { slot, back_after_ms: None },
                3 | 4 => Fault::Start { slot },
                5 => Fault::Resize { slot, mailers: rng.usize(1..12) },
                6 => {
                    let fuses =
                        [Fuse::Commit, Fuse::Clock, Fuse::Jitter, Fuse::Compose, Fuse::Send, Fuse::Publish];
                    let fuse = fuses[rng.usize(0..fuses.len())];
                    Fault::Burn { slot, fuse, calls: rng.i64(1..20) }
                }
                7 => Fault::BrokersAway { ms },
                8 => Fault::CommitTrouble { ms },
                9 => Fault::RelayAway { ms: ms * rng.u64(1..4) },
                10 => Fault::RelayTakesFewConnections { connections: rng.usize(1..4), ms },
                11 | 12 => Fault::RelayIsAwkward { ms: ms * 2 },
                13 => Fault::LettersRefused { ms },
                14 => Fault::LettersDenied { ms },
                20 => {
                    Fault::ClockStep { ms: [-3_600_000, -2_000, 0, 500, 2_000, 3_600_000][rng.usize(0..6)] }
                }
                15 | 16 if rough => Fault::Kill { slot, back_after_ms: rng.u64(0..8_000) },
                17 | 18 if rough => Fault::Cut { slot, ms: rng.u64(1_000..15_000) },
                19 if rough => Fault::Burn { slot, fuse: Fuse::SendPastTheDot, calls: rng.i64(1..10) },
                _ => continue,
            };
        }
    }
}
