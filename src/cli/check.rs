//! `mailroom check`: is anything wrong with the configuration?

use clap::Args;

use super::output::{self, Lines};
use super::{ConfigurationArguments, DONE, FAILED, wrong_configuration};
use crate::config;

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mailroom check --config /etc/mailroom/config.toml")]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let config = match config::load(&arguments.configuration.sources()) {
        Ok(config) => config,
        Err(problems) => return wrong_configuration(&problems),
    };
    for (key, text) in config.warnings() {
        output::tell(format_args!("warning: {key}: {text}"));
    }
    match Lines::stdout().write("configuration ok") {
        Ok(()) => DONE,
        Err(error) => {
            output::tell(format_args!("stdout can't be written: {error}"));
            FAILED
        }
    }
}
