//! Collects what the actors tell and answers the scrape: the only file that names a metric.
//!
//! The books (consumed, sent, in flight, …) are read from the ledger at the scrape, all under one lock, so
//! that consumed = sum of emails + in flight + returned holds at every scrape, whatever died before.

use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::domain::failure::{Cause, Class};
use crate::domain::letters::decision::State;
use crate::domain::pace::Circuit;
use crate::domain::topic_partition::TopicNames;
use crate::guard::{ActorName, DeathGuard};
use crate::messages::{AreYouAlive, Event, Scrape};
use crate::office::{Snapshot, TicketOffice};
use crate::ports::{Census, LetterLog, WallClock};
use crate::throttle::Throttle;
use crate::vitals::Vitals;

/// Every metric of the service, made once; each generation of the actor is handed the same ones.
#[derive(Clone)]
pub struct Families {
    registry: Registry,
    topics: TopicNames,
    email_attempts: IntCounterVec,
    dlq_messages: IntCounterVec,
    consumed: IntCounterVec,
    emails: IntCounterVec,
    in_flight: IntGauge,
    returned: IntCounter,
    resends_skipped: IntCounter,
    send_attempts: IntCounterVec,
    send_duration: Histogram,
    delivery_latency: Histogram,
    dead_letters: IntCounterVec,
    publish_failures: IntCounter,
    replays: IntCounterVec,
    replayed_emails: IntCounterVec,
    dlq_letters: IntGaugeVec,
    dlq_oldest_waiting: Gauge,
    dlq_parked: IntGauge,
    stalled_records: IntGauge,
    retries_waiting: IntGauge,
    oldest_unfinished: Gauge,
    lag: IntGaugeVec,
    backlog: IntGaugeVec,
    pool_size: IntGauge,
    pool_busy: IntGauge,
    pool_allowed: IntGauge,
    circuit: IntGauge,
    intake_paused: IntGaugeVec,
    ready: IntGauge,
    restarts: IntCounterVec,
    commits: IntCounterVec,
    rebalances: IntCounter,
    log_lines_dropped: IntCounter,
}

/// The `cause` of letters that can't be read.
const UNREADABLE: &str = "unreadable";
/// 1 ms to 600 s.
const SEND_SECONDS: [f64; 17] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];
/// 10 ms to 1 h.
const LATENCY_SECONDS: [f64; 16] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0];

impl Families {
    /// Registers every metric, each known label value at 0. `topics` and `dlq_topic` are the configured names.
    pub fn new(topics: TopicNames, dlq_topic: &str, version: &str) -> Families {
        let made = Made(Registry::new());
        let families = Families {
            topics,
            email_attempts: made.counters(
                "email_attempts_total",
                "E-mails that reached their end.",
                &["status"],
            ),
            dlq_messages: made.counters(
                "dlq_messages_total",
                "Messages sent to the dead letter queue.",
                &["topic"],
            ),
            consumed: made.counters("mailroom_messages_consumed_total", "Jobs taken.", &["topic"]),
            emails: made.counters("mailroom_emails_total", "Settled jobs, each once.", &["outcome"]),
            in_flight: made
                .gauge("mailroom_in_flight", "Jobs taken and not settled, waiting retries included."),
            returned: made
                .counter("mailroom_jobs_returned_total", "Jobs given back unsettled at a revoke or stop."),
            resends_skipped: made.counter(
                "mailroom_resends_skipped_total",
                "Jobs finished before a restart, and not taken again.",
            ),
            send_attempts: made.counters("mailroom_send_attempts_total", "Single attempts.", &["result"]),
            send_duration: made.histogram(
                "mailroom_send_duration_seconds",
                "How long one attempt took.",
                &SEND_SECONDS,
            ),
            delivery_latency: made.histogram(
                "mailroom_delivery_latency_seconds",
                "From the record's Kafka timestamp to the relay's 250.",
                &LATENCY_SECONDS,
            ),
            dead_letters: made.counters("mailroom_dead_letters_total", "Dead letters published.", &["cause"]),
            publish_failures: made.counter(
                "mailroom_dlq_publish_failures_total",
                "Dead letters that were not acknowledged and are tried again.",
            ),
            replays: made.counters(
                "mailroom_replays_total",
                "Letters of the dead letter queue that were to be replayed.",
                &["result"],
            ),
            replayed_emails: made.counters(
                "mailroom_replayed_emails_total",
                "Settled jobs that had been replayed, each once.",
                &["outcome"],
            ),
            dlq_letters: made.gauges(
                "mailroom_dlq_letters",
                "Letters of the dead letter queue, as far as they are indexed.",
                &["state", "cause"],
            ),
            dlq_oldest_waiting: made.seconds(
                "mailroom_dlq_oldest_waiting_seconds",
                "Age of the oldest letter on which nothing was decided.",
            ),
            dlq_parked: made.gauge("mailroom_dlq_parked", "Letters that need a human."),
            stalled_records: made.gauge(
                "mailroom_queue_stalled_records",
                "Records of the queue that an open transaction holds up.",
            ),
            retries_waiting: made.gauge("mailroom_retries_waiting", "Jobs that wait for their next attempt."),
            oldest_unfinished: made.seconds(
                "mailroom_oldest_unfinished_seconds",
                "Age of the oldest job not settled; with a backlog alone, of the last one settled, else of the backlog.",
            ),
            lag: made.gauges(
                "mailroom_consumer_lag",
                "High watermark minus committed offset.",
                &["topic", "partition"],
            ),
            backlog: made.gauges("mailroom_backlog", "Records not taken yet.", &["topic"]),
            pool_size: made.gauge("mailroom_pool_size", "Mailers."),
            pool_busy: made.gauge("mailroom_pool_busy", "Mailers that have a job in hand."),
            pool_allowed: made.gauge("mailroom_pool_allowed", "Mailers that may work now."),
            circuit: made
                .gauge("mailroom_circuit_state", "0 closed; 1 half-open, a probe is under way; 2 open."),
            intake_paused: made.gauges(
                "mailroom_intake_paused",
                "1 while intake is stopped for this reason.",
                &["reason"],
            ),
            ready: made.gauge("mailroom_ready", "1 while /health/ready answers 200."),
            restarts: made.counters(
                "mailroom_actor_restarts_total",
                "Actors started again after a death.",
                &["actor"],
            ),
            commits: made.counters("mailroom_commits_total", "Offset commits.", &["result"]),
            rebalances: made.counter("mailroom_rebalances_total", "Partitions assigned, revoked or lost."),
            log_lines_dropped: made
                .counter("mailroom_log_lines_dropped_total", "Log lines that nobody read in time."),
            registry: made.0.clone(),
        };
        let info = made.gauges("mailroom_build_info", "Always 1.", &["version"]);
        info.with_label_values(&[version]).set(1);
        families.start_at_zero(dlq_topic);
        #[cfg(target_os = "linux")]
        made.register(prometheus::process_collector::ProcessCollector::for_self());
        families
    }

    fn start_at_zero(&self, dlq_topic: &str) {
        let known: [(&IntCounterVec, Vec<&str>); 10] = [
            (&self.email_attempts, vec!["success", "failure"]),
            (&self.dlq_messages, vec![dlq_topic]),
            (&self.consumed, self.topics.names().collect()),
            (&self.emails, vec!["sent", "dead_lettered", "expired"]),
            (&self.send_attempts, Class::ALL.iter().map(|c| c.as_str()).chain(["ok"]).collect()),
            (&self.dead_letters, Cause::ALL.iter().map(|c| c.as_str()).collect()),
            (&self.restarts, ActorName::ALL.iter().map(|a| a.as_str()).collect()),
            (&self.commits, vec!["ok", "failed"]),
            (&self.replays, vec!["published", "skipped", "refused"]),
            (&self.replayed_emails, vec!["sent", "dead_lettered", "expired"]),
        ];
        for (counters, values) in known {
            for value in values {
                counters.with_label_values(&[value]);
            }
        }
        for reason in ["operator", "circuit", "limits"] {
            self.intake_paused.with_label_values(&[reason]).set(0);
        }
        for name in self.topics.names() {
            self.backlog.with_label_values(&[name]).set(0);
        }
        for state in State::ALL {
            for cause in Cause::ALL.iter().map(|cause| cause.as_str()).chain([UNREADABLE]) {
                self.dlq_letters.with_label_values(&[state.as_str(), cause]).set(0);
            }
        }
    }

    fn note(&self, event: Event, dlq_topic: &str) {
        match event {
            Event::Attempted { class, took } => {
                let result = class.map_or("ok", Class::as_str);
                self.send_attempts.with_label_values(&[result]).inc();
                self.send_duration.observe(took.as_secs_f64());
            }
            Event::Delivered { latency, is_replay } => {
                if is_replay {
                    self.replayed_emails.with_label_values(&["sent"]).inc();
                }
                if let Some(latency) = latency {
                    self.delivery_latency.observe(latency.as_secs_f64());
                }
            }
            Event::DeadLettered { cause, is_replay } => {
                if is_replay {
                    let outcome = if cause == Cause::Expired { "expired" } else { "dead_lettered" };
                    self.replayed_emails.with_label_values(&[outcome]).inc();
                }
                self.dlq_messages.with_label_values(&[dlq_topic]).inc();
                self.dead_letters.with_label_values(&[cause.as_str()]).inc();
            }
            Event::Replays { published, skipped } => {
                self.replays.with_label_values(&["published"]).inc_by(published);
                self.replays.with_label_values(&["skipped"]).inc_by(skipped);
            }
            Event::ReplaysRefused { count } => {
                self.replays.with_label_values(&["refused"]).inc_by(count);
            }
            Event::PublishFailed => self.publish_failures.inc(),
            Event::Committed { ok } => {
                self.commits.with_label_values(&[if ok { "ok" } else { "failed" }]).inc()
            }
            Event::Rebalanced => self.rebalances.inc(),
            Event::Restarted(actor) => self.restarts.with_label_values(&[actor.as_str()]).inc(),
            Event::Pool { size } => self.pool_size.set(as_gauge(size)),
        }
    }

    /// Brings what is read from the ledger up to this moment.
    fn refresh(&self, snapshot: &Snapshot, now_ms: i64) {
        let accounts = &snapshot.accounts;
        for (topic, name) in self.topics.all() {
            raise(&self.consumed.with_label_values(&[&**name]), accounts.consumed_of(topic));
        }
        raise(&self.emails.with_label_values(&["sent"]), accounts.sent);
        raise(&self.emails.with_label_values(&["dead_lettered"]), accounts.dead_lettered);
        raise(&self.emails.with_label_values(&["expired"]), accounts.expired);
        raise(&self.email_attempts.with_label_values(&["success"]), accounts.sent);
        raise(
            &self.email_attempts.with_label_values(&["failure"]),
            accounts.dead_lettered + accounts.expired,
        );
        raise(&self.returned, accounts.returned);
        raise(&self.resends_skipped, accounts.resends_skipped);
        self.in_flight.set(i64::try_from(accounts.in_flight).unwrap_or(i64::MAX));
        self.retries_waiting.set(i64::try_from(accounts.waiting).unwrap_or(i64::MAX));
        let age = match snapshot.oldest_unfinished_ms {
            Some(oldest) => (now_ms - oldest).max(0) as f64 / 1000.0,
            // Nothing was settled yet that would say how late it is: at least so late.
            None => snapshot.backlog_lasts_for.unwrap_or_default().as_secs_f64(),
        };
        self.oldest_unfinished.set(age);
        self.lag.reset();
        for (partition, lag) in &snapshot.lags {
            let name = self.topics.name(partition.topic);
            self.lag.with_label_values(&[&**name, &partition.number.to_string()]).set(*lag);
        }
        for ((_, name), backlog) in self.topics.all().zip(snapshot.backlogs) {
            self.backlog.with_label_values(&[&**name]).set(backlog);
        }
        self.intake_paused.with_label_values(&["operator"]).set(i64::from(snapshot.is_paused));
        self.intake_paused.with_label_values(&["limits"]).set(i64::from(snapshot.intake_is_limited));
    }
}

impl Families {
    /// Brings what is read of the dead letter queue up to this moment.
    fn refresh_letters(&self, census: &Census, now_ms: i64) {
        for (state, cause, count) in &census.letters {
            self.dlq_letters
                .with_label_values(&[state.as_str(), cause.map_or(UNREADABLE, Cause::as_str)])
                .set(*count);
        }
        let age_ms = census.oldest_waiting_ms.map_or(0, |oldest| (now_ms - oldest).max(0));
        self.dlq_oldest_waiting.set(age_ms as f64 / 1000.0);
        let parked = census.letters.iter().filter(|(state, ..)| *state == State::Parked);
        self.dlq_parked.set(parked.map(|(.., count)| count).sum());
        self.stalled_records.set(census.stalled_records);
    }
}

/// Counters that mirror a count kept elsewhere only ever go up.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn as_gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Makes and registers metrics; the names are constants, so nothing here can fail.
struct Made(Registry);

impl Made {
    fn register(&self, collector: impl prometheus::core::Collector + 'static) {
        self.0.register(Box::new(collector)).expect("every metric has a valid name of its own");
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let made = IntCounterVec::new(Opts::new(name, help), labels).expect("the name is valid");
        self.register(made.clone());
        made
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        let made = IntCounter::new(name, help).expect("the name is valid");
        self.register(made.clone());
        made
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let made = IntGaugeVec::new(Opts::new(name, help), labels).expect("the name is valid");
        self.register(made.clone());
        made
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let made = IntGauge::new(name, help).expect("the name is valid");
        self.register(made.clone());
        made
    }

    fn seconds(&self, name: &str, help: &str) -> Gauge {
        let made = Gauge::new(name, help).expect("the name is valid");
        self.register(made.clone());
        made
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let made = HistogramVec::new(options, &[]).expect("the name is valid");
        self.register(made.clone());
        made.with_label_values::<&str>(&[])
    }
}

/// What each generation is made of.
#[derive(Clone)]
pub struct MetricsParts {
    pub families: Families,
    pub dlq_topic: String,
    pub office: Arc<TicketOffice>,
    pub vitals: Arc<Vitals>,
    pub throttle: Arc<Throttle>,
    pub clock: Arc<dyn WallClock>,
    pub letter_log: Option<Rc<dyn LetterLog>>,
}

pub struct Metrics {
    parts: MetricsParts,
    guard: DeathGuard,
}

impl Metrics {
    pub fn new(parts: MetricsParts, guard: DeathGuard) -> Metrics {
        Metrics { parts, guard }
    }
}

impl Actor for Metrics {
    type Context = Context<Self>;
}

impl Handler<Event> for Metrics {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Context<Self>) {
        self.parts.families.note(event, &self.parts.dlq_topic);
    }
}

impl Handler<Scrape> for Metrics {
    type Result = Result<String, String>;

    fn handle(&mut self, scrape: Scrape, _: &mut Context<Self>) -> Result<String, String> {
        let families = &self.parts.families;
        families.refresh(&self.parts.office.snapshot(), self.parts.clock.now().timestamp_millis());
        if let Some(census) = self.parts.letter_log.as_ref().map(|log| log.census()) {
            families.refresh_letters(&census, self.parts.clock.now().timestamp_millis());
        }
        families.pool_busy.set(as_gauge(self.parts.vitals.working().len()));
        let allowed = self.parts.throttle.allowed(self.parts.office.is_guarded());
        families.pool_allowed.set(as_gauge(allowed));
        let circuit = self.parts.throttle.circuit();
        families.circuit.set(match circuit {
            Circuit::Closed => 0,
            Circuit::HalfOpen => 1,
            Circuit::Open => 2,
        });
        let is_away = i64::from(circuit != Circuit::Closed);
        families.intake_paused.with_label_values(&["circuit"]).set(is_away);
        families.ready.set(i64::from(scrape.ready));
        raise(&families.log_lines_dropped, scrape.log_lines_dropped);
        let http = families.restarts.with_label_values(&[ActorName::Http.as_str()]);
        raise(&http, scrape.http_restarts);
        TextEncoder::new().encode_to_string(&families.registry.gather()).map_err(|error| error.to_string())
    }
}

impl Handler<AreYouAlive> for Metrics {
    type Result = ();

    fn handle(&mut self, _: AreYouAlive, _: &mut Context<Self>) {
        self.guard.alive();
    }
}
