//! What is refused, how, and in which order the reasons are looked at.

use super::*;

#[test]
fn an_unknown_path_is_not_found_whatever_the_method() {
    let server = TestServer::start(FakeDoors::healthy());
    let paths = ["/", "/pool/", "/Pool", "//pool", "/metrics/x", "/dlq", "/consumer", "/%70ool"];
    for path in paths {
        server.get(path).refused(404);
        server.ask(&[&format!("DELETE {path} HTTP/1.1"), "Host: mailroom"], b"").refused(404);
    }
}

#[test]
fn another_method_is_refused_with_those_that_are_allowed() {
    let server = TestServer::start(FakeDoors::healthy());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        for path in ["/metrics", "/health", "/health/live", "/health/ready"] {
            let answer = server.ask(&[&format!("{method} {path} HTTP/1.1"), "Host: mailroom"], b"");
            answer.refused(405);
            assert_eq!(answer.header("allow"), "GET, HEAD", "{method} {path}");
        }
    }
    for method in ["POST", "DELETE", "PATCH", "OPTIONS", "get", "put"] {
        let answer = server.ask(&[&format!("{method} /pool HTTP/1.1"), "Host: mailroom"], b"");
        answer.refused(405);
        assert_eq!(answer.header("allow"), "GET, HEAD, PUT", "{method}");
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "post"] {
        for path in ["/consumer/pause", "/consumer/resume"] {
            let answer = server.ask(&[&format!("{method} {path} HTTP/1.1"), "Host: mailroom"], b"");
            assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method} {path}");
        }
    }
}

#[test]
fn without_a_token_set_changes_are_forbidden_and_told_how_to_set_one() {
    let server = TestServer::start_with(FakeDoors::healthy(), None, Limits::default());
    let (_, hint) = server.put(b"{\"size\": 3}").refused(403);
    assert!(hint.contains("http.admin_token"), "{hint}");
    assert_eq!(server.get("/pool").status, 200);
    assert_eq!(server.resizes(), 0);
}

#[test]
fn a_missing_or_wrong_token_is_unauthorized() {
    let server = TestServer::start(FakeDoors::healthy());
    let cases: [&[&str]; 12] = [
        &[],
        &["Authorization: Bearer wrong"],
        &["Authorization: Bearer canary-admin-toke"],
        &["Authorization: Bearer canary-admin-token2"],
        &["Authorization: Bearer canary-admin-token canary-admin-token"],
        &["Authorization: Bearer"],
        &["Authorization: Bearer  "],
        &["Authorization: canary-admin-token"],
        &["Authorization: Basic canary-admin-token"],
        &["Authorization: Bearercanary-admin-token"],
        &["Authorization: Bearer wrong", "Authorization: Bearer canary-admin-token"],
        &["Authorization: Bearer canary-admin-token", "Authorization: Bearer wrong"],
    ];
    for authorization in cases {
        let head = [&["PUT /pool HTTP/1.1", "Host: mailroom", "Content-Length: 11"], authorization].concat();
        let answer = server.ask(&head, b"{\"size\": 3}");
        answer.refused(401);
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{authorization:?}");
    }
    assert_eq!(server.resizes(), 0);
}

#[test]
fn a_token_file_is_read_again_at_each_change() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary-admin-token\n").unwrap();
    let path = file.path().to_owned();
    let server =
        TestServer::start_with(FakeDoors::healthy(), Some(Secret::File(path.clone())), Limits::default());
    assert_eq!(server.put(b"{\"size\": 3}").status, 200);
    std::fs::write(&path, "another\n").unwrap();
    server.put(b"{\"size\": 4}").refused(401);
    drop(file);
    let answer = server.put(b"{\"size\": 5}");
    let (_, hint) = answer.refused(503);
    assert!(hint.contains("http.admin_token_file"), "{hint}");
    assert!(!answer.body.contains(path.to_str().unwrap()));
    assert_eq!(server.resizes(), 1);
}

#[test]
fn reasons_are_looked_at_in_the_order_path_and_method_then_token_then_size_then_body() {
    let server = TestServer::start(FakeDoors::healthy());
    let refused = |line: &str, token: bool, length: usize, status: u16| {
        let length = format!("Content-Length: {length}");
        let mut head = vec![line, "Host: mailroom", &length];
        if token {
            head.push("Authorization: Bearer canary-admin-token");
        }
        // Nothing of the body is sent: no refusal waits for it.
        server.ask(&head, b"").refused(status);
    };
    refused("PUT /nowhere HTTP/1.1", false, 65_537, 404);
    refused("POST /pool HTTP/1.1", false, 65_537, 405);
    refused("PUT /pool HTTP/1.1", false, 65_537, 401);
    refused("PUT /pool HTTP/1.1", false, 10, 401);
    refused("PUT /pool HTTP/1.1", true, 65_537, 413);
    refused("GET /pool HTTP/1.1", false, 65_537, 413);
    server.put(b"{").refused(400);
    assert_eq!(server.resizes(), 0);
}

#[test]
fn a_body_that_is_no_size_is_a_bad_request() {
    let server = TestServer::start(FakeDoors::healthy());
    let bodies = [
        "",
        " ",
        "{",
        "size=16",
        "16",
        "null",
        "[16]",
        "[]",
        "{}",
        "\"size\"",
        "{\"size\": \"16\"}",
        "{\"size\": null}",
        "{\"size\": true}",
        "{\"size\": 16.5}",
        "{\"size\": 16.0}",
        "{\"size\": 1e400}",
        "{\"size\": [16]}",
        "{\"size\": {\"size\": 16}}",
        "{\"Size\": 16}",
        "{\"size\": 16, \"secret-canary\": 1}",
        "{\"size\": 16, \"size\": 17}",
        "{\"size\": 16} {}",
        "{\"size\": 016}",
        "{'size': 16}",
        "\u{feff}{\"size\": 16}",
    ];
    for body in bodies {
        let answer = server.put(body.as_bytes());
        answer.refused(400);
        assert!(!answer.body.contains("canary"), "{}", answer.body);
    }
    server.put(b"{\"size\": 1\xff}").refused(400);
    server.put(&b"[".repeat(60_000)).refused(400);
    assert_eq!(server.resizes(), 0);
}

#[test]
fn a_size_out_of_bounds_is_a_bad_request_with_the_range() {
    let server = TestServer::start(FakeDoors::healthy());
    let beyond_any_integer =
        ["18446744073709551616", "99999999999999999999", "-9223372036854775809", "1e30", "-1e30", "-0"];
    let sizes = ["0", "65", "-1", "-9223372036854775808", "18446744073709551615"];
    for size in sizes.into_iter().chain(beyond_any_integer) {
        let (error, _) = server.put(format!("{{\"size\": {size}}}").as_bytes()).refused(400);
        assert!(error.contains("1 to 64"), "{size}: {error}");
    }
    assert_eq!(server.doors.size.load(Ordering::SeqCst), 0);
}

#[test]
fn what_nobody_answers_is_unavailable() {
    let moment = Duration::from_millis(100);
    let quick = Limits { answer: 2 * moment, silence: moment, ..Limits::default() };
    for doors in [FakeDoors::default(), FakeDoors::gone()] {
        let server = TestServer::start_with(doors, Some(Secret::Value(TOKEN.into())), quick);
        server.get("/metrics").refused(503);
        server.get("/pool").refused(503);
        server.put(b"{\"size\": 3}").refused(503);
        for path in ["/health/live", "/health/ready"] {
            let answer = server.get(path);
            assert_eq!(answer.status, 503, "{path}");
            assert!(answer.json()["error"].as_str().unwrap().contains("supervisor"), "{path}");
            assert!(!answer.json()["hint"].as_str().unwrap().is_empty(), "{path}");
        }
        let health = server.get("/health");
        assert_eq!((health.status, &health.json()["status"]), (503, &Value::from("fail")));
        assert_eq!(health.json()["checks"]["actor:supervisor"][0]["status"], "fail");
        assert_eq!(health.json()["checks"]["kafka"][0]["status"], "warn");
    }
}
