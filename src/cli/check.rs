//! `mailroom check`: is anything wrong with the configuration or the templates?

use clap::Args;

use super::output::{self, Lines};
use super::{ConfigurationArguments, DONE, FAILED, WRONG_CONFIGURATION, wrong_configuration};
use crate::config;
use crate::templates::Templates;

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
    let ok = match &config.templates.dir {
        None => "configuration ok".to_owned(),
        Some(dir) => match Templates::read(dir) {
            Ok(templates) => {
                for text in templates.warnings() {
                    output::tell(format_args!("warning: templates.dir: {text}"));
                }
                format!("configuration ok, {} templates", templates.names().count())
            }
            // They were right a moment ago.
            Err(mistakes) => {
                output::tell(mistakes);
                return WRONG_CONFIGURATION;
            }
        },
    };
    match Lines::stdout().write(ok) {
        Ok(()) => DONE,
        Err(error) => {
            output::tell(format_args!("stdout can't be written: {error}"));
            FAILED
        }
    }
}
