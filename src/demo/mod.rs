//! `mailroom demo`: the service on a Kafka and a mail server inside the process, with traffic and faults, and
//! books that account for every job. Contract, section 7.

pub mod accounts;
pub mod queue;
pub mod readings;
mod service;
pub mod settings;
pub mod smtp_server;
pub mod traffic;

use std::net::SocketAddr;

/// What can be said on the command line of `mailroom demo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// Jobs a second; 0 counts as 1. The flow waits while 4,000 jobs are open.
    pub rate: u32,
    /// For how long jobs are produced; none: until Ctrl-C or SIGTERM.
    pub seconds: Option<u64>,
    /// Where `/health` and `/metrics` are; port 0 is a free one.
    pub http_bind: SocketAddr,
}

/// Runs the demo until its time is up, or Ctrl-C or SIGTERM, and then up to about 12 s more for what is under
/// way; a second signal cuts that short. Blocks; not to be called inside a runtime. The caller should exit the
/// process with what this returns, without waiting for librdkafka's threads.
///
/// Returns the exit code: 0 when every job is accounted for and the service ended well, else 1.
pub fn run(options: DemoOptions) -> u8 {
    actix::System::new().block_on(service::run(options))
}
