//! The HTTP server: one listener, in a thread of its own with an actix system of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::web;
use actix_web::web::Data;

use super::doors::Doors;
use super::health::ACTOR_SILENCE;
use super::heartbeat::Heartbeat;
use super::lifetime::Lifetime;
use super::routes::{Shared, answer};
use crate::config;

/// How much, and how long, a client may ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of a request's body.
    pub(super) body_bytes: usize,
    /// From the connection's beginning to the end of the request, headers and body together.
    pub(super) arrival: Duration,
    /// For an actor's answer to one question.
    pub(super) answer: Duration,
    /// Of a supervisor that counts as busy, not as stuck.
    pub(super) silence: Duration,
    /// After an answer given early, for the rest of the request to come and be thrown away.
    pub(super) linger: Duration,
    /// Of a connection, in all.
    pub(super) lifetime: Duration,
    /// At the same time; others wait to be accepted.
    pub(super) connections: usize,
}

/// actix-web counts its time-outs from a clock that it reads every 500 ms only: without this on top they would
/// be too early, and one that is over before it begins is never noticed.
const CLOCK_LAG: Duration = Duration::from_millis(600);

/// `Lifetime` ends a head that does not come, and says why; actix-web does where that has no descriptor to do it with.
const BEHIND_OURS: Duration = Duration::from_secs(5);

/// For requests under way when the server is told to stop.
const STOP_SECONDS: u64 = 2;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body_bytes: 64 * 1024,
            arrival: Duration::from_secs(10),
            answer: Duration::from_secs(2),
            silence: ACTOR_SILENCE,
            linger: Duration::from_secs(2),
            lifetime: Duration::from_secs(30),
            connections: 256,
        }
    }
}

/// A running server. Dropped without [`HttpServer::stop`] it ends without grace.
pub struct HttpServer {
    address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// Binds `http.bind` (port 0: a free port) and serves it from a thread of its own until it is stopped.
///
/// # Errors
/// When the address can't be bound, or the thread can't be started. The text names the key, what is wrong
/// and what to do.
pub fn start(config: &config::Http, doors: Arc<dyn Doors>) -> Result<HttpServer, String> {
    start_with(config, doors, Limits::default())
}

pub(super) fn start_with(
    config: &config::Http,
    doors: Arc<dyn Doors>,
    limits: Limits,
) -> Result<HttpServer, String> {
    let bound = TcpListener::bind(config.bind).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| bind_problem(config.bind, &error))?;
    let heartbeat = Heartbeat::new(Arc::clone(&doors));
    let shared = Data::new(Shared { doors, heartbeat, admin_token: config.admin_token.clone(), limits });
    let (running, handle) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("http".into())
        .spawn(move || serve(listener, shared, limits, &running))
        .map_err(|error| format!("http: the thread can't be started: {error}"))?;
    // The sender is dropped unused when the thread ends before it serves.
    let handle = handle
        .recv()
        .unwrap_or_else(|_| Err("the runtime can't be started".into()))
        .map_err(|problem| format!("http: {problem}"))?;
    Ok(HttpServer { address, handle, thread: Some(thread) })
}

impl HttpServer {
    /// Where it listens: with port 0 in `http.bind`, the port it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// False once its thread has ended by itself, which only a bug can bring about.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Takes no more connections, lets requests under way finish for about 2 s, and returns when the thread
    /// has ended.
    pub async fn stop(mut self) {
        self.handle.stop(true).await;
        if let Some(thread) = self.thread.take() {
            match tokio::task::spawn_blocking(move || thread.join()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => tracing::error!("http thread panicked"),
            }
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // The command is sent at once; its answer is of no interest.
            drop(self.handle.stop(false));
        }
    }
}

/// The thread: runs an actix system of its own until the server has stopped.
fn serve(
    listener: TcpListener,
    shared: Data<Shared>,
    limits: Limits,
    running: &mpsc::Sender<Result<ServerHandle, String>>,
) {
    actix_rt::System::new().block_on(async {
        actix_rt::spawn(Arc::clone(&shared.heartbeat).run());
        let server = actix_web::HttpServer::new(move || {
            actix_web::App::new().app_data(shared.clone()).default_service(web::to(answer))
        })
        .workers(1)
        .disable_signals()
        // One request a connection: actix-web puts a time-out on the head of the first only.
        .keep_alive(KeepAlive::Disabled)
        .client_request_timeout(limits.arrival + CLOCK_LAG + BEHIND_OURS)
        .client_disconnect_timeout(limits.linger + CLOCK_LAG)
        .max_connections(limits.connections)
        .shutdown_timeout(STOP_SECONDS)
        .on_connect(move |connection, extensions| {
            extensions.insert(Lifetime::begin(connection, limits));
        })
        .listen(listener);
        let server = match server {
            Ok(server) => server.run(),
            Err(error) => {
                // Sending fails only when the starter has gone, and then nobody wants to know.
                let _ = running.send(Err(format!("the listener can't be used: {error}")));
                return;
            }
        };
        let _ = running.send(Ok(server.handle()));
        if let Err(error) = server.await {
            tracing::error!(%error, "http server ended");
        }
    });
}

fn bind_problem(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "http.bind: {address} is in use by another program: choose another port, or 0 for a free one"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("http.bind: {address} is not an address of this machine: 0.0.0.0 stands for all of them")
        }
        io::ErrorKind::PermissionDenied => {
            format!("http.bind: {address} may not be bound by this user: choose a port of 1024 or more")
        }
        _ => format!("http.bind: {address} can't be bound: {error}"),
    }
}
