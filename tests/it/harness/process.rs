//! Processes that end with the test binary, however that ends.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, mpsc};
use std::time::Duration;

use super::until;

/// A thread that has stopped reading looks so often whether it is to go on.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A child process with what it has written so far. It is killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// The lines of a stream, gathered by a thread of its own.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Gathered>>);

#[derive(Default)]
struct Gathered {
    lines: Vec<String>,
    reading: Reading,
}

/// What the thread does once it has read the next line.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    On,
    Stalled,
    Closed,
}

impl Process {
    /// Starts a program whose kernel-side parent-death signal is SIGKILL: it can't outlive the tests.
    pub fn start(name: &str, command: Command) -> Process {
        let mut child = launch(wrapped(&command));
        let stdout = Lines::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Lines::of(child.stderr.take().expect("stderr is piped"));
        Process { name: name.to_owned(), child, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    pub fn stderr(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// Closes the reading end of its stderr, once it has written one more line.
    pub fn close_stderr(&self) {
        self.stderr.set(Reading::Closed);
    }

    /// Reads no more of its stderr than the next line, until its end is waited for.
    pub fn stall_stderr(&self) {
        self.stderr.set(Reading::Stalled);
    }

    /// Sends a signal by its name without SIG: `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        assert!(signal(self.pid(), name), "{} is no longer there to be sent SIG{name}", self.name);
    }

    /// The exit status once there is one.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for the end; both streams are whole then.
    pub fn wait(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let status = until(&format!("{name} to end"), || self.has_ended());
        self.stderr.set(Reading::On);
        // Its ends of the pipes are closed, so the reading threads come to an end too and let go of the lines.
        until("the last lines", || {
            let read = Arc::strong_count(&self.stdout.0) == 1 && Arc::strong_count(&self.stderr.0) == 1;
            read.then_some(())
        });
        status
    }

    /// Waits until it accepts connections on a port of 127.0.0.1.
    pub fn accepts_on(&mut self, port: u16) {
        until(&format!("{} to listen on port {port}", self.name.clone()), || {
            if let Some(status) = self.has_ended() {
                panic!("{} ended with {status}: {:?} {:?}", self.name, self.stdout(), self.stderr());
            }
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nothing else to be done in either case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let gathered = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                gathered.gathered().lines.push(String::from_utf8_lossy(&line).into_owned());
                while gathered.gathered().reading == Reading::Stalled {
                    std::thread::sleep(BETWEEN_LOOKS);
                }
                if gathered.gathered().reading == Reading::Closed {
                    return;
                }
            }
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.gathered().lines.clone()
    }

    fn set(&self, reading: Reading) {
        self.gathered().reading = reading;
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().expect("no reader panics")
    }
}

/// Sends a signal by its name without SIG to a process that we started; false when it is no longer there.
pub fn signal(pid: u32, name: &str) -> bool {
    // The shell's own kill: a bare Debian has no other.
    let sent = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &pid.to_string()]).status();
    sent.expect("there is a shell").success()
}

/// Runs a program to its end, with `input` as its standard input.
pub fn run(mut command: Command, input: &[u8]) -> std::process::Output {
    use std::io::Write;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program is installed: run scripts/setup test");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that does not read its input may close it.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("its output can be read");
    writer.join().expect("the writer does not panic");
    output
}

/// A port of 127.0.0.1 that was free a moment ago, for servers that can't be told to choose one.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// A fresh folder with these files in it: names and texts.
pub fn scratch_with(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = scratch(name);
    for (file, text) in files {
        std::fs::write(folder.join(file), text).expect("the folder is writable");
    }
    folder
}

/// A fresh folder inside `target`; those of earlier test runs, whose servers were killed, are swept away first.
pub fn scratch(name: &str) -> PathBuf {
    static SWEPT: OnceLock<()> = OnceLock::new();
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    SWEPT.get_or_init(|| sweep(root));
    let prefix = format!("run-{}-{name}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir_in(root).expect("target is writable").keep()
}

fn sweep(root: &Path) {
    for entry in std::fs::read_dir(root).expect("cargo makes the folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("run-").and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another test run may be sweeping as well.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn wrapped(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    wrapped
}

/// Spawns from one thread that lives as long as the test binary: the kernel sends the parent-death signal when the
/// *thread* that spawned a child ends, and each test is a thread.
fn launch(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static LAUNCHER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let launcher = LAUNCHER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // Whoever gave the order waits for the answer.
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, answer) = mpsc::channel();
    launcher.lock().expect("sending does not panic").send((command, reply)).expect("the launcher never ends");
    answer.recv().expect("the launcher never ends").expect("setpriv is installed: run scripts/setup test")
}

/// Whether a process that we started, and have not waited for, still runs.
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name in brackets; Z is one that has ended and was not waited for.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
