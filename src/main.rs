//! The `mailroom` command.

fn main() {
    // A panic that gets this far has ended the service: say so by the exit code, whatever else still runs.
    let code = std::panic::catch_unwind(mailroom::cli::main).unwrap_or(1);
    // librdkafka's threads may outlive the actors; whatever had to be waited for was waited for.
    std::process::exit(i32::from(code));
}
