//! Every endpoint with every error of the contract's section 5, asked of the running service: one table.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::{Kafka, Queue, RecordingSmtp, Reply, Settings, TestWorker};

const TOKEN: &str = "let-me-in-canary";
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"];

/// Path, methods that it takes, and a body that its change takes (none: nothing is changed there).
const ENDPOINTS: [(&str, &str, Option<&str>); 7] = [
    ("/metrics", "GET, HEAD", None),
    ("/health/live", "GET, HEAD", None),
    ("/health/ready", "GET, HEAD", None),
    ("/health", "GET, HEAD", None),
    ("/pool", "GET, HEAD, PUT", Some(r#"{"size": 4}"#)),
    ("/consumer/pause", "POST", Some(r#"{"reason": "the relay is moved"}"#)),
    ("/consumer/resume", "POST", Some("{}")),
];

/// What an `Authorization` may be that is not the token.
const NOT_THE_TOKEN: [Option<&str>; 5] =
    [None, Some("Bearer wrong"), Some("Bearer"), Some("Basic let-me-in-canary"), Some("let-me-in-canary")];

/// One request in a connection of its own, byte for byte as told.
fn ask(worker: &TestWorker, method: &str, path: &str, authorization: Option<&str>, body: &str) -> Reply {
    let mut stream = TcpStream::connect(worker.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket takes a time-out");
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: mailroom\r\n{authorization}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it is taken, refused or not");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, and the end of the connection");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    Reply { status: status.expect("a status"), headers, body: body.to_owned() }
}

/// The one form of all refusals; returns error and hint.
fn check(reply: &Reply, status: u16, what: &str) -> String {
    assert_eq!(reply.status, status, "{what}: {reply:?}");
    assert_eq!(reply.headers["content-type"], "application/json", "{what}: {reply:?}");
    let json = reply.json();
    let fields = json.as_object().unwrap_or_else(|| panic!("{what}: {reply:?}"));
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["error", "hint"], "{what}");
    for text in fields.values() {
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{what}: {json}");
    }
    assert!(!reply.body.contains(TOKEN), "{what}: the token is repeated");
    json["hint"].as_str().unwrap_or_default().to_owned()
}

fn bad_bodies(path: &str) -> Vec<String> {
    let mut bodies: Vec<&str> =
        vec!["{", "[]", "7", "null", "\"size\"", "{} {}", "\u{feff}{}", r#"{"unknown": 1}"#];
    bodies.extend(match path {
        "/pool" => {
            vec!["", "{}", r#"{"size": "4"}"#, r#"{"size": 4.5}"#, r#"{"size": 0}"#, r#"{"size": 4097}"#]
        }
        "/consumer/pause" => {
            vec!["", "{}", r#"{"reason": ""}"#, r#"{"reason": 7}"#, r#"{"reason": "a", "for": "soon"}"#]
        }
        _ => vec![r#"{"reason": "a"}"#],
    });
    // A member that is known, and one that is not.
    let unknown = match path {
        "/pool" => r#"{"size": 4, "min": 1}"#,
        "/consumer/pause" => r#"{"reason": "a", "until": "tomorrow"}"#,
        _ => r#"{"for": "10m"}"#,
    };
    bodies.into_iter().chain([unknown]).map(str::to_owned).collect()
}

/// Over 64 KiB, and bad besides.
fn too_large() -> String {
    format!("{{{}", " ".repeat(64 * 1024))
}

fn worker(queue: &Queue<'_>, relay: &RecordingSmtp, token: Option<&str>) -> TestWorker {
    let settings = Settings::new(queue, relay.port());
    let worker = TestWorker::start(&match token {
        Some(token) => settings.set("http.admin_token", token),
        None => settings,
    });
    worker.wait_until_ready();
    worker
}

#[test]
fn every_endpoint_answers_every_error_of_the_contract_in_its_order() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let worker = worker(&queue, &relay, Some(TOKEN));
    let bearer = format!("Bearer {TOKEN}");
    let bearer = Some(bearer.as_str());

    // The path comes first: neither method, token, size nor body matter.
    for path in ["/", "/nowhere", "/pool/", "/Health", "/health/dead", "/consumer", "/dlq", "//metrics", "*"]
    {
        for method in METHODS {
            for (authorization, body) in
                [(None, String::new()), (bearer, too_large()), (NOT_THE_TOKEN[1], "{".into())]
            {
                let what = format!("{method} {path}");
                let reply = ask(&worker, method, path, authorization, &body);
                match method {
                    "HEAD" => assert_eq!((reply.status, reply.body.as_str()), (404, ""), "{what}: {reply:?}"),
                    _ => drop(check(&reply, 404, &what)),
                }
            }
        }
    }
    for (path, allowed, change) in ENDPOINTS {
        for method in METHODS {
            let what = format!("{method} {path}");
            if !allowed.split(", ").any(|one| one == method) {
                for (authorization, body) in [(None, String::new()), (bearer, too_large())] {
                    let reply = ask(&worker, method, path, authorization, &body);
                    match method {
                        "HEAD" => {
                            assert_eq!((reply.status, reply.body.as_str()), (405, ""), "{what}: {reply:?}")
                        }
                        _ => assert!(check(&reply, 405, &what).contains(allowed), "{what}: {reply:?}"),
                    }
                    assert_eq!(reply.headers["allow"], allowed, "{what}");
                }
                continue;
            }
            let Some(good) = change.filter(|_| ["PUT", "POST"].contains(&method)) else {
                // A read needs no token, and no body; one over the limit is refused all the same.
                let reply = ask(&worker, method, path, NOT_THE_TOKEN[1], "");
                assert_eq!(
                    (reply.status, reply.body.is_empty()),
                    (200, method == "HEAD"),
                    "{what}: {reply:?}"
                );
                let reply = ask(&worker, method, path, None, &too_large());
                match method {
                    "HEAD" => assert_eq!((reply.status, reply.body.as_str()), (413, ""), "{what}: {reply:?}"),
                    _ => assert!(check(&reply, 413, &what).contains("65536"), "{what}: {reply:?}"),
                }
                continue;
            };
            for authorization in NOT_THE_TOKEN {
                for body in [good.to_owned(), too_large(), "{".into()] {
                    let reply = ask(&worker, method, path, authorization, &body);
                    check(&reply, 401, &format!("{what} with {authorization:?}"));
                    assert_eq!(reply.headers["www-authenticate"], "Bearer", "{what}: {reply:?}");
                }
            }
            check(&ask(&worker, method, path, bearer, &too_large()), 413, &what);
            for body in bad_bodies(path) {
                check(&ask(&worker, method, path, bearer, &body), 400, &format!("{what} with {body}"));
            }
        }
    }

    // Nothing of all that changed anything; what is right does.
    assert_eq!(worker.get("/pool").json()["size"], 8);
    let health = worker.get("/health").json();
    assert_eq!(health["checks"]["consumer"][0]["status"], "pass", "{health}");
    for (path, allowed, change) in ENDPOINTS {
        let Some(good) = change else { continue };
        let method = allowed.rsplit(' ').next().expect("a method");
        let reply = ask(&worker, method, path, bearer, good);
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
    }
    assert_eq!(worker.get("/pool").json()["size"], 4);
    let log = worker.stop();
    assert!(log.iter().all(|line| !line.contains(TOKEN)), "the token is logged");
}

#[test]
fn without_a_token_every_change_is_forbidden_whatever_comes_with_it_and_told_how_to_set_one() {
    let queue = Queue::new(Kafka::shared(), 1);
    let relay = RecordingSmtp::start();
    let worker = worker(&queue, &relay, None);
    for (path, allowed, change) in ENDPOINTS {
        let Some(good) = change else { continue };
        let method = allowed.rsplit(' ').next().expect("a method");
        for authorization in NOT_THE_TOKEN {
            for body in [good.to_owned(), too_large(), "{".into()] {
                let hint = check(&ask(&worker, method, path, authorization, &body), 403, path);
                for part in ["http.admin_token", "http.admin_token_file", "Authorization: Bearer"] {
                    assert!(hint.contains(part), "{path}: {hint}");
                }
            }
        }
    }
    assert_eq!(worker.get("/pool").json()["size"], 8);
    worker.stop();
}
