//! `mailroom run`: the service, until it is told to stop.

use std::io;

use clap::Args;

use super::output;
use super::signals::{self, Signals};
use super::{ConfigurationArguments, DONE, FAILED, WRONG_CONFIGURATION, reload, wrong_configuration};
use crate::app::{self, StartError};
use crate::config::{self, Config};
use crate::descriptors;
use crate::kafka;
use crate::telemetry::Telemetry;

#[derive(Args, Debug)]
#[command(
    after_help = "The first SIGTERM or Ctrl-C stops it within worker.drain_timeout, the second at once; SIGHUP reads the \
                  templates anew.\n\n\
                  Exit codes: 0 stopped as it was told, 1 failed, 2 wrong usage, 78 wrong configuration, or a topic, the \
                  credentials or a right missing in Kafka.\n\nExample:\n  mailroom run --config /etc/mailroom/config.toml --set mailers.size=16"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    // First of all: a SIGHUP must not end the process, however early it comes.
    let signals = match signals::listen() {
        Ok(signals) => signals,
        Err(error) => return not_set_up(&error),
    };
    let config = match config::load(&arguments.configuration.sources()) {
        Ok(config) => config,
        Err(problems) => return wrong_configuration(&problems),
    };
    if let Err(problem) = kafka::properties::try_out(&config.kafka) {
        output::tell(problem);
        return WRONG_CONFIGURATION;
    }
    let _telemetry = match Telemetry::start(&config.log) {
        Ok(telemetry) => telemetry,
        Err(error) => return not_set_up(&error),
    };
    actix_rt::System::new().block_on(serve(config, signals))
}

fn not_set_up(error: &io::Error) -> u8 {
    output::tell(format_args!("the process can't be set up: {error}"));
    FAILED
}

async fn serve(config: Config, Signals { stop: mut first_signal, hangups }: Signals) -> u8 {
    let mut warnings = config.warnings();
    if let Err(text) = descriptors::provide_for(config.mailers.max) {
        warnings.push(("mailers.max", text));
    }
    let started = tokio::select! {
        started = app::start(config) => started,
        signal = &mut first_signal => {
            tracing::info!(signal = signal.unwrap_or("none"), "stopped before it had started");
            return DONE;
        }
    };
    let mut service = match started {
        Ok(service) => service,
        Err(StartError(text)) => {
            tracing::error!(error = text, "the service can't start");
            return WRONG_CONFIGURATION;
        }
    };
    // Behind the line that tells the address, which is the first.
    for (key, text) in warnings {
        tracing::warn!(key, text, "configuration");
    }
    for text in service.templates().current().warnings() {
        tracing::warn!(key = "templates.dir", text, "configuration");
    }
    if let Err(error) = service.notify_manager() {
        tracing::error!(%error, "the service manager can't be told that the worker is ready");
    }
    if let Err(error) = reload::on(hangups, service.templates(), service.notifier()) {
        tracing::error!(%error, "templates can't be reloaded by SIGHUP");
    }
    let stop = service.stopper();
    actix_rt::spawn(async move {
        if let Ok(signal) = first_signal.await {
            tracing::info!(signal, "stopping");
            stop.stop();
        }
    });
    let ended = service.ended().await;
    if ended.exit_code == DONE {
        tracing::info!(reason = ended.reason, "stopped");
    } else {
        tracing::error!(reason = ended.reason, exit_code = ended.exit_code, "stopped");
    }
    ended.exit_code
}
