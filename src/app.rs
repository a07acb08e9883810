//! Puts the service together: the only file that knows everyone.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::Addr;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::future::FusedFuture;
use mailroom_actors::attempt::ConnectionLife;
use mailroom_actors::credits::Credits;
use mailroom_actors::domain::letters::redrive::Redrive;
use mailroom_actors::domain::pace::Breaker;
use mailroom_actors::domain::retry::RetryPolicy;
use mailroom_actors::guard::ActorName;
use mailroom_actors::line::Line;
use mailroom_actors::messages::{
    ActorState, ActorStatus, GetStatus, IntakeByHand, PauseIntake, PoolStatus, Resize, ResumeIntake, Scrape,
    SizeOutOfBounds, Status, Stop,
};
use mailroom_actors::metrics::Families;
use mailroom_actors::office::TicketOffice;
use mailroom_actors::ports::{Jitter, OffsetLog, OffsetLogEvent, WallClock};
use mailroom_actors::supervisor::{self, Settings, Supervisor, World};
use mailroom_actors::throttle::Throttle;
use mailroom_actors::vitals::Vitals;
use tokio::sync::oneshot;

pub use mailroom_actors::supervisor::Ended;

use crate::compose::MailComposer;
use crate::config::Config;
use crate::dlq::archive::Archive;
use crate::dlq::late::LateLetterLog;
use crate::dlq::log::KafkaLetterLog;
use crate::dlq::shelf::Shelf;
use crate::http::{ArchiveDoor, Doors, HttpServer};
use crate::kafka::{self, KafkaDeadLetters, LateOffsetLog, StartProblem};
use crate::notify::{Look, Notifier};
use crate::smtp::relay::SmtpRelay;
use crate::templates::TemplateStore;
use crate::{dead_letter, dlq, http, mask, telemetry};

/// The version that `/health`, the metrics and `--version` tell.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Wrong configuration (sysexits.h: EX_CONFIG).
pub const WRONG_CONFIGURATION: u8 = 78;

/// Where browsing is off so many letters, the newest, are read all the same: those that replayed jobs come back as.
const LETTERS_WITHOUT_BROWSING: usize = 10_000;

/// Between two looks for brokers that are away at the start.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// What a stop may take beyond `worker.drain_timeout`: leaving the group, the last HTTP answers and log lines.
const AFTER_THE_DRAIN: Duration = Duration::from_secs(10);

/// Why the service did not start: exit code 78, nothing was joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub String);

/// The running service. Dropping it stops nothing: call [`Service::stop`] and await [`Service::ended`].
pub struct Service {
    http: HttpServer,
    http_config: crate::config::Http,
    doors: Arc<ActorDoors>,
    supervisor: Addr<Supervisor>,
    templates: Arc<TemplateStore>,
    notifier: Notifier,
    /// How long a stop may take in all.
    stops_within: Duration,
    ended: oneshot::Receiver<Ended>,
    /// Told when Kafka says that a right is missing; closed without a word otherwise.
    refused: oneshot::Receiver<StartProblem>,
}

/// Starts everything on the calling arbiter, inside an actix System. Brokers that are away are no error: the
/// service waits for them, live and not ready.
///
/// # Errors
/// What only a human can mend: a port in use, an unreadable CA file, a topic that is missing and may not be
/// made, credentials that every reachable broker refuses, missing rights, a mistake in the templates.
pub async fn start(config: Config) -> Result<Service, StartError> {
    start_with(config, Arc::new(RandomJitter)).await
}

/// The same with another randomness: each mailer asks it once for each attempt that has ended, in a handler of
/// its own, so what panics there ends that mailer. The demo breaks one so.
///
/// # Errors
/// See [`start`].
pub(crate) async fn start_with(config: Config, jitter: Arc<dyn Jitter>) -> Result<Service, StartError> {
    let relay = SmtpRelay::new(&config.smtp).map_err(StartError)?;
    let templates = Arc::new(
        TemplateStore::load(config.templates.dir.as_deref())
            .map_err(|mistakes| StartError(format!("templates.dir: {mistakes}")))?,
    );
    let composer = MailComposer::new(
        &config.smtp.from,
        config.limits.message_bytes,
        config.email.clone(),
        Arc::clone(&templates),
    )
    .map_err(StartError)?;
    let misconfigured = |problem: StartProblem| StartError(problem.to_string());
    let letters = dead_letter::Settings {
        worker_id: config.worker.id.clone(),
        consumer_group: config.kafka.group.clone(),
        default_from: composer.default_from().clone(),
    };
    let encoder: kafka::letter::Encoder =
        Arc::new(move |letter, limit| dead_letter::encode(letter, &letters, limit));
    let doors = Arc::new(ActorDoors { browsing: config.dlq.index_letters > 0, ..ActorDoors::default() });
    let http = http::start(&config.http, Arc::clone(&doors) as Arc<dyn Doors>).map_err(StartError)?;
    tracing::info!(address = %http.address(), version = VERSION, "http listening");
    let dead_letter_log = KafkaDeadLetters::new(&config.kafka, encoder).map_err(misconfigured)?;

    let shelf = Arc::new(Shelf::new(letters_to_read(&config.dlq)));
    let letter_log = LateLetterLog::default();
    let credits = Arc::new(Credits::new(config.limits.in_flight, config.limits.in_flight_bytes));
    let (events, offset_events) = async_channel::unbounded();
    let offset_log = Arc::new(LateOffsetLog::new(events.clone()));
    let settings = settings(&config);
    let breaker =
        Breaker { failures: config.breaker.failures, probe_interval: config.breaker.probe_interval };
    let world = World {
        office: TicketOffice::new(
            Arc::clone(&credits),
            Arc::clone(&offset_log) as Arc<dyn OffsetLog>,
            settings.retry.clone(),
            settings.crash_limit,
        ),
        throttle: Throttle::new(settings.mailers, breaker, config.smtp.max_rate),
        offset_log: Arc::clone(&offset_log) as Arc<dyn OffsetLog>,
        offset_events,
        relay: Rc::new(relay),
        composer: Arc::new(composer),
        dead_letter_log: Rc::new(dead_letter_log),
        letter_log: Some(Rc::new(letter_log.clone())),
        clock: Arc::new(SystemClock),
        jitter,
        families: Families::new(config.kafka.topics(), &config.kafka.dlq_topic, VERSION),
        vitals: Arc::new(Vitals::default()),
        mask: Rc::new(|text| mask::mask_text(text).into_owned()),
    };
    let (supervisor, scrapes, ended) = supervisor::start(settings, world);
    // Set once, right here.
    let _ = doors.actors.set((supervisor.clone(), scrapes));

    let (refuse, refused) = oneshot::channel();
    let http_config = config.http.clone();
    let stops_within = config.worker.drain_timeout + AFTER_THE_DRAIN;
    let joining =
        Joining { config, credits, events, offset_log, letter_log, shelf, doors: Arc::clone(&doors) };
    match joining.join().await {
        Ok(()) => drop(actix_rt::spawn(joining.check_rights(refuse))),
        Err(StartProblem::Misconfigured(text)) => {
            http.stop().await;
            return Err(StartError(text));
        }
        Err(StartProblem::Away(text)) => {
            tracing::warn!(error = %text, "no broker answers, waiting for one");
            joining.offset_log.unreachable(text);
            actix_rt::spawn(joining.join_later(refuse));
        }
    }
    let http_config = crate::config::Http { bind: http.address(), ..http_config };
    let notifier = Notifier::default();
    Ok(Service { http, http_config, doors, supervisor, templates, notifier, stops_within, ended, refused })
}

/// What is needed to join the group once brokers answer and the topics are there.
struct Joining {
    config: Config,
    credits: Arc<Credits>,
    events: async_channel::Sender<OffsetLogEvent>,
    offset_log: Arc<LateOffsetLog>,
    letter_log: LateLetterLog,
    shelf: Arc<Shelf>,
    doors: Arc<ActorDoors>,
}

impl Joining {
    async fn join(&self) -> Result<(), StartProblem> {
        kafka::topics::ensure(&self.config.kafka).await?;
        self.read_letters()?;
        self.offset_log.join(|| {
            let (credits, events) = (Arc::clone(&self.credits), self.events.clone());
            kafka::start(&self.config.kafka, self.config.worker.drain_timeout, credits, events)
        })
    }

    /// Begins to read the dead letter queue, and to act on letters. A worker that is no browser reads few of them.
    fn read_letters(&self) -> Result<(), StartProblem> {
        let Config { kafka, dlq, redrive, .. } = &self.config;
        if self.letter_log.is_filled() {
            return Ok(());
        }
        let notify = redrive.notify.clone();
        let redrive = redrive.enabled.then(|| Redrive {
            waits: redrive.waits.clone(),
            causes: redrive.causes.clone(),
            max_replays: dlq.max_replays,
        });
        let reader = dlq::reader::start(kafka, letters_to_read(dlq), &self.shelf)?;
        let archive = Archive::new(kafka, dlq, &self.shelf);
        // The first time, or the log would have been filled.
        let _ = self.doors.archive.set(archive);
        self.letter_log.fill(KafkaLetterLog::start(kafka, dlq, redrive, notify, &self.shelf, reader)?);
        Ok(())
    }

    /// Brokers that come late may find the same wrong as those that are there at the start.
    async fn join_later(self, refuse: oneshot::Sender<StartProblem>) {
        loop {
            actix_rt::time::sleep(BETWEEN_LOOKS).await;
            match self.join().await {
                Ok(()) => return self.check_rights(refuse).await,
                Err(problem @ StartProblem::Misconfigured(_)) => {
                    // Nobody listens any more when the worker is ending.
                    let _ = refuse.send(problem);
                    return;
                }
                Err(StartProblem::Away(text)) => {
                    tracing::warn!(error = %text, "the group can't be joined yet");
                    self.offset_log.unreachable(text);
                }
            }
        }
    }

    /// It takes a while, so it runs beside the start; what it finds ends the process all the same.
    async fn check_rights(self, refuse: oneshot::Sender<StartProblem>) {
        if let Err(problem @ StartProblem::Misconfigured(_)) =
            kafka::rights::check(&self.config.kafka, kafka::rights::AT_THE_START).await
        {
            // As above.
            let _ = refuse.send(problem);
        }
    }
}

fn letters_to_read(dlq: &crate::config::Dlq) -> usize {
    if dlq.index_letters == 0 { LETTERS_WITHOUT_BROWSING } else { dlq.index_letters }
}

fn settings(config: &Config) -> Settings {
    Settings {
        mailers: config.mailers.size,
        mailers_max: config.mailers.max,
        retry: RetryPolicy {
            max_attempts: config.retry.max_attempts,
            base: config.retry.base,
            factor: config.retry.factor,
            max_delay: config.retry.max_delay,
            jitter: config.retry.jitter,
            permanent_is_retried: config.retry.permanent_is_retried,
            ambiguous_is_dead_lettered: config.retry.ambiguous_is_dead_lettered,
            limited_is_retried: config.retry.limited_is_retried,
        },
        crash_limit: config.limits.crashes,
        commit_interval: config.kafka.commit_interval,
        drain_timeout: config.worker.drain_timeout,
        dlq_topic: config.kafka.dlq_topic.clone(),
        max_replays: config.dlq.max_replays,
        connections: ConnectionLife {
            max_emails: config.smtp.max_emails_per_connection,
            idle_timeout: config.smtp.idle_timeout,
        },
    }
}

impl Service {
    pub fn http_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// How everything is; none when the supervisor is gone.
    pub async fn status(&self) -> Option<Status> {
        self.doors.status().await
    }

    /// The Prometheus text of this moment.
    ///
    /// # Errors
    /// When the metrics actor is gone, or can't encode.
    pub async fn scrape(&self) -> Result<String, String> {
        self.doors.scrape().await.unwrap_or_else(|| Err("the metrics actor does not answer".into()))
    }

    /// How many mailers there are from now on; the door behind `PUT /pool`.
    ///
    /// # Errors
    /// When the size is out of bounds, or the supervisor is gone, in words.
    pub async fn resize(&self, size: usize) -> Result<PoolStatus, String> {
        match self.doors.resize(size).await {
            Some(Ok(pool)) => Ok(pool),
            Some(Err(SizeOutOfBounds { min, max })) => {
                Err(format!("{size} mailers: {min} to {max} are allowed"))
            }
            None => Err("the supervisor does not answer".into()),
        }
    }

    /// Stops the intake by hand, or starts it again; the door behind `POST /consumer/pause`.
    ///
    /// # Errors
    /// When the supervisor is gone, in words.
    pub async fn pause(&self, paused: bool) -> Result<(), String> {
        let changed = match paused {
            true => self.doors.pause("by a key of the demo, or its scenario".into(), None).await,
            false => self.doors.resume().await,
        };
        changed.map(drop).ok_or_else(|| "the supervisor does not answer".into())
    }

    /// What people do with the dead letter queue; none before it is begun to be read.
    pub(crate) fn archive(&self) -> Option<Archive> {
        self.doors.archive.get().cloned()
    }

    /// The templates that jobs are rendered by; a reload holds from the next attempt on.
    pub fn templates(&self) -> Arc<TemplateStore> {
        Arc::clone(&self.templates)
    }

    /// Tells the service manager, where the environment names one, that the service runs, and from now on whether
    /// it is alive: as `/health/live` does, so what the manager restarts is what live says is stuck. Brokers that
    /// are away keep nobody from saying so.
    ///
    /// # Errors
    /// When the machine gives no thread.
    pub fn notify_manager(&mut self) -> io::Result<()> {
        let doors = Arc::clone(&self.doors);
        let look = move || {
            let status = doors.status();
            async move { look(status.await.as_ref()) }.boxed()
        };
        self.notifier = Notifier::start(look, http::health::ACTOR_SILENCE)?;
        self.notifier.ready();
        Ok(())
    }

    /// What the service manager is told through; it tells nobody before [`Service::notify_manager`].
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// Begins the stop: no new attempt, what is past the dot is awaited, commit, leave.
    pub fn stop(&self) {
        self.stopper().stop();
    }

    /// What can stop the service while somebody awaits its end.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            supervisor: self.supervisor.clone(),
            notifier: self.notifier.clone(),
            within: self.stops_within,
        }
    }

    /// Waits for the end and closes the HTTP listener, which stops last; starts that again should it end by
    /// itself. Where Kafka says right after the start that a right is missing, the worker drains and the exit
    /// code is 78.
    pub async fn ended(mut self) -> Ended {
        let mut look = actix_rt::time::interval(BETWEEN_LOOKS);
        let mut misconfigured = None;
        let stopper = self.stopper();
        let mut refused = self.refused.fuse();
        let ended = loop {
            tokio::select! {
                ended = &mut self.ended => break ended,
                Ok(problem) = &mut refused, if !refused.is_terminated() => {
                    stopper.stop();
                    misconfigured = Some(problem);
                }
                _ = look.tick() => restart_http(&mut self.http, &self.http_config, &self.doors),
            }
        };
        self.http.stop().await;
        match (ended, misconfigured) {
            (Ok(_), Some(problem)) => Ended { exit_code: WRONG_CONFIGURATION, reason: problem.to_string() },
            (Ok(ended), None) => ended,
            (Err(_), _) => Ended { exit_code: 1, reason: "the supervisor died".into() },
        }
    }
}

fn restart_http(http: &mut HttpServer, config: &crate::config::Http, doors: &Arc<ActorDoors>) {
    if http.is_running() {
        return;
    }
    match http::start(config, Arc::clone(doors) as Arc<dyn Doors>) {
        Ok(started) => {
            *http = started;
            doors.http_restarts.fetch_add(1, Ordering::Relaxed);
            tracing::error!("the http listener had ended, started it again");
        }
        Err(error) => tracing::error!(%error, "the http listener has ended and can't be started again yet"),
    }
}

/// See [`Service::stopper`].
pub struct Stopper {
    supervisor: Addr<Supervisor>,
    notifier: Notifier,
    within: Duration,
}

impl Stopper {
    /// See [`Service::stop`].
    pub fn stop(&self) {
        self.supervisor.do_send(Stop);
        self.notifier.stopping(self.within);
    }
}

/// What the service manager is told of a status; without one nobody has answered.
fn look(status: Option<&Status>) -> Look {
    let Some(status) = status else {
        return Look { live: false, line: "the supervisor does not answer".to_owned() };
    };
    let live = http::health::live(status).passes();
    let line = match http::health::ready(status).error {
        _ if status.stopping => "stopping".to_owned(),
        Some(error) => format!("not ready: {error}"),
        None => format!("ready, {} of {} mailers at work", status.pool.busy, status.pool.size),
    };
    Look { live, line }
}

/// HTTP's questions, answered by the actors; none until they are started.
#[derive(Default)]
struct ActorDoors {
    actors: OnceLock<(Addr<Supervisor>, Line<Scrape>)>,
    http_restarts: AtomicU64,
    /// False where `dlq.index_letters` is 0.
    browsing: bool,
    archive: OnceLock<Archive>,
}

/// Who changed something, as the log and `/health` say it.
const BY_HTTP: &str = "http";

impl Doors for ActorDoors {
    fn status(&self) -> BoxFuture<'static, Option<Status>> {
        let actors = self.actors.get().cloned();
        // Whoever asks is answered by it, so it runs.
        let http = ActorStatus {
            name: ActorName::Http.as_str(),
            state: ActorState::Running,
            restarts: self.http_restarts.load(Ordering::Relaxed),
            last_error: None,
            silent_for: Duration::ZERO,
        };
        async move {
            let mut status = actors?.0.send(GetStatus).await.ok()?;
            status.actors.push(http);
            Some(status)
        }
        .boxed()
    }

    fn archive(&self) -> ArchiveDoor {
        match self.archive.get() {
            _ if !self.browsing => ArchiveDoor::Off,
            None => ArchiveDoor::NotYet,
            Some(archive) => ArchiveDoor::Open(Box::new(archive.clone())),
        }
    }

    fn resize(&self, size: usize) -> BoxFuture<'static, Option<Result<PoolStatus, SizeOutOfBounds>>> {
        let actors = self.actors.get().cloned();
        async move { actors?.0.send(Resize { size }).await.ok() }.boxed()
    }

    fn pause(&self, reason: String, duration: Option<Duration>) -> BoxFuture<'static, Option<IntakeByHand>> {
        let actors = self.actors.get().cloned();
        async move { actors?.0.send(PauseIntake { reason, by: BY_HTTP, duration }).await.ok() }.boxed()
    }

    fn resume(&self) -> BoxFuture<'static, Option<IntakeByHand>> {
        let actors = self.actors.get().cloned();
        async move { actors?.0.send(ResumeIntake { by: BY_HTTP }).await.ok() }.boxed()
    }

    fn scrape(&self) -> BoxFuture<'static, Option<Result<String, String>>> {
        let actors = self.actors.get().cloned();
        let http_restarts = self.http_restarts.load(Ordering::Relaxed);
        async move {
            let (supervisor, scrapes) = actors?;
            let status = supervisor.send(GetStatus).await.ok();
            let ready = status.is_some_and(|status| http::health::ready(&status).passes());
            scrapes.ask(Scrape { ready, log_lines_dropped: telemetry::dropped_lines(), http_restarts }).await
        }
        .boxed()
    }
}

struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

pub(crate) struct RandomJitter;

impl Jitter for RandomJitter {
    fn fraction(&self) -> f64 {
        fastrand::f64()
    }
}
