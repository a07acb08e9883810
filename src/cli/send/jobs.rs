//! The jobs that `mailroom send` puts on the queue.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{SecondsFormat, Utc};
use mailroom_actors::domain::job::Record;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Arguments;
use crate::job;

/// No broker takes more in one record.
const MAX_LINE_BYTES: u64 = 1 << 30;

/// One job as the queue gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    /// The line of the file, from 1; none where options made it.
    pub line: Option<u64>,
}

impl Job {
    /// Whether a worker could make an e-mail of it; templates, expiry and limits are the worker's own to know.
    ///
    /// # Errors
    /// What the worker would put into the dead letter: the cause and the reason. Nothing of the content is in it.
    pub fn check(&self) -> Result<(), String> {
        let record = Record {
            topic: "".into(),
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            value: Some(self.value.clone().into()),
            headers: Vec::new(),
        };
        match job::decode(&record, usize::MAX) {
            Ok(_) => Ok(()),
            Err(failure) => Err(format!("{}: {}", failure.cause.as_str(), failure.reason)),
        }
    }
}

/// Where the jobs come from, one after the other.
pub(super) enum Source {
    /// The same job so many times more.
    Same { job: Job, left: u64 },
    /// A file that is opened at the first job; `-` is stdin.
    File { path: PathBuf, lines: Option<Box<dyn BufRead + Send>>, read: u64 },
}

impl Source {
    /// Where the arguments say. Reads the files that go into a job, and the clock for `--expires-in`.
    ///
    /// # Errors
    /// When one of those files can't be read; the text names it.
    pub fn new(arguments: &Arguments) -> Result<Source, String> {
        Ok(match &arguments.file {
            Some(path) => {
                look_at(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Source::File { path: path.clone(), lines: None, read: 0 }
            }
            None => {
                let key = arguments.key.as_ref().map(|key| key.clone().into_bytes());
                let value = serde_json::to_vec(&job(arguments)?).expect("a job is JSON");
                Source::Same { job: Job { key, value, line: None }, left: arguments.count }
            }
        })
    }

    /// How many jobs there are; none where only the end of the file tells.
    pub fn total(&self) -> Option<u64> {
        match self {
            Source::Same { left, .. } => Some(*left),
            Source::File { .. } => None,
        }
    }

    /// What its lines are told by.
    pub fn name(&self) -> String {
        match self {
            Source::File { path, .. } if path != Path::new("-") => path.display().to_string(),
            Source::File { .. } => "stdin".into(),
            Source::Same { .. } => "the job".into(),
        }
    }

    /// As [`Job::check`], for what the options made; a file is checked line by line.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Source::Same { job, .. } => job.check(),
            Source::File { .. } => Ok(()),
        }
    }

    /// The next job; none after the last. Waits for a file or stdin. Lines of nothing but white space are
    /// passed over; all others are jobs, byte for byte, whatever they hold.
    ///
    /// # Errors
    /// When the file can't be read; the text names it.
    pub fn next(&mut self) -> io::Result<Option<Job>> {
        match self {
            Source::Same { left: 0, .. } => Ok(None),
            Source::Same { job, left } => {
                *left -= 1;
                Ok(Some(job.clone()))
            }
            Source::File { path, lines, read } => {
                let named =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                let lines = match lines {
                    Some(lines) => lines,
                    None => lines.insert(open(path).map_err(named)?),
                };
                let value = next_line(lines, read).map_err(named)?;
                Ok(value.map(|value| Job { key: None, value, line: Some(*read) }))
            }
        }
    }
}

/// Whether there is a file at all, before brokers are asked for. What is no plain file, such as a pipe, is opened when it
/// is read: that may have to wait for whoever writes.
fn look_at(path: &Path) -> io::Result<()> {
    if path == Path::new("-") {
        return Ok(());
    }
    let kind = std::fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::Error::from_raw_os_error(rustix::io::Errno::ISDIR.raw_os_error()));
    }
    if kind.is_file() { File::open(path).map(drop) } else { Ok(()) }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

/// `read` counts all lines, those that are passed over too.
fn next_line(lines: &mut dyn BufRead, read: &mut u64) -> io::Result<Option<Vec<u8>>> {
    loop {
        let mut line = Vec::new();
        if lines.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        *read += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if line.len() as u64 == MAX_LINE_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is longer than 1 GiB"));
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(line));
        }
    }
}

/// The job's JSON: contract, section 2. The variables stay as they were written.
fn job(arguments: &Arguments) -> Result<BTreeMap<&'static str, Box<RawValue>>, String> {
    let mut job = BTreeMap::new();
    let mut put = |name, value: &Value| {
        job.insert(name, serde_json::value::to_raw_value(value).expect("a value is JSON"));
    };
    for (name, addresses) in [("to", &arguments.to), ("cc", &arguments.cc), ("bcc", &arguments.bcc)] {
        match addresses.as_slice() {
            [] => {}
            [one] => put(name, &one.as_str().into()),
            several => put(name, &several.to_vec().into()),
        }
    }
    let expires_in =
        arguments.expires_in.map(|left| (Utc::now() + left).to_rfc3339_opts(SecondsFormat::Millis, true));
    let texts = [
        ("from", &arguments.from),
        ("reply_to", &arguments.reply_to),
        ("subject", &arguments.subject),
        ("text", &arguments.text),
        ("html", &arguments.html),
        ("otp", &arguments.otp),
        ("template", &arguments.template),
        ("expires_at", &expires_in),
        ("expires_at", &arguments.expires_at),
        ("id", &arguments.id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            put(name, &text.as_str().into());
        }
    }
    for (name, pairs) in [("headers", &arguments.headers), ("tags", &arguments.tags)] {
        if !pairs.is_empty() {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
            put(name, &Value::Object(pairs.collect()));
        }
    }
    if !arguments.attachments.is_empty() {
        let attachments = arguments.attachments.iter().map(|path| attachment(path));
        put("attachments", &attachments.collect::<Result<Value, String>>()?);
    }
    if let Some(variables) = arguments.variables.read()? {
        job.insert("variables", variables);
    }
    Ok(job)
}

fn attachment(path: &Path) -> Result<Value, String> {
    let content = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(json!({"filename": name, "content_type": content_type(path), "content": STANDARD.encode(content)}))
}

/// By the file's ending, for the usual ones.
fn content_type(path: &Path) -> &'static str {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("txt") => "text/plain; charset=utf-8",
        Some("csv") => "text/csv; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("ics") => "text/calendar; charset=utf-8",
        Some("json") => "application/json",
        Some("zip") => "application/zip",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
