//! `mailroom health`: asks the running service whether it is alive, or ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::output::{Lines, failed, written};
use super::spinner::Spinner;
use super::{ConfigurationArguments, WRONG_USAGE, duration, output, wrong_configuration};
use crate::config;

/// An answer comes at once, or the service is not well; the time-outs of health checks are seldom shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(250);
/// The service's own answers have a few hundred bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

#[derive(Args, Debug)]
#[command(
    after_help = "Of the configuration only http.bind counts; mistakes in the rest do not matter here.\n\n\
                  Exit codes: 0 it is so, 1 it is not, or nobody answers, 2 wrong usage, 78 wrong configuration.\n\n\
                  Example:\n  mailroom health ready --wait 30s\n  mailroom health live --url http://127.0.0.1:8080"
)]
pub(super) struct Arguments {
    /// What to ask for
    #[arg(value_enum)]
    what: What,

    /// Asks again until it is so, for at most this long, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = duration::read)]
    wait: Option<Duration>,

    /// Where the service is, instead of http.bind of the configuration
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "settings"])]
    url: Option<String>,

    #[command(flatten)]
    configuration: ConfigurationArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Makes progress; nothing outside the process counts
    Live,
    /// Can take jobs and publish dead letters
    Ready,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::Live => "live",
            What::Ready => "ready",
        }
    }
}

pub(super) fn run(arguments: Arguments) -> u8 {
    let Arguments { what, wait, url, configuration } = arguments;
    let base = match url {
        Some(url) if url.starts_with("http://") => url.trim_end_matches('/').to_owned(),
        Some(_) => {
            output::tell("--url: must begin with http://, such as http://127.0.0.1:8080");
            return WRONG_USAGE;
        }
        None => match config::load_bind(&configuration.sources()) {
            Ok(bind) if bind.port() == 0 => {
                return failed(
                    "http.bind has port 0, a free one: the first line of the log tells which; name it by --url",
                );
            }
            Ok(bind) => format!("http://{}", reachable(bind)),
            Err(problems) => return wrong_configuration(&problems),
        },
    };
    match ask_until_well(&format!("{base}/health/{}", what.name()), wait.unwrap_or_default()) {
        Ok(()) => written(Lines::stdout().write(what.name())),
        Err(why) => failed(format_args!("not {}: {why}", what.name())),
    }
}

/// Where what listens on `bind` is found from the same machine.
fn reachable(bind: SocketAddr) -> SocketAddr {
    let ip = match bind.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bind.port())
}

/// Asks once, and then again until `wait` is over. The error is the last answer's.
fn ask_until_well(url: &str, wait: Duration) -> Result<(), String> {
    let gives_up = Instant::now() + wait;
    let spinner = Spinner::new("asking the service");
    loop {
        let left = gives_up.saturating_duration_since(Instant::now());
        // The first try has its time even without a wait, a later one only what is left.
        let limit = if wait.is_zero() { ANSWER_TIMEOUT } else { left.clamp(BETWEEN_TRIES, ANSWER_TIMEOUT) };
        match ask(url, limit) {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() + BETWEEN_TRIES >= gives_up => return Err(why),
            Err(_) => {
                spinner.look();
                thread::sleep(BETWEEN_TRIES);
            }
        }
    }
}

/// What the service says is wrong, and what to do.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    hint: Option<String>,
}

fn ask(url: &str, limit: Duration) -> Result<(), String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        // The environment's is for the world outside.
        .proxy(None)
        .timeout_global(Some(limit))
        .build()
        .into();
    let mut answer = agent.get(url).call().map_err(|error| no_answer(url, &error))?;
    let status = answer.status().as_u16();
    if status == 200 {
        return Ok(());
    }
    let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().unwrap_or_default();
    Err(match serde_json::from_slice::<Refusal>(&body) {
        Ok(Refusal { error, hint: None }) => error,
        Ok(Refusal { error, hint: Some(hint) }) => format!("{error}\n{hint}"),
        Err(_) => format!("{url} answers {status}: is that Mailroom? --url and http.bind say where it is"),
    })
}

fn no_answer(url: &str, error: &ureq::Error) -> String {
    let what = match error {
        // Its own words for it begin with "io: ".
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    format!("{url} gives no answer: {what}\nis the service running, and is http.bind what it runs with?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listens_everywhere_is_asked_on_the_loopback() {
        for (bind, expected) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:1", "[::1]:1"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(bind.parse().expect("an address")).to_string(), expected);
        }
    }
}
