//! That busy is told apart from stuck: live is a matter of progress, not of how fast an answer comes.

use parking_lot::Mutex;
use tokio::sync::watch;

use super::*;

/// A supervisor that answers each question after `takes`, or stands still.
struct Paced {
    takes: Duration,
    stands_still: watch::Sender<bool>,
    status: Mutex<Status>,
}

impl Paced {
    fn new(takes: Duration) -> Arc<Paced> {
        Arc::new(Paced { takes, stands_still: watch::channel(false).0, status: Mutex::new(healthy()) })
    }
}

impl Doors for Paced {
    fn status(&self) -> BoxFuture<'static, Option<Status>> {
        let (takes, mut stands_still, status) =
            (self.takes, self.stands_still.subscribe(), self.status.lock().clone());
        async move {
            tokio::time::sleep(takes).await;
            stands_still.wait_for(|stands_still| !stands_still).await.ok()?;
            Some(status)
        }
        .boxed()
    }

    fn resize(&self, _: usize) -> BoxFuture<'static, Option<Result<PoolStatus, SizeOutOfBounds>>> {
        pending().boxed()
    }

    fn pause(&self, _: String, _: Option<Duration>) -> BoxFuture<'static, Option<IntakeByHand>> {
        pending().boxed()
    }

    fn resume(&self) -> BoxFuture<'static, Option<IntakeByHand>> {
        pending().boxed()
    }

    fn scrape(&self) -> BoxFuture<'static, Option<Result<String, String>>> {
        pending().boxed()
    }
}

/// No question is answered within 50 ms.
const QUICK: Duration = Duration::from_millis(50);

fn get(server: &HttpServer, path: &str) -> Answer {
    let mut client = Client::connect(server.address());
    client.send(&[&format!("GET {path} HTTP/1.1"), "Host: mailroom"], b"");
    client.answer()
}

fn until_live_is(status: u16, server: &HttpServer) -> Answer {
    let begun = std::time::Instant::now();
    loop {
        let answer = get(server, "/health/live");
        if answer.status == status {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{answer:?}");
    }
}

#[test]
fn a_busy_supervisor_is_alive_however_long_its_answers_take() {
    let limits = Limits { answer: QUICK, silence: Duration::from_secs(600), ..Limits::default() };
    let server = serve(Paced::new(4 * QUICK), None, limits);
    for _ in 0..10 {
        let live = get(&server, "/health/live");
        assert_eq!((live.status, &live.json()["status"]), (200, &"pass".into()), "{live:?}");
    }
    // What is not known in time is not claimed.
    assert_eq!(get(&server, "/health/ready").status, 503);
    stop(server);
}

#[test]
fn a_supervisor_that_stands_still_is_not_alive_and_is_again_when_it_goes_on() {
    let doors = Paced::new(Duration::ZERO);
    let limits = Limits { answer: QUICK, silence: 4 * QUICK, ..Limits::default() };
    let server = serve(doors.clone(), None, limits);
    assert_eq!(get(&server, "/health/live").status, 200);
    let begun = std::time::Instant::now();
    doors.stands_still.send_replace(true);
    let dead = until_live_is(503, &server);
    assert!(begun.elapsed() >= 4 * QUICK, "it was busy for so long, for all that was known");
    assert!(dead.json()["error"].as_str().unwrap().contains("supervisor"), "{dead:?}");
    assert!(dead.json()["hint"].as_str().unwrap().contains("restart"), "{dead:?}");
    doors.stands_still.send_replace(false);
    until_live_is(200, &server);
    stop(server);
}

#[test]
fn an_actor_that_stands_still_is_seen_though_the_supervisor_answers() {
    let doors = Paced::new(Duration::ZERO);
    let server = serve(doors.clone(), None, Limits::default());
    assert_eq!(get(&server, "/health/live").status, 200);
    doors.status.lock().actors[1].silent_for = Duration::from_secs(31);
    assert_eq!(get(&server, "/health/live").status, 503);
    stop(server);
}
