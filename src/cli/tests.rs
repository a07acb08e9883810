//! What the command line takes, and the exit codes.

use clap::CommandFactory;

use super::*;

fn parse(arguments: &str) -> Result<CommandLine, clap::Error> {
    CommandLine::try_parse_from(std::iter::once("mailroom").chain(arguments.split_whitespace()))
}

fn exit_code(arguments: &str) -> u8 {
    run_command(std::iter::once("mailroom").chain(arguments.split_whitespace()).map(OsString::from))
}

#[test]
fn the_command_line_is_well_made() {
    CommandLine::command().debug_assert();
}

/// The words of a line as a shell has them: single quotes keep together, and `>` ends what is ours.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" > ").next().expect("a split has a first part");
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

fn check_help(command: &clap::Command, path: &str) {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (before, examples) = help.split_once("\nExample:\n").unwrap_or_else(|| panic!("{path}: no example"));
    assert!(before.contains("Exit codes: 0 ") && before.contains(" 2 wrong usage"), "{path}: {before}");
    for example in examples.lines() {
        let words = words(example);
        assert!(example.starts_with(&format!("  {path}")), "{example}: of {path}");
        // The example of help is told as help is: by an error of clap's that is none.
        let taken = CommandLine::try_parse_from(&words).map_err(|error| error.exit_code());
        assert!(matches!(taken, Ok(_) | Err(0)), "{example}");
    }
    for argument in command.get_arguments() {
        assert!(argument.get_help().is_some(), "{path}: {} is not explained", argument.get_id());
    }
    for command in command.get_subcommands() {
        check_help(command, &format!("{path} {}", command.get_name()));
    }
}

#[test]
fn every_command_tells_its_options_its_exit_codes_and_examples_that_it_takes() {
    check_help(&CommandLine::command(), "mailroom");
}

#[test]
fn wrong_usage_of_dlq_is_2_before_anybody_is_asked() {
    for arguments in [
        "dlq",
        "dlq ls --cause quotas",
        "dlq ls --code 99",
        "dlq ls --state lost",
        "dlq ls --since yesterday",
        "dlq ls --tag team",
        "dlq ls --letter 17",
        "dlq ls --limit 0",
        "dlq ls --after here",
        "dlq groups --by colour",
        "dlq show",
        "dlq show 17",
        "dlq replay --cause quota",
        "dlq replay --cause quota --reason why --rate 10",
        "dlq replay --cause quota --reason why --canary 0",
        "dlq replay --cause quota --reason why --max 0",
        "dlq replay --cause quota --reason why --include all",
        "dlq runs --wait",
        "dlq cancel",
        "dlq edit 0-17",
        "dlq export",
        "dlq export --format xml",
    ] {
        assert_eq!(exit_code(arguments), 2, "{arguments}");
    }
}

#[test]
fn dlq_needs_no_relay_and_tells_of_a_wrong_configuration_of_its_own_by_78() {
    for setting in ["dlq.rate=10", "kafka.topic=/", "dlq.replay_topic=email-dlq", "dlq.nonsense=1"] {
        assert_eq!(exit_code(&format!("dlq ls --set {setting}")), WRONG_CONFIGURATION, "{setting}");
    }
    assert_eq!(
        exit_code("dlq ls --set dlq.index_letters=0 --set smtp.port=x"),
        FAILED,
        "nothing is to be browsed"
    );
}

#[test]
fn wrong_usage_is_2_and_help_and_version_are_0() {
    for (arguments, expected) in [
        ("", 2),
        ("help", 0),
        ("help template preview", 0),
        ("help deliver", 2),
        ("config", 2),
        ("deliver", 2),
        ("check --within 0s --online", 2),
        ("check --within soon --online", 2),
        ("check --within 5s", 2),
        ("check --offline", 2),
        ("check extra", 2),
        ("send", 2),
        ("send --to a@example.com", 2),
        ("send --otp 1", 2),
        ("send --to a@example.com --otp 1 --rate 0", 2),
        ("send --to a@example.com --otp 1 --rate NaN", 2),
        ("send --to a@example.com --otp 1 --count -1", 2),
        ("send --to a@example.com --otp 1 --id a --count 2", 2),
        ("send --file jobs.ndjson --to a@example.com", 2),
        ("send --file jobs.ndjson --count 2", 2),
        ("send --to a@example.com --template a --otp 1", 2),
        ("send --to a@example.com --text a --expires-in soon", 2),
        ("send --to a@example.com --text a --expires-in 99999999999999999999s", 2),
        ("send --to a@example.com --text a --header X-A", 2),
        ("send --to a@example.com --text a --tag a", 2),
        ("send --file jobs.ndjson --template a", 2),
        ("send --file jobs.ndjson --var a=b", 2),
        ("template", 2),
        ("template preview", 2),
        ("template preview otp --text --html", 2),
        ("template preview otp --var otp", 2),
        ("--version", 0),
        ("--help", 0),
        ("send --help", 0),
    ] {
        assert_eq!(exit_code(arguments), expected, "{arguments}");
    }
}

#[test]
fn the_version_is_the_crates() {
    let error = parse("--version").expect_err("clap says so by an error");
    assert_eq!(error.to_string(), format!("mailroom {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn check_ends_with_78_when_anything_is_wrong_and_with_0_when_nothing_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[smtp]\nhost = \"relay.example.com\"\nfrom = \"a@example.com\"\n")
        .expect("written");
    let check = format!("check --config {}", file.display());
    assert_eq!(exit_code(&check), DONE);
    assert_eq!(exit_code(&format!("{check} --set mailers.size=0")), WRONG_CONFIGURATION);
    assert_eq!(exit_code(&format!("{check}.missing")), WRONG_CONFIGURATION);
}

#[test]
fn send_with_a_wrong_configuration_of_kafka_ends_with_78() {
    let send = "send --to a@example.com --otp 1 --set kafka.topic=/";
    assert_eq!(exit_code(send), WRONG_CONFIGURATION);
}

#[test]
fn template_needs_no_relay_and_tells_what_went_wrong_by_its_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("order.txt"), "Order {{ id }}").expect("written");
    let dir = format!("--dir {}", folder.path().display());
    assert_eq!(exit_code("template preview otp --var otp=493021"), DONE);
    assert_eq!(exit_code("template preview otp"), FAILED, "a variable is missing");
    assert_eq!(exit_code(&format!("template preview order {dir} --var id=7 --text")), DONE);
    assert_eq!(exit_code(&format!("template preview order {dir} --var id=7 --html")), FAILED, "it has none");
    assert_eq!(exit_code(&format!("template preview nope {dir}")), FAILED);
    assert_eq!(exit_code(&format!("template preview order {dir} --variables /nowhere")), FAILED);
    assert_eq!(exit_code(&format!("template ls {dir} --json")), DONE);
    assert_eq!(exit_code("template ls --dir /nowhere"), WRONG_CONFIGURATION);
    std::fs::write(folder.path().join("order.html"), "{{ open").expect("written");
    assert_eq!(exit_code(&format!("template preview order {dir} --var id=7 --text")), WRONG_CONFIGURATION);
}
