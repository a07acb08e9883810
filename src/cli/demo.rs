//! `mailroom demo`: the service with everything it needs inside.

use std::net::SocketAddr;

use clap::Args;

use crate::config::{Log, LogFormat};
use crate::demo::{self, DemoOptions};
use crate::telemetry;

#[derive(Args, Debug)]
pub struct DemoArguments {
    /// Jobs a second
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// End after so many seconds instead of on Ctrl-C
    #[arg(long)]
    seconds: Option<u64>,
    /// Where /health and /metrics listen [default: a free port]
    #[arg(long, default_value = "127.0.0.1:0")]
    http: SocketAddr,
}

pub fn run(arguments: &DemoArguments) -> u8 {
    // The demo's own lines tell the story; what is logged beside them is trouble that it did not stage.
    let _telemetry = telemetry::start(&Log { format: LogFormat::Auto, level: "error".into() });
    demo::run(DemoOptions { rate: arguments.rate, seconds: arguments.seconds, http_bind: arguments.http })
}
