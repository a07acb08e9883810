//! The jobs that `mailroom send` puts on the queue.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Arguments;

/// No broker takes more in one record.
const MAX_LINE_BYTES: u64 = 1 << 30;

/// One job as the queue gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
}

/// Where the jobs come from, one after the other.
pub(super) enum Source {
    /// The same job so many times more.
    Same { job: Job, left: u64 },
    /// A file that is opened at the first job; `-` is stdin.
    File { path: PathBuf, lines: Option<Box<dyn BufRead + Send>> },
}

impl Source {
    pub fn new(arguments: &Arguments) -> Source {
        match &arguments.file {
            Some(path) => Source::File { path: path.clone(), lines: None },
            None => {
                let key = arguments.key.as_ref().map(|key| key.clone().into_bytes());
                let value = job(arguments).to_string().into_bytes();
                Source::Same { job: Job { key, value }, left: arguments.count }
            }
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
            Source::File { path, lines } => {
                let named =
                    |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                let lines = match lines {
                    Some(lines) => lines,
                    None => lines.insert(open(path).map_err(named)?),
                };
                next_line(lines).map(|line| line.map(|value| Job { key: None, value })).map_err(named)
            }
        }
    }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::new(File::open(path)?)))
}

fn next_line(lines: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    loop {
        let mut line = Vec::new();
        if lines.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
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

/// The job's JSON: contract, section 2.
fn job(arguments: &Arguments) -> Value {
    let mut job = Map::new();
    for (name, addresses) in [("to", &arguments.to), ("cc", &arguments.cc), ("bcc", &arguments.bcc)] {
        match addresses.as_slice() {
            [] => continue,
            [one] => job.insert(name.into(), one.as_str().into()),
            several => job.insert(name.into(), several.to_vec().into()),
        };
    }
    let texts = [
        ("from", &arguments.from),
        ("subject", &arguments.subject),
        ("text", &arguments.text),
        ("html", &arguments.html),
        ("otp", &arguments.otp),
        ("id", &arguments.id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            job.insert(name.into(), text.as_str().into());
        }
    }
    Value::Object(job)
}

#[cfg(test)]
mod tests;
