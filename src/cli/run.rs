//! `mailroom run`: the service, until it is told to stop.

use clap::Args;
use tokio::sync::oneshot;

use super::output;
use super::{ConfigurationArguments, DONE, FAILED, WRONG_CONFIGURATION, signals, wrong_configuration};
use crate::app::{self, StartError};
use crate::config::{self, Config};
use crate::descriptors;
use crate::telemetry::Telemetry;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mailroom run --config /etc/mailroom/config.toml --set mailers.size=16")]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let config = match config::load(&arguments.configuration.sources()) {
        Ok(config) => config,
        Err(problems) => return wrong_configuration(&problems),
    };
    let ready = Telemetry::start(&config.log).and_then(|log| Ok((log, signals::first_signal()?)));
    let (_telemetry, first_signal) = match ready {
        Ok(ready) => ready,
        Err(error) => {
            output::tell(format_args!("the process can't be set up: {error}"));
            return FAILED;
        }
    };
    actix_rt::System::new().block_on(serve(config, first_signal))
}

async fn serve(config: Config, mut first_signal: oneshot::Receiver<&'static str>) -> u8 {
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
    let service = match started {
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
