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

#[test]
fn every_command_has_an_example_that_it_takes() {
    // Those of dlq have many, below.
    for command in CommandLine::command().get_subcommands().filter(|of| of.get_name() != "dlq") {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let example =
            help.split("Example:\n  mailroom ").nth(1).expect("each has one").replace(['\'', '?'], "");
        // What the shell would take away, or keep together.
        let example = example.replace("How are you", "text").replace(" > ", " mailroom ");
        let example = example.split(" mailroom /").next().expect("a split has a first part");
        for example in example.split("mailroom ") {
            assert!(parse(example).is_ok(), "{example}: {:?}", parse(example).err());
        }
    }
}

/// The words of a shell's line; what stands between quotes is one.
fn words(line: &str) -> Vec<String> {
    let line = line.split(" > ").next().expect("a split has a first part");
    let parts = line
        .split('\'')
        .enumerate()
        .map(|(at, part)| if at % 2 == 1 { part.replace(' ', "\u{a0}") } else { part.to_owned() });
    let line: String = parts.collect();
    line.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('\u{a0}', " ")).collect()
}

#[test]
fn every_command_of_dlq_has_examples_that_it_takes() {
    let all = CommandLine::command();
    let dlq = all.find_subcommand("dlq").expect("it is there");
    for command in dlq.get_subcommands().chain([dlq]) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples =
            help.split("Example:\n").nth(1).unwrap_or_else(|| panic!("{} has none", command.get_name()));
        for example in examples.lines() {
            let parsed = CommandLine::try_parse_from(words(example));
            assert!(parsed.is_ok(), "{example}: {:?}", parsed.err());
        }
    }
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
        "dlq replay --reason why",
        "dlq replay --cause quota",
        "dlq replay --cause quota --reason why --rate 10",
        "dlq replay --cause quota --reason why --canary 0",
        "dlq replay --cause quota --reason why --max 0",
        "dlq replay --cause quota --reason why --include all",
        "dlq replay --cause quota --reason why --dry-run --yes",
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
        ("deliver", 2),
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
