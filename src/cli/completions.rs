//! `mailroom completions`: the command line, as a shell wants to know it.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::CommandLine;
use super::output::{Lines, written};

#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 done, 1 stdout can't be written, 2 wrong usage.\n\n\
                  Example:\n  mailroom completions bash > /usr/share/bash-completion/completions/mailroom\n  \
                  mailroom completions zsh > /usr/local/share/zsh/site-functions/_mailroom\n  \
                  mailroom completions fish > ~/.config/fish/completions/mailroom.fish")]
pub(super) struct Arguments {
    /// For which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut CommandLine::command(), "mailroom", &mut script);
    written(Lines::stdout().write_bytes(&script))
}
