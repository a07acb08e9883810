//! `mailroom check`: the configuration, all problems at once.

use super::{Configured, EXIT_CONFIGURATION, output};
use crate::config;

pub fn run(configured: &Configured) -> u8 {
    match config::load(&configured.sources()) {
        Ok(config) => {
            for warning in config.warnings() {
                output::say(&format!("warning: {warning}"));
            }
            output::data("configuration ok");
            0
        }
        Err(problems) => {
            output::say(&problems.to_string());
            EXIT_CONFIGURATION
        }
    }
}
