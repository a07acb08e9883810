//! The `mailroom` command.

fn main() {
    let code = mailroom::cli::main();
    // librdkafka's threads may outlive the actors; whatever had to be waited for was waited for.
    std::process::exit(i32::from(code));
}
