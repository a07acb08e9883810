//! `mailroom run`: the service, until a signal or its own end.

use actix_rt::signal::unix::{SignalKind, signal};

use super::{Configured, EXIT_CONFIGURATION, output};
use crate::app::{self, StartError};
use crate::config::{self, Config};
use crate::telemetry;

pub fn run(configured: &Configured) -> u8 {
    let config = match config::load(&configured.sources()) {
        Ok(config) => config,
        Err(problems) => {
            output::say(&problems.to_string());
            return EXIT_CONFIGURATION;
        }
    };
    let _telemetry = telemetry::start(&config.log);
    actix::System::new().block_on(serve(config))
}

async fn serve(config: Config) -> u8 {
    let signals = signal(SignalKind::terminate()).and_then(|t| Ok((t, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals can't be listened for");
            return 1;
        }
    };
    let warnings = config.warnings();
    let started = tokio::select! {
        started = app::start(config) => started,
        _ = terminate.recv() => return 0,
        _ = interrupt.recv() => return 0,
    };
    let service = match started {
        Ok(service) => service,
        Err(StartError(text)) => {
            tracing::error!(problem = %text, "not started");
            return EXIT_CONFIGURATION;
        }
    };
    // The first log line is the listener's address.
    for warning in warnings {
        tracing::warn!(problem = %warning, "configuration");
    }
    let stopper = service.stopper();
    let ended = service.ended();
    tokio::pin!(ended);
    let mut signals_seen = 0;
    loop {
        tokio::select! {
            ended = &mut ended => {
                tracing::info!(exit_code = ended.exit_code, reason = %ended.reason, "stopped");
                return ended.exit_code;
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signals_seen += 1;
        if signals_seen > 1 {
            tracing::warn!("second signal: ending at once");
            return 1;
        }
        stopper.stop();
    }
}
