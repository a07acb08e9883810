//! Postfix's `smtp-sink`: a real server's SMTP that throws away, or dumps, what it takes.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{self, Process};

pub struct SmtpSink {
    port: u16,
    folder: PathBuf,
    _process: Process,
}

impl SmtpSink {
    /// Starts it with further options, such as `["-r", "RCPT"]` (refuse it for good). Each e-mail goes into a file.
    pub fn start(options: &[&str]) -> SmtpSink {
        let port = process::free_port();
        let folder = process::scratch("smtp-sink");
        let mut command = Command::new(installed("smtp-sink"));
        command.args(options).arg("-d").arg(folder.join("mail-%M-"));
        if is_root() {
            // It refuses to run as root without being told which user to be.
            command.args(["-u", "root"]);
        }
        command.arg(format!("127.0.0.1:{port}")).arg("100");
        let mut process = Process::start("smtp-sink", command);
        process.accepts_on(port);
        SmtpSink { port, folder, _process: process }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The e-mails so far: smtp-sink's own `X-…` lines about the envelope, then the e-mail.
    pub fn dumps(&self) -> Vec<String> {
        let files = std::fs::read_dir(&self.folder).expect("the folder is there").flatten();
        files.map(|file| std::fs::read_to_string(file.path()).expect("a dump can be read")).collect()
    }
}

/// Debian keeps Postfix's tools where only root's PATH looks.
fn installed(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() { path } else { PathBuf::from(name) }
}

fn is_root() -> bool {
    process::run(with_argument("id", "-u"), b"").stdout.trim_ascii() == b"0"
}

fn with_argument(program: &str, argument: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(argument);
    command
}
