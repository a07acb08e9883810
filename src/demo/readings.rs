//! What the service says of itself, read from the text of its `/metrics`, as one line for people.

use std::fmt;

/// The numbers of one moment. A metric that the text does not have reads 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    pub backlog: u64,
    pub in_flight: u64,
    pub waiting: u64,
    pub sent: u64,
    /// Causes with dead letters, in the order of the text.
    pub dead_lettered: Vec<(String, u64)>,
    pub pool_busy: u64,
    pub pool_size: u64,
    /// How many the circuit and the relay's limits let work now.
    pub pool_allowed: u64,
    /// 0 closed, 1 half-open, 2 open.
    pub circuit: u64,
    /// Whether an operator has paused the intake.
    pub paused: bool,
    /// Of all actors.
    pub restarts: u64,
}

impl Readings {
    /// Reads Prometheus text (version 0.0.4); what it does not know it skips.
    pub fn parse(text: &str) -> Readings {
        let mut readings = Readings::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            // All of these are counts; a cast of what is none (NaN, below 0) gives 0.
            let value = value as u64;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            match name {
                "mailroom_backlog" => readings.backlog += value,
                "mailroom_in_flight" => readings.in_flight = value,
                "mailroom_retries_waiting" => readings.waiting = value,
                "mailroom_emails_total" if label(labels, "outcome") == Some("sent") => readings.sent = value,
                "mailroom_dead_letters_total" if value > 0 => {
                    let cause = label(labels, "cause").unwrap_or_default();
                    readings.dead_lettered.push((cause.to_owned(), value));
                }
                "mailroom_pool_busy" => readings.pool_busy = value,
                "mailroom_pool_size" => readings.pool_size = value,
                "mailroom_pool_allowed" => readings.pool_allowed = value,
                "mailroom_circuit_state" => readings.circuit = value,
                "mailroom_intake_paused" if label(labels, "reason") == Some("operator") => {
                    readings.paused = value > 0;
                }
                "mailroom_actor_restarts_total" => readings.restarts += value,
                _ => {}
            }
        }
        readings
    }
}

/// The value of one label in `a="b",c="d"}`. Ours come from closed lists without quotes or commas.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.trim_end_matches('}').split(',').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        (found.trim() == name).then(|| value.trim_matches('"'))
    })
}

impl fmt::Display for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters: u64 = self.dead_lettered.iter().map(|(_, count)| count).sum();
        write!(
            f,
            "queue {} | in flight {} | waiting {} | sent {} | dead-lettered {letters}",
            self.backlog, self.in_flight, self.waiting, self.sent
        )?;
        for (index, (cause, count)) in self.dead_lettered.iter().enumerate() {
            write!(f, "{}{cause} {count}", if index == 0 { " (" } else { ", " })?;
        }
        if !self.dead_lettered.is_empty() {
            f.write_str(")")?;
        }
        write!(f, " | pool {} of {} busy | restarts {}", self.pool_busy, self.pool_size, self.restarts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r#"# HELP mailroom_backlog high watermark - next to take
# TYPE mailroom_backlog gauge
mailroom_backlog{topic="email-queue"} 12
mailroom_in_flight 7
mailroom_retries_waiting 3
mailroom_emails_total{outcome="sent"} 1234
mailroom_emails_total{outcome="dead_lettered"} 9
mailroom_dead_letters_total{cause="invalid_recipient"} 5
mailroom_dead_letters_total{cause="quota"} 0
mailroom_dead_letters_total{cause="throttled"} 4
mailroom_pool_size 8
mailroom_pool_busy 2
mailroom_pool_allowed 6
mailroom_circuit_state 2
mailroom_intake_paused{reason="circuit"} 0
mailroom_intake_paused{reason="operator"} 1
mailroom_actor_restarts_total{actor="mailer"} 1
mailroom_actor_restarts_total{actor="consumer"} 2
mailroom_send_duration_seconds_bucket{result="ok",le="+Inf"} 1e3
"#;

    #[test]
    fn the_line_says_what_the_metrics_say() {
        assert_eq!(
            Readings::parse(TEXT).to_string(),
            "queue 12 | in flight 7 | waiting 3 | sent 1234 | dead-lettered 9 (invalid_recipient 5, throttled 4) \
             | pool 2 of 8 busy | restarts 3"
        );
    }

    #[test]
    fn what_holds_the_worker_back_is_read_too() {
        let readings = Readings::parse(TEXT);
        assert_eq!((readings.pool_allowed, readings.circuit, readings.paused), (6, 2, true));
    }

    #[test]
    fn before_anything_has_happened_the_line_has_only_zeros() {
        assert_eq!(
            Readings::default().to_string(),
            "queue 0 | in flight 0 | waiting 0 | sent 0 | dead-lettered 0 | pool 0 of 0 busy | restarts 0"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reading_panic(text in "[a-z_{}=\", 0-9.eNa+#\n-]{0,200}") {
            let _ = Readings::parse(&text).to_string();
        }
    }
}
