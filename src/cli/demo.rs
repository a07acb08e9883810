//! `mailroom demo`: the service with everything around it, in one process.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;

use super::FAILED;
use super::output;
use crate::config::{Log, LogFormat};
use crate::demo::DemoOptions;
use crate::telemetry::Telemetry;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mailroom demo --seconds 30")]
pub(super) struct Arguments {
    /// How many jobs a second
    #[arg(long, value_name = "R", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,

    /// Ends after so many seconds; without it on Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    seconds: Option<u64>,

    /// Where /health and /metrics are served; port 0 is a free one
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))]
    http: SocketAddr,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    // At info each job is a line, which would bury what the demo has to tell.
    let log = Log { format: LogFormat::Auto, level: "error".into() };
    let _telemetry = match Telemetry::start(&log) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            output::tell(format_args!("the log can't be started: {error}"));
            return FAILED;
        }
    };
    crate::demo::run(DemoOptions {
        rate: arguments.rate,
        seconds: arguments.seconds,
        http_bind: arguments.http,
    })
}
