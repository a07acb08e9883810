//! An SMTP server that does wrong what a test tells it to, step by step, and right everything else; it
//! writes down all that was said to it, and when.
//!
//! ```text
//! let server = Script::new()
//!     .on(At::Rcpt, vec![say("550 5.1.1 no such user")]).for_recipient("b@example.com")
//!     .on(At::Dot, vec![Act::Close]).times(1)
//!     .start();
//! ```

mod conversation;
mod log;
mod script;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use conversation::Conversation;

#[allow(unused_imports, reason = "for whoever uses the server; not each of them names all of these")]
pub use self::{
    log::{Command, Delivery, Log},
    script::{Act, At, Encryption, Moment, Script, say},
};

/// How long a test waits for something to have happened before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running server; dropping it ends it and all its connections.
pub struct ScriptedSmtp {
    address: SocketAddr,
    certificate_pem: String,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    script: Script,
    tls: Arc<ServerConfig>,
    log: Mutex<Log>,
    /// Something was written down, released, or stopped.
    changed: Condvar,
    released: Mutex<Vec<&'static str>>,
    stopping: AtomicBool,
    open: AtomicUsize,
    /// To end the threads that read from them.
    sockets: Mutex<HashMap<usize, TcpStream>>,
}

impl ScriptedSmtp {
    fn start(script: Script, port: u16) -> ScriptedSmtp {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let address = listener.local_addr().expect("the port it was given");
        let (tls, certificate_pem) = server_tls(&script);
        let shared = Arc::new(Shared {
            script,
            tls: Arc::new(tls),
            log: Mutex::default(),
            changed: Condvar::new(),
            released: Mutex::default(),
            stopping: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            sockets: Mutex::default(),
        });
        let accepting = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        ScriptedSmtp { address, certificate_pem, shared, accepting: Some(accepting) }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its certificate, which is its own CA.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Lets every [`Act::Hold`] of this name go on, now and from now on.
    pub fn release(&self, name: &'static str) {
        self.shared.released.lock().expect("no panic under this lock").push(name);
        let _log = self.shared.log();
        self.shared.changed.notify_all();
    }

    /// Everything that was said to it so far.
    pub fn log(&self) -> Log {
        self.shared.log().clone()
    }

    /// Waits until the log is so, and returns it.
    ///
    /// # Panics
    /// When it has not become so within a minute.
    pub fn wait_until(&self, what: &str, so: impl Fn(&Log) -> bool) -> Log {
        let log = self.shared.log();
        let (log, late) = self
            .shared
            .changed
            .wait_timeout_while(log, PATIENCE, |log| !so(log))
            .expect("no panic under this lock");
        assert!(!late.timed_out(), "waited for: {what}; the log: {log:?}");
        log.clone()
    }
}

impl Drop for ScriptedSmtp {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        {
            let _log = self.shared.log();
            self.shared.changed.notify_all();
        }
        // Ends the wait for the next connection.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn note(&self, note: impl FnOnce(&mut Log)) {
        note(&mut self.log());
        self.changed.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until this is so, or the server stops.
    fn wait_for(&self, so: impl Fn() -> bool) {
        let log = self.log();
        let waited = self.changed.wait_while(log, |_| !so() && !self.is_stopping());
        drop(waited.expect("no panic under this lock"));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for number in 1.. {
        let Ok((socket, _)) = listener.accept() else { break };
        if shared.is_stopping() {
            break;
        }
        let Ok(other) = socket.try_clone() else { continue };
        shared.sockets.lock().expect("no panic under this lock").insert(number, other);
        let open = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
        shared.note(|log| {
            log.connections += 1;
            log.accepted_at.push(Instant::now());
            log.most_open = log.most_open.max(open);
        });
        let shared = shared.clone();
        threads.push(std::thread::spawn(move || {
            let mut conversation = Conversation::new(&shared, socket, number, open);
            // However it ends, the client has left or was to be left.
            let _ = conversation.hold();
            drop(conversation);
            shared.sockets.lock().expect("no panic under this lock").remove(&number);
            shared.open.fetch_sub(1, Ordering::SeqCst);
            shared.note(|log| log.ended += 1);
        }));
    }
    for socket in shared.sockets.lock().expect("no panic under this lock").values() {
        let _ = socket.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn server_tls(script: &Script) -> (ServerConfig, String) {
    let mut parameters = rcgen::CertificateParams::new(script.names.clone()).expect("names of a certificate");
    if script.expired {
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("the key that was just made");
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], private)
        .expect("the key fits the certificate");
    (config, certificate.pem())
}
