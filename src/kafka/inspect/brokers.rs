//! Each broker by itself: does it answer, and does it take our credentials?

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::{Metadata, MetadataBroker};

use super::{ANSWER_TIMEOUT, SLICE};
use crate::config;
use crate::kafka::problem::{StartProblem, refuses_credentials};
use crate::kafka::watermarks;

/// So many are asked; a cluster that has more is known well enough by then.
const MOST_BROKERS: usize = 64;
/// A broker that refuses the first connection gets another one.
const SECOND_TRY: Duration = Duration::from_secs(1);

/// One broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInspection {
    /// `host:port`
    pub address: String,
    /// It is in `kafka.brokers`; the others are named by the cluster, and must be reachable by that name.
    pub is_configured: bool,
    pub answer: Result<(), Silence>,
}

/// Why a broker does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// It does, but takes neither our password nor our certificate.
    pub refuses_credentials: bool,
    /// In librdkafka's words.
    pub why: String,
}

/// A broker that has answered.
struct Answer {
    id: i32,
    /// All that it knows.
    brokers: Vec<String>,
}

impl Answer {
    /// What the broker at `address` says; none where it names nobody. A new connection does not know its broker's number
    /// yet (`orig_broker_id` is -1 then): the list of brokers tells it. Where the cluster knows the address by another
    /// name, it is the number of any broker.
    fn of(metadata: &Metadata, address: &str) -> Option<Answer> {
        let named = |broker: &MetadataBroker| format!("{}:{}", broker.host(), broker.port());
        let brokers = metadata.brokers();
        let itself = brokers.iter().find(|broker| named(broker) == address).or_else(|| brokers.first())?;
        let known = metadata.orig_broker_id();
        let id = if known < 0 { itself.id() } else { known };
        Some(Answer { id, brokers: brokers.iter().map(named).collect() })
    }
}

/// Asks all brokers at once; with the number of one, where one has answered.
pub(super) fn inspect(config: &config::Kafka) -> (Vec<BrokerInspection>, Option<i32>) {
    let seeds = seeds(&config.brokers);
    let first = ask_all(config, &seeds);
    let id = first.iter().find_map(|answer| Some(answer.as_ref().ok()?.id));
    let named: BTreeSet<String> =
        first.iter().flatten().flat_map(|answer| answer.brokers.iter().cloned()).collect();
    let named: Vec<String> = named.into_iter().filter(|address| !seeds.contains(address)).collect();
    let second = ask_all(config, &named);
    let of = |is_configured| {
        move |(address, answer): (String, Result<Answer, Silence>)| BrokerInspection {
            address,
            is_configured,
            answer: answer.map(drop),
        }
    };
    let configured = seeds.into_iter().zip(first).map(of(true));
    (configured.chain(named.into_iter().zip(second).map(of(false))).collect(), id)
}

/// What is known of the brokers when all time is up.
pub(super) fn silent(config: &config::Kafka) -> Vec<BrokerInspection> {
    let silence = Silence { refuses_credentials: false, why: "no answer in time".into() };
    let of = |address| BrokerInspection { address, is_configured: true, answer: Err(silence.clone()) };
    seeds(&config.brokers).into_iter().map(of).collect()
}

/// `kafka.brokers` one by one, without protocols, at librdkafka's own default port.
fn seeds(brokers: &str) -> Vec<String> {
    let mut seeds: Vec<String> = Vec::new();
    for broker in brokers.split(',') {
        let address = broker.trim();
        let address = address.split_once("://").map_or(address, |(_, address)| address);
        let port =
            address.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
        let address = if port { address.to_owned() } else { format!("{address}:9092") };
        if !seeds.contains(&address) {
            seeds.push(address);
        }
    }
    seeds
}

fn ask_all(config: &config::Kafka, addresses: &[String]) -> Vec<Result<Answer, Silence>> {
    let too_many = || Err(Silence { refuses_credentials: false, why: "not asked: there are so many".into() });
    thread::scope(|scope| {
        let asked: Vec<_> = addresses
            .iter()
            .take(MOST_BROKERS)
            .map(|address| scope.spawn(move || ask(config, address)))
            .collect();
        let answers = asked.into_iter().map(|asked| asked.join().expect("asking a broker does not panic"));
        let rest = addresses.iter().skip(MOST_BROKERS).map(|_| too_many());
        answers.chain(rest).collect()
    })
}

fn ask(config: &config::Kafka, address: &str) -> Result<Answer, Silence> {
    let alone = config::Kafka { brokers: address.to_owned(), ..config.clone() };
    let no_client = |problem: StartProblem| Silence { refuses_credentials: false, why: problem.to_string() };
    let observer = watermarks::observer(&alone).map_err(no_client)?;
    let begun = Instant::now();
    let mut silence = Silence { refuses_credentials: false, why: "no answer in time".into() };
    while begun.elapsed() < ANSWER_TIMEOUT {
        if let Ok(metadata) = observer.fetch_metadata(Some(&config.topic), SLICE)
            && let Some(answer) = Answer::of(&metadata, address)
        {
            return Ok(answer);
        }
        let mut is_down = false;
        while let Some(event) = observer.poll(Duration::ZERO) {
            let code = event.err().and_then(|error| error.rdkafka_error_code());
            let text = observer.context().take_error().map(|(_, text)| text);
            match (code, text) {
                (Some(RDKafkaErrorCode::AllBrokersDown), _) => is_down = true,
                (Some(code), Some(text)) => {
                    let refuses_credentials = refuses_credentials(code, &text);
                    is_down |= refuses_credentials;
                    // What it says of the credentials is not to be hidden by how the connection ended.
                    if refuses_credentials || !silence.refuses_credentials {
                        silence = Silence { refuses_credentials, why: plain(&text) };
                    }
                }
                _ => {}
            }
        }
        if is_down && (silence.refuses_credentials || begun.elapsed() >= SECOND_TRY) {
            break;
        }
    }
    Err(silence)
}

/// librdkafka's words without the name of its thread and connection before them, and the count of its tries behind.
fn plain(text: &str) -> String {
    let text = text.split_once("/bootstrap: ").map_or(text, |(_, text)| text);
    let text = text.split_once(" (after ").map_or(text, |(text, _)| text);
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_read_as_librdkafka_reads_them() {
        let read = seeds("a:1, b,SASL_SSL://c:2,[::1]:3, [::1],a:1");
        assert_eq!(read, ["a:1", "b:9092", "c:2", "[::1]:3", "[::1]:9092"]);
    }

    #[test]
    fn a_broker_is_known_by_its_number_from_the_first_answer_on() {
        let (_cluster, config) = crate::kafka::tests::cluster(1);
        let numbers: Vec<_> = (0..50).map(|_| inspect(&config).1).collect();
        assert_eq!(numbers, [Some(1); 50]);
    }

    #[test]
    fn a_broker_that_is_not_there_is_told_with_the_reason() {
        let address = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("the port it was given").to_string()
        };
        let (brokers, id) = inspect(&crate::kafka::tests::configuration(&address));
        assert_eq!((brokers.len(), id), (1, None));
        let silence = brokers[0].answer.as_ref().expect_err("nobody listens");
        assert!(silence.why.contains("Connection refused"), "{silence:?}");
        assert!(!silence.refuses_credentials);
    }
}
