//! `mailroom send`: puts one job on the queue, or many.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::StreamExt;
use serde_json::{Map, Value};

use super::{Configured, EXIT_CONFIGURATION, output};
use crate::config;
use crate::kafka::StartProblem;
use crate::kafka::send::{Job, Sender, Sent};

/// Jobs that wait for the broker's acknowledgement, at most.
const UNDER_WAY: usize = 1000;

#[derive(Args, Debug)]
pub struct SendArguments {
    /// A recipient; may be repeated
    #[arg(long, required_unless_present = "file")]
    to: Vec<String>,
    #[arg(long)]
    cc: Vec<String>,
    #[arg(long)]
    bcc: Vec<String>,
    #[arg(long)]
    from: Option<String>,
    /// A one-time password, for the built-in template
    #[arg(long)]
    otp: Option<String>,
    #[arg(long)]
    subject: Option<String>,
    #[arg(long)]
    text: Option<String>,
    #[arg(long)]
    html: Option<String>,
    /// Idempotency key: the same Message-ID for the same id
    #[arg(long)]
    id: Option<String>,
    /// The Kafka key
    #[arg(long)]
    key: Option<String>,
    /// The same job so many times
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// At most so many a second
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Jobs as they are, one JSON object a line; - is standard input
    #[arg(long, value_name = "JOBS.NDJSON", conflicts_with_all = ["to", "cc", "bcc", "from", "otp", "subject", "text", "html", "id", "count"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    configured: Configured,
}

pub fn run(arguments: &SendArguments) -> u8 {
    let kafka = match config::load_kafka(&arguments.configured.sources()) {
        Ok(kafka) => kafka,
        Err(problems) => {
            output::say(&problems.to_string());
            return EXIT_CONFIGURATION;
        }
    };
    let jobs = match jobs(arguments) {
        Ok(jobs) => jobs,
        Err(error) => {
            output::say(&error);
            return 1;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::say(&format!("no runtime: {error}"));
            return 1;
        }
    };
    match runtime.block_on(send_all(kafka, jobs, arguments.rate)) {
        Ok(()) => 0,
        Err(problem) => {
            output::say(&problem.to_string());
            1
        }
    }
}

type Jobs = Box<dyn Iterator<Item = io::Result<Job>> + Send>;

fn jobs(arguments: &SendArguments) -> Result<Jobs, String> {
    let key = arguments.key.clone().map(String::into_bytes);
    let Some(path) = &arguments.file else {
        let value = job(arguments).to_string().into_bytes();
        let count = usize::try_from(arguments.count).unwrap_or(usize::MAX);
        let job = Job { key, value, headers: Vec::new() };
        return Ok(Box::new(std::iter::repeat_n(job, count).map(Ok)));
    };
    let reader: Box<dyn Read + Send> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?)
    };
    let lines = BufReader::new(reader)
        .split(b'\n')
        .filter(|line| !matches!(line, Ok(line) if line.trim_ascii().is_empty()));
    Ok(Box::new(lines.map(move |line| Ok(Job { key: key.clone(), value: line?, headers: Vec::new() }))))
}

/// The job form of the contract's section 2, of the flags that were given.
fn job(arguments: &SendArguments) -> Value {
    let mut job = Map::new();
    let lists = [("to", &arguments.to), ("cc", &arguments.cc), ("bcc", &arguments.bcc)];
    for (name, addresses) in lists {
        match addresses.as_slice() {
            [] => {}
            [one] => drop(job.insert(name.into(), one.clone().into())),
            several => drop(job.insert(name.into(), several.to_vec().into())),
        }
    }
    let texts = [
        ("from", &arguments.from),
        ("otp", &arguments.otp),
        ("subject", &arguments.subject),
        ("text", &arguments.text),
        ("html", &arguments.html),
        ("id", &arguments.id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            job.insert(name.into(), text.clone().into());
        }
    }
    Value::Object(job)
}

async fn send_all(kafka: config::Kafka, jobs: Jobs, rate: Option<u32>) -> Result<(), StartProblem> {
    let sender = Sender::open(&kafka).await?;
    let mut pace = rate.map(|rate| tokio::time::interval(Duration::from_secs(1) / rate));
    let mut under_way = futures::stream::FuturesOrdered::new();
    let print = |sent: Result<Sent, StartProblem>| sent.map(|sent| output::data(&sent.to_string()));
    for job in jobs {
        let job = job.map_err(|error| StartProblem::Away(format!("the jobs can't be read: {error}")))?;
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let sender = sender.clone();
        under_way.push_back(async move { sender.send(&job).await });
        if (under_way.len() >= UNDER_WAY || pace.is_some())
            && let Some(sent) = under_way.next().await
        {
            print(sent)?;
        }
    }
    while let Some(sent) = under_way.next().await {
        print(sent)?;
    }
    Ok(())
}
