//! The dead letter queue by HTTP, over librdkafka's in-process cluster: nobody carries runs out there.

use mailroom_actors::domain::letters::decision::{Decision, State, Step};
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::run::Progress;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use serde_json::json;

use super::*;
use crate::config;
use crate::dlq::archive::tests::{DECISIONS, LETTERS, dlq, kafka};
use crate::dlq::reader::{self, Reader};
use crate::dlq::records::Said;
use crate::dlq::shelf::Shelf;

const FIRST_MS: i64 = 1_790_000_000_000;

/// A server over a queue of letters that are read.
struct Desk {
    server: TestServer,
    archive: Archive,
    producer: BaseProducer,
    _reader: Reader,
    cluster: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Desk {
    /// With these letters in partition 0; the other one of the queue is empty.
    fn of(letters: &[&[u8]]) -> Desk {
        Desk::with(letters, |dlq| dlq)
    }

    fn with(letters: &[&[u8]], set: impl Fn(config::Dlq) -> config::Dlq) -> Desk {
        let cluster = MockCluster::new(1).unwrap();
        for topic in [LETTERS, DECISIONS] {
            cluster.create_topic(topic, 2, 1).unwrap();
        }
        let kafka = kafka(&cluster.bootstrap_servers());
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &kafka.brokers).create().unwrap();
        for (number, letter) in letters.iter().enumerate() {
            let from = Header { key: "mailroom-replay-id", value: Some("0-0") };
            let mut headers = OwnedHeaders::new().insert(Header { key: "mine", value: Some("secret") });
            if number == letters.len() - 1 && number > 0 {
                headers = headers.insert(from);
            }
            let record = BaseRecord::<str, [u8]>::to(LETTERS)
                .partition(0)
                .key("ada@example.com")
                .payload(letter)
                .headers(headers)
                .timestamp(FIRST_MS + i64::try_from(number).unwrap());
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(60)).unwrap();
        let shelf = Arc::new(Shelf::new(1_000));
        let reader = reader::start(&kafka, 1_000, &shelf).unwrap();
        let archive = Archive::new(&kafka, &set(dlq()), &shelf);
        let door = Some(FakeArchive::Open(Box::new(archive.clone())));
        let server = TestServer::start(FakeDoors { archive: door, ..FakeDoors::healthy() });
        let desk = Desk { server, archive, producer, _reader: reader, cluster: Some(cluster) };
        desk.wait("the queue to be read", || desk.archive.shelf.is_complete());
        desk
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let gives_up = std::time::Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(std::time::Instant::now() < gives_up, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Writes it onto the decisions topic, as an owner does.
    fn say(&self, said: &Said) {
        let written = said.write();
        let mut record =
            BaseRecord::<str, [u8]>::to(DECISIONS).partition(written.partition).key(&written.key);
        if let Some(value) = &written.value {
            record = record.payload(value);
        }
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let (line, length) = (format!("{method} {path} HTTP/1.1"), format!("Content-Length: {}", body.len()));
        let mut head = vec![line.as_str(), "Host: mailroom", &length];
        head.extend(headers);
        self.server.ask(&head, body.as_bytes())
    }

    fn change(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask(method, path, &["Authorization: Bearer canary-admin-token"], body)
    }

    fn with_key(&self, key: &str, body: &str) -> Answer {
        let key = format!("Idempotency-Key: {key}");
        self.ask("POST", "/dlq/runs", &["Authorization: Bearer canary-admin-token", &key], body)
    }
}

fn letter(cause: &str, code: Option<u16>) -> String {
    json!({
        "original_message": {"to": "ada@example.com", "otp": "493021"}, "error_reason": "<ada@example.com> no",
        "retry_count": 3, "failed_at": "2026-09-21T14:13:20.000000Z", "worker_id": "w", "cause": cause,
        "stage": "rcpt", "smtp_code": code, "enhanced_code": null, "recipients": ["ada@example.com"], "tags": {},
        "attempts": [{"number": 3, "error": "<ada@example.com> no"}], "source": {"topic": "email-queue", "partition": 0,
        "offset": 1, "timestamp": 1}, "idempotency_key": cause, "message_id": "<m@x>", "replay_count": 0, "schema": 1,
    })
    .to_string()
}

/// Three that can be replayed, one that should not be, one that can't be read.
fn mixed() -> Desk {
    let letters = ["quota", "quota", "throttled", "invalid_recipient"];
    let mut letters: Vec<Vec<u8>> = letters.map(|cause| letter(cause, Some(452)).into_bytes()).into();
    // Not the same failure again.
    letters[1] = letter("quota", None).replace("\"offset\":1", "\"offset\":2").into_bytes();
    letters[2] = letter("throttled", None).replace("\"offset\":1", "\"offset\":3").into_bytes();
    letters[3] = letter("invalid_recipient", Some(550)).replace("\"offset\":1", "\"offset\":4").into_bytes();
    letters.push(b"\xff\x00".to_vec());
    Desk::of(&letters.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

const REPLAY: &str =
    r#"{"action": "replay", "select": {"cause": "quota"}, "reason": "asked by bob@example.com"}"#;

#[test]
fn groups_are_counted_and_say_what_was_looked_through() {
    let desk = mixed();
    let answer = desk.server.get("/dlq/groups?by=cause");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let searched = "complete; from=\"2026-09-21T14:13:20.000Z\"; to=\"2026-09-21T14:13:20.004Z\"";
    assert_eq!(answer.header("x-mailroom-searched"), searched);
    let groups = answer.json();
    let expected = json!({
        "key": "quota", "count": 2, "states": {"waiting": 2, "replayed": 0, "discarded": 0, "parked": 0},
        "first": "2026-09-21T14:13:20.000Z", "last": "2026-09-21T14:13:20.001Z", "example": "0-1", "advice": "replay",
    });
    assert_eq!((&groups[0], groups.as_array().unwrap().len()), (&expected, 4));
    assert_eq!(desk.server.get("/dlq/groups").json(), groups);
    let codes = desk.server.get("/dlq/groups?by=code&cause=quota").json();
    let keys: Vec<&Value> = codes.as_array().unwrap().iter().map(|group| &group["key"]).collect();
    assert_eq!(keys, ["", "452"]);
    for query in ["by=size", "by=", "limit=1", "by=cause&by=code", "cause=quotas"] {
        desk.server.get(&format!("/dlq/groups?{query}")).refused(400);
    }
}

#[test]
fn letters_are_listed_page_by_page_the_newest_first() {
    let desk = mixed();
    let page = desk.server.get("/dlq/letters").json();
    let names = |page: &Value| -> Vec<String> {
        let letters = page["letters"].as_array().unwrap();
        letters.iter().map(|letter| letter["letter"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&page), ["0-4", "0-3", "0-2", "0-1", "0-0"]);
    assert_eq!((&page["next"], &page["searched"]["complete"]), (&Value::Null, &json!(true)));
    assert!(!page.to_string().contains("ada@") && !page.to_string().contains("493021"), "{page}");
    let first = desk.server.get("/dlq/letters?limit=2&state=waiting").json();
    assert_eq!(names(&first), ["0-4", "0-3"]);
    let next = first["next"].as_str().unwrap();
    let second = desk.server.get(&format!("/dlq/letters?limit=2&state=waiting&after={next}")).json();
    assert_eq!(names(&second), ["0-2", "0-1"]);
    assert_eq!(names(&desk.server.get("/dlq/letters?code=550").json()), ["0-3"]);
    assert_eq!(
        names(&desk.server.get("/dlq/letters?q=ada%40example.com&cause=quota").json()),
        ["0-1", "0-0"]
    );
    for query in
        ["limit=0", "limit=1001", "after=0-1", "after=x", "after=", "by=cause", "letter=0-1", "since=soon"]
    {
        desk.server.get(&format!("/dlq/letters?{query}")).refused(400);
    }
    let (error, _) = desk.server.get("/dlq/letters?since=eve%40example.com").refused(400);
    assert!(!error.contains("eve@"), "{error}");
}

#[test]
fn a_letter_is_shown_masked_and_its_job_only_with_the_token() {
    let desk = mixed();
    let shown = desk.server.get("/dlq/letters/0-0");
    assert_eq!(shown.status, 200, "{}", shown.body);
    let letter = shown.json();
    assert_eq!((&letter["state"], &letter["cause"]), (&json!("waiting"), &json!("quota")));
    assert_eq!((&letter["replayed_as"], &letter["decisions"]), (&json!("0-4"), &json!([])));
    assert_eq!(letter["attempts"][0]["error"], "<a***@example.com> no");
    assert_eq!((&letter["key"], &letter["headers"]), (&json!("a***@example.com"), &json!(["mine"])));
    assert!(!shown.body.contains("ada@") && !shown.body.contains("493021") && !shown.body.contains("secret"));

    let path = "/dlq/letters/0-0?reveal=true";
    let refused = desk.server.get(path);
    refused.refused(401);
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    desk.server.get("/dlq/letters/0-0?reveal=no&reveal=true").refused(401);
    let revealed = desk.change("GET", path, "").json();
    assert_eq!(revealed["original"], json!({"text": r#"{"otp":"493021","to":"ada@example.com"}"#}));
    assert_eq!(revealed["recipients"], json!(["ada@example.com"]));
    assert_eq!(desk.server.get("/dlq/letters/0-0?reveal=false").json(), letter);

    let unreadable = desk.server.get("/dlq/letters/0-4").json();
    assert_eq!(unreadable["unreadable"], json!({"bytes": 2, "error": "it is no JSON: not UTF-8"}));
    assert_eq!(unreadable["replayed_from"], "0-0");
    for query in ["reveal=yes", "reveal=", "reveal=false&reveal=false", "x=1"] {
        desk.server.get(&format!("/dlq/letters/0-0?{query}")).refused(400);
    }
    for letter in ["0-5", "0-99999", "7-0", "x", "0", "0-0-0", "99999999999-0"] {
        desk.server.get(&format!("/dlq/letters/{letter}")).refused(404);
    }
}

#[test]
fn a_letter_s_decisions_are_shown_with_it_but_those_of_another_of_its_name_are_not() {
    let desk = mixed();
    let name = LetterName { partition: 0, offset: 0 };
    let decide = |timestamp_ms, state, before| {
        let (by, reason) = ("ada".to_owned(), "why".to_owned());
        let step = Step { state, run: Some("r1".into()), by, reason, at_ms: 5, round: 0 };
        let decision = Decision::after(before, timestamp_ms, step);
        desk.say(&Said::Decided(name, decision.clone()));
        decision
    };
    let first = decide(FIRST_MS, State::Parked, None);
    decide(FIRST_MS, State::Waiting, Some(first));
    let shown = || desk.server.get("/dlq/letters/0-0").json();
    desk.wait("the decisions", || shown()["decisions"].as_array().unwrap().len() == 2);
    let letter = shown();
    assert_eq!(
        (&letter["decisions"][0]["state"], &letter["decisions"][1]["state"]),
        (&json!("waiting"), &json!("parked"))
    );
    assert_eq!((&letter["state"], &letter["decisions"][0]["round"]), (&json!("waiting"), &json!(2)));
    decide(FIRST_MS - 1, State::Discarded, None);
    // It is heard before what comes behind it.
    let other = LetterName { partition: 0, offset: 1 };
    let (by, reason) = ("ada".to_owned(), "why".to_owned());
    let step = Step { state: State::Discarded, run: None, by, reason, at_ms: 5, round: 0 };
    desk.say(&Said::Decided(other, Decision::after(None, FIRST_MS + 1, step)));
    desk.wait("the other", || desk.server.get("/dlq/letters/0-1").json()["state"] == "discarded");
    assert_eq!(shown(), letter);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_nothing_is_begun() {
    let desk = mixed();
    let everything = r#"{"action": "replay", "select": {"until": "2027-01-01T00:00:00Z"}, "reason": "r", "dry_run": true}"#;
    let answer = desk.with_key("k1", everything);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let preview = answer.json();
    assert_eq!((&preview["matched"], &preview["will"]), (&json!(5), &json!(3)));
    let skipped =
        json!({"already": 0, "expired": 0, "permanent": 1, "max_replays": 0, "undecodable": 1, "parked": 0});
    assert_eq!((&preview["skipped"], &preview["causes"]), (&skipped, &json!({"quota": 2, "throttled": 1})));
    assert_eq!(preview["samples"].as_array().unwrap().len(), 3);
    assert_eq!(desk.server.get("/dlq/runs").json(), json!({"runs": [], "next": null}));
}

#[test]
fn a_run_is_begun_once_by_its_key_and_shown_where_its_location_says() {
    let desk = mixed();
    let answer = desk.with_key("k1", REPLAY);
    assert_eq!(answer.status, 202, "{}", answer.body);
    let run = answer.json();
    assert_eq!((&run["state"], &run["total"], &run["left"]), (&json!("running"), &json!(2), &json!(2)));
    assert_eq!((&run["by"], &run["reason"]), (&json!("http"), &json!("asked by b***@example.com")));
    let location = answer.header("location").to_owned();
    assert_eq!(location, format!("/dlq/runs/{}", run["id"].as_str().unwrap()));
    assert_eq!(desk.server.get(&location).json(), run);
    let again = desk.with_key("k1", REPLAY);
    assert_eq!((again.status, again.header("location"), again.json()), (202, location.as_str(), run.clone()));

    let other = desk.change("POST", "/dlq/runs", REPLAY).json();
    assert_ne!(other["id"], run["id"]);
    let page = desk.server.get("/dlq/runs?limit=1").json();
    assert_eq!((&page["runs"], &page["next"]), (&json!([other]), &other["id"]));
    let next = desk.server.get(&format!("/dlq/runs?limit=1&after={}", other["id"].as_str().unwrap())).json();
    assert_eq!((&next["runs"], &next["next"]), (&json!([run]), &Value::Null));
    for query in ["limit=0", "limit=101", "after=x", "state=done"] {
        desk.server.get(&format!("/dlq/runs?{query}")).refused(400);
    }
}

#[test]
fn a_run_is_cancelled_and_one_that_is_over_is_answered_as_it_stands() {
    let desk = mixed();
    let begun = |key| {
        let location = desk.with_key(key, REPLAY).header("location").to_owned();
        assert_ne!(location, "");
        location
    };
    let (cancelled, done) = (begun("k1"), begun("k2"));
    for _ in 0..2 {
        let answer = desk.change("DELETE", &cancelled, "");
        assert_eq!((answer.status, &answer.json()["state"]), (200, &json!("cancelled")));
    }
    let id = done.rsplit('/').next().unwrap().to_owned();
    desk.say(&Said::Progress(id, 0, Progress { next: 2, acted: 1, skipped: 1, at_least_once: false }));
    desk.wait("the run to be over", || desk.server.get(&done).json()["state"] == "done");
    let answer = desk.change("DELETE", &done, "");
    assert_eq!((answer.status, &answer.json()["state"]), (200, &json!("done")));
    for method in ["GET", "DELETE"] {
        desk.change(method, "/dlq/runs/nowhere", "").refused(404);
        desk.change(method, &format!("{done}?x=1"), "").refused(400);
    }
}

#[test]
fn what_a_run_may_not_ask_for_is_told_all_at_once() {
    let desk = mixed();
    for (body, says) in [
        (r#"{"action": "replay", "reason": "r"}"#, "which letters are meant"),
        (r#"{"action": "replay", "select": {"letters": null}, "reason": "r"}"#, "which letters are meant"),
        (r#"{"action": "replay", "select": {"cause": null, "q": null}, "reason": "r"}"#, "or {} for all"),
        (
            r#"{"action": "discard", "select": {"q": "x"}, "reason": "r", "canary": 1, "max": 0}"#,
            "max is at least 1; only a replay",
        ),
        (r#"{"action": "replay", "select": {"q": "x"}, "reason": "r", "rate": 0}"#, "a rate is from"),
        (
            r#"{"action": "replay", "select": {"letters": ["0-0"]}, "reason": "r", "value": {"to": "a@b.c"}}"#,
            "dlq.allow_edit = true",
        ),
        (r#"{"action": "replay", "select": {"q": "x"}, "reason": "a\nb"}"#, "no control characters"),
    ] {
        for body in [body.to_owned(), body.replace("\"reason\"", "\"dry_run\": true, \"reason\"")] {
            let (error, _) = desk.change("POST", "/dlq/runs", &body).refused(400);
            assert!(error.contains(says), "{error}");
        }
    }
    desk.change("POST", "/dlq/runs?dry_run=true", REPLAY).refused(400);
    for key in ["", "\u{e4}"] {
        desk.with_key(key, REPLAY).refused(400);
    }
    let twice = ["Authorization: Bearer canary-admin-token", "Idempotency-Key: a", "Idempotency-Key: a"];
    desk.ask("POST", "/dlq/runs", &twice, REPLAY).refused(400);
    assert_eq!(desk.server.get("/dlq/runs").json()["runs"], json!([]));
}

#[test]
fn without_a_filter_all_letters_are_meant() {
    let desk = mixed();
    let all = desk.server.get("/dlq/letters").json()["letters"].as_array().unwrap().len();
    let body = r#"{"action": "discard", "select": {}, "reason": "r", "dry_run": true}"#;
    let preview = desk.change("POST", "/dlq/runs", body).json();
    assert_eq!((&preview["matched"], &preview["guarantee"]), (&json!(all), &json!("exactly-once")));
    assert!(all > 1, "{all}");
}

#[test]
fn without_transactions_every_answer_says_so() {
    let letter = letter("quota", None);
    for transactions in [true, false] {
        let desk = Desk::with(&[letter.as_bytes()], |dlq| config::Dlq { transactions, ..dlq });
        let preview = REPLAY.replace("\"reason\"", "\"dry_run\": true, \"reason\"");
        let answers = [
            desk.server.get("/dlq/groups"),
            desk.server.get("/dlq/letters"),
            desk.server.get("/dlq/letters/0-0"),
            desk.server.get("/dlq/runs"),
            desk.change("POST", "/dlq/runs", &preview),
            desk.change("POST", "/dlq/runs", REPLAY),
        ];
        for answer in answers {
            let said = if transactions { "" } else { "at-least-once" };
            assert_eq!(answer.header("x-mailroom-guarantee"), said, "{}", answer.body);
        }
        let said = desk.change("POST", "/dlq/runs", &preview).json()["guarantee"].clone();
        assert_eq!(said == "at-least-once", !transactions);
    }
}

#[test]
fn a_job_is_changed_only_where_that_is_allowed_and_only_of_one_letter() {
    let desk = Desk::with(&[letter("quota", None).as_bytes()], |dlq| config::Dlq { allow_edit: true, ..dlq });
    let several = REPLAY.replace("\"reason\"", "\"value\": {\"to\": \"a@b.c\"}, \"reason\"");
    let (error, _) = desk.change("POST", "/dlq/runs", &several).refused(400);
    assert!(error.contains("exactly one letter"), "{error}");
    let one = several.replace("\"cause\": \"quota\"", "\"letters\": [\"0-0\"]");
    let (error, _) = desk.change("POST", "/dlq/runs", &one).refused(400);
    assert!(error.contains("would fail at once: nothing to say"), "{error}");
    let one = one.replace("{\"to\": \"a@b.c\"}", "{\"to\": \"a@b.c\", \"otp\": \"1\"}");
    let answer = desk.change("POST", "/dlq/runs", &one);
    assert_eq!((answer.status, &answer.json()["edited"]), (202, &json!(true)), "{}", answer.body);
    let run = desk.archive.shelf.runs().remove(0).run;
    assert_eq!(run.value.as_deref(), Some(&b"{\"to\": \"a@b.c\", \"otp\": \"1\"}"[..]));
}

#[test]
fn requests_are_refused_in_the_contract_s_order() {
    let desk = mixed();
    let too_long = "x".repeat(65_537);
    for path in
        ["/dlq", "/dlq/", "/dlq/groups/", "/dlq/letters/", "/dlq/letters/0-0/x", "/dlq/runs/", "/dlq/run"]
    {
        desk.ask("POST", path, &[], &too_long).refused(404);
    }
    for (path, wrong, allowed) in [
        ("/dlq/groups", "POST", "GET, HEAD"),
        ("/dlq/letters", "DELETE", "GET, HEAD"),
        ("/dlq/letters/0-0", "PUT", "GET, HEAD"),
        ("/dlq/runs", "DELETE", "GET, HEAD, POST"),
        ("/dlq/runs/r", "POST", "GET, HEAD, DELETE"),
    ] {
        let answer = desk.ask(wrong, path, &[], &too_long);
        answer.refused(405);
        assert_eq!(answer.header("allow"), allowed);
    }
    for (method, path) in
        [("POST", "/dlq/runs?x"), ("DELETE", "/dlq/runs/r"), ("GET", "/dlq/letters/x?reveal=true")]
    {
        desk.ask(method, path, &[], &too_long).refused(401);
        desk.ask(method, path, &["Authorization: Bearer wrong"], "").refused(401);
    }
    desk.change("POST", "/dlq/runs", &too_long).refused(413);
    desk.ask("GET", "/dlq/groups?x=1", &[], &too_long).refused(413);
    desk.change("POST", "/dlq/runs", "{").refused(400);
}

#[test]
fn without_a_token_set_nothing_is_changed_or_revealed() {
    let desk = mixed();
    let door = Some(FakeArchive::Open(Box::new(desk.archive.clone())));
    let doors = FakeDoors { archive: door, ..FakeDoors::healthy() };
    let server = TestServer::start_with(doors, None, Limits::default());
    for (method, path) in
        [("POST", "/dlq/runs"), ("DELETE", "/dlq/runs/r"), ("GET", "/dlq/letters/0-0?reveal=true")]
    {
        let (_, hint) =
            server.ask(&[&format!("{method} {path} HTTP/1.1"), "Host: mailroom"], b"").refused(403);
        assert!(hint.contains("http.admin_token"), "{hint}");
    }
    assert_eq!(server.get("/dlq/letters/0-0").status, 200);
}

const READS: [&str; 5] = ["/dlq/groups", "/dlq/letters", "/dlq/letters/0-0", "/dlq/runs", "/dlq/runs/r"];

#[test]
fn a_worker_without_an_index_says_how_to_get_one() {
    let server = TestServer::start(FakeDoors::healthy());
    for path in READS {
        let (_, hint) = server.get(path).refused(404);
        assert!(hint.contains("dlq.index_letters"), "{hint}");
    }
    server.ask(&["POST /dlq/runs HTTP/1.1", "Host: mailroom"], b"").refused(404);
    server.ask(&["POST /dlq/groups HTTP/1.1", "Host: mailroom"], b"").refused(405);
}

#[test]
fn before_brokers_have_answered_only_what_is_wrong_can_be_said() {
    let server = TestServer::start(FakeDoors { archive: Some(FakeArchive::NotYet), ..FakeDoors::healthy() });
    for path in READS {
        server.get(path).refused(503);
        server.get(&format!("{path}?x=1")).refused(400);
    }
}

#[test]
fn what_is_not_read_to_its_end_is_said_to_be_incomplete() {
    // Nobody listens there.
    let kafka = kafka("127.0.0.1:1");
    let archive = Archive::new(&kafka, &dlq(), &Arc::new(Shelf::new(10)));
    let door = Some(FakeArchive::Open(Box::new(archive)));
    let server = TestServer::start(FakeDoors { archive: door, ..FakeDoors::healthy() });
    let groups = server.get("/dlq/groups");
    assert_eq!((groups.status, groups.header("x-mailroom-searched")), (200, "incomplete"));
    let searched = json!({"from": null, "to": null, "complete": false});
    assert_eq!(server.get("/dlq/letters").json(), json!({"letters": [], "next": null, "searched": searched}));
    server.get("/dlq/runs/r").refused(503);
    let post = |body: &str| {
        let length = format!("Content-Length: {}", body.len());
        let head =
            ["POST /dlq/runs HTTP/1.1", "Host: a", "Authorization: Bearer canary-admin-token", &length];
        server.ask(&head, body.as_bytes())
    };
    post(REPLAY).refused(503);
    let preview = post(&REPLAY.replace("\"reason\"", "\"dry_run\": true, \"reason\"")).json();
    assert_eq!((&preview["matched"], &preview["complete"]), (&json!(0), &json!(false)));
    let (error, _) = server.get("/dlq/letters/0-0").refused(503);
    assert!(!error.is_empty());
}

#[test]
fn what_brokers_do_not_take_is_not_said_to_be_done() {
    let mut desk = mixed();
    let run = desk.with_key("k1", REPLAY).header("location").to_owned();
    desk.cluster = None;
    let send = |line: &str, body: &str| {
        let mut client = desk.server.connect();
        let length = format!("Content-Length: {}", body.len());
        let token = "Authorization: Bearer canary-admin-token";
        client.send(&[line, "Host: mailroom", token, &length], body.as_bytes());
        client
    };
    let begun = send("POST /dlq/runs HTTP/1.1", REPLAY);
    let cancelled = send(&format!("DELETE {run} HTTP/1.1"), "");
    for mut client in [begun, cancelled] {
        client.answer().refused(503);
    }
    assert_eq!(desk.server.get("/dlq/runs").json()["runs"].as_array().unwrap().len(), 1);
    assert_eq!(desk.server.get(&run).json()["state"], "running");
    // What is in memory is shown.
    assert_eq!(desk.server.get("/dlq/letters").json()["letters"].as_array().unwrap().len(), 5);
}
